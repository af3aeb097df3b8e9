"""Adapters: saved and loaded with the knowledge of what they were trained on."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from curate.cache import cache_folder, keyed_folder, sealed, sound
from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.stage import installed
from curate.store import verified
from train.base_model import CONFIG as MODEL_CONFIG
from train.base_model import (
    INDEX,
    BaseModel,
    BaseTokenizer,
    Quantization,
    configuration,
    load_model,
    model_of,
    prepare,
    quiet,
)
from train.dtypes import DType, computed_in
from train.manifest import AdapterManifest
from train.methods.configuration import peft_configuration, write_configuration
from train.methods.keys import KEYS, WHOLE, method_in
from train.serving import TEMPLATE, write_chat
from train.settings import TrainingSettings, quantization_of

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from train.methods.trained import Trained

WeightDType = Literal["float32", "bfloat16", "float16"]
"""What a merged model's weights may be written in."""

PARENTS = {
    "weights_sha256": "base weights",
    "config_sha256": "config.json",
    "generation_config_sha256": "generation_config.json",
    "tokenizer_sha256": "tokenizer",
    "tokenizer_config_sha256": "tokenizer_config.json",
    "chat_template_sha256": "chat template",
}
"""What a base model and a chat template are known by: the files that they are read from."""

MERGED = 5
"""Of the way an adapter is merged."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Of an adapter of peft."""
TRAINED = "trained.safetensors"
"""The base model's own weights, as they were trained; those that were not are not in it."""


def parents(base: BaseTokenizer, template: ChatTemplate) -> dict[str, str]:
    """The hashes, by the keys of PARENTS, that an adapter must have been trained with to be loaded here."""
    here = vars(base) | {"chat_template_sha256": template.sha256}
    return {key: here[key] for key in PARENTS if key in here}


def check_parents(what: str, made_with: dict[str, str], base: BaseTokenizer, template: ChatTemplate) -> None:
    """Check that something was made with this base model and chat template.

    Args:
        what: names it in the message, e.g. "Adapter PATH".
        made_with: hashes by the keys of PARENTS; one that is missing is not checked.

    Raises:
        AssayError: names what differs.
    """
    for key, here in parents(base, template).items():
        there = made_with.get(key, here)
        if there != here:
            raise AssayError(
                f"{what} was made with another {PARENTS[key]} ({there[:16]}) than that of base model {base.name} and "
                f"chat template {template.name} ({here[:16]}).",
                remedy="Restore the file, or name the base model and chat template that it was made with; or make it "
                "anew with these.",
            )


def save(model: "Trained", weights: "Mapping[str, torch.Tensor]", base: BaseModel, folder: Path) -> None:
    """Write what was trained: an adapter's adapter_model.safetensors and adapter_config.json as peft reads them, or the
    base model's own weights by transformers' names; equal weights give equal bytes.

    Args:
        model: that was trained.
        weights: what `train.methods.trained.weights_of` gives of it.
        base: the model it was made of.
        folder: to write into.
    """
    from peft import PeftModel
    from safetensors.torch import save_file

    name = TRAINED
    if isinstance(model, PeftModel):
        name = WEIGHTS
        write_configuration(model, base.name, folder / CONFIG)
    save_file(dict(weights), folder / name, metadata={"format": "pt"})


def load(
    folder: Path,
    base: BaseModel,
    template: ChatTemplate,
    quantization: Quantization | None = None,
    dtype: DType | None = None,
    trainable: bool = False,
    name: str = "default",
    dequantised: bool = False,
) -> "Trained":
    """The base model with a published adapter, or with the weights of its own that were trained.

    Args:
        folder: of the adapter.
        base: the model it was trained on.
        template: the chat template it was trained with.
        quantization: of the base model's weights; by default as the adapter was trained.
        dtype: what is computed in; by default as the adapter was trained, or `auto` where this machine does not compute
            in that.
        trainable: whether it will be trained further.
        name: that peft knows the adapter by.
        dequantised: weights are rounded as quantised ones are, and held in full.

    Raises:
        AssayError: the base model or the chat template is not the one it was trained on; a file of it is not as it was
            published; it has no safetensors, or is more than its method makes; or its method trains weights that are
            asked for quantised.
    """
    manifest = _loadable(folder, base, template)
    trained = manifest.inputs.settings
    method = method_in(trained)
    quantization = quantization or quantization_of(trained)
    check_quantization(method, quantization)
    with quiet():
        from peft import PeftModel
        from safetensors.torch import load_file

        from train.methods.trained import put_weights, with_adapter

        config = None if method in WHOLE else peft_configuration(verified(folder, CONFIG), method)
        loaded = load_model(
            base,
            quantization,
            dtype or computed_in(trained.get("dtype", "auto")),
            trained.get("double_quantization", True),
        )
        if dequantised and quantization == "nf4":
            loaded = loaded.dequantize()
        if config is not None:
            adapted = PeftModel.from_pretrained(
                loaded, folder, adapter_name=name, config=config, is_trainable=trainable
            )
            return adapted.eval()
        own = {key: trained[key] for key in KEYS[method] if key in trained}
        model = with_adapter(loaded, TrainingSettings.model_validate({"method": method} | own))
        put_weights(model, load_file(folder / TRAINED))
    return model.eval()


def check_quantization(method: str, quantization: Quantization) -> None:
    """Weights that were trained are not quantised as they are loaded: what quantises them takes a model from its files.

    Raises:
        AssayError: they are to be.
    """
    if quantization != "none" and method in WHOLE:
        raise AssayError(
            f"An adapter of method {method} is the base model's own weights, and is not loaded in {quantization}.",
            remedy=f"Merge it and quantise the whole: as a system {{model: merged, quantization: {quantization}}}.",
        )


@contextlib.contextmanager
def without_adapter(model: "Trained", base: BaseModel) -> Iterator["Trained"]:
    """The base model of one that `load` gave; where its own weights were trained, it is loaded once more."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        with model.disable_adapter():
            yield model
    else:
        dtype: Any = str(model.dtype).removeprefix("torch.")
        yield load_model(base, "none", dtype).eval()


def add(model: "PeftModel", name: str, folder: Path, base: BaseModel, template: ChatTemplate) -> None:
    """Load a further adapter onto a model of `load`, by another name, without using it.

    Raises:
        AssayError: as `load`.
    """
    method = method_in(_loadable(folder, base, template).inputs.settings)
    with quiet():
        model.add_adapter(name, peft_configuration(verified(folder, CONFIG), method))
        model.load_adapter(str(folder), name)


def _loadable(folder: Path, base: BaseModel, template: ChatTemplate) -> AdapterManifest:
    """The manifest of an adapter that may be loaded onto this base model, with this chat template."""
    manifest = AdapterManifest.read(folder)
    check_parents(f"Adapter {folder}", manifest.inputs.base.content(), base, template)
    weights = TRAINED if method_in(manifest.inputs.settings) in WHOLE else WEIGHTS
    if weights not in manifest.files:  # then peft would load a pickle, which can hold code
        raise AssayError(
            f"{folder}: no {weights} among its files ({', '.join(manifest.files)}).",
            remedy="Only safetensors are loaded. Train the adapter again, or name another.",
        )
    verified(folder, weights)
    return manifest


def template_of(folder: Path) -> ChatTemplate:
    """The chat template that an adapter was trained with.

    Raises:
        AssayError: it is not among the adapter's files, or not as it was published.
    """
    manifest = AdapterManifest.read(folder)
    if TEMPLATE not in manifest.files:
        raise AssayError(
            f"{folder}: no {TEMPLATE}: it was published before adapters held their tokenizer and chat template.",
            remedy="Train the adapter again.",
        )
    served = verified(folder, TEMPLATE).read_bytes().decode()
    return ChatTemplate.trained(f"of {manifest.name}/{manifest.version}", served, manifest.inputs.published)


def renderer_of(folder: Path, base: BaseTokenizer, template: ChatTemplate) -> Renderer:
    """What renders rows for an adapter as it was trained."""
    inputs = AdapterManifest.read(folder).inputs
    answers: Any = inputs.answers or "last"
    reasoning: Any = inputs.reasoning or "train"
    return Renderer(template, *load_tokenizer(base.folder), answers, reasoning)


def merge(folder: Path, base: BaseModel, template: ChatTemplate, cache: Path, progress: Progress = silent) -> BaseModel:
    """The model that the base model and a published adapter are together, merged once, into the cache.

    The adapter is merged in float32 into the weights it was trained beside: of 4-bit ones into what they stand for
    (whose rounding it has learned to make up for), never into 4 or 16 bits, which would round what was learned away.

    Args:
        folder: of the adapter.
        base: the model it was trained on.
        template: the chat template it was trained with.
        cache: the store's cache.
        progress: told when it is merged.

    Raises:
        AssayError: as `load`.
    """
    manifest = AdapterManifest.read(folder)
    check_parents(f"Adapter {folder}", manifest.inputs.base.content(), base, template)
    libraries = installed(["peft", "transformers"])
    key = digest([MERGED, parents(base, template), manifest.version, libraries])
    merged = keyed_folder(cache / "merged", key)
    if not sound(merged, progress):
        progress("merge the adapter", 0, 1, "models")
        cache_folder(merged, partial(_merge, folder, base, template))
        progress("merge the adapter", 1, 1, "models")
    return model_of(f"{base.name} with {manifest.name}/{manifest.version}", merged)


def merge_into(
    out: Path, folder: Path, cache: Path, dtype: WeightDType | None = None, progress: Progress = silent
) -> WeightDType:
    """Merge an adapter with the base model it names, into a new folder.

    The weights are added in float32 and rounded once, when they are written.

    Args:
        out: the folder.
        folder: of the adapter.
        cache: the store's cache.
        dtype: what the weights are written in; by default what the base model's are in, as its config.json says.
        progress: told when it is merged.

    Returns:
        What they are written in.

    Raises:
        AssayError: as `merge`; or `out` is there already; or a weight is beyond what `dtype` holds.
    """
    if out.exists():
        raise AssayError(f"{out} is there already.", remedy="Name a new folder: nothing is overwritten.")
    base = prepare(AdapterManifest.read(folder).inputs.base.model, cache, progress)
    written = dtype or dtype_of(base)
    merged = merge(folder, base, template_of(folder), cache, progress).folder
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".assay-merge-", dir=out.absolute().parent) as draft:
        whole = Path(draft) / out.name
        whole.mkdir()
        for name in sealed(merged):
            if name.endswith(".safetensors"):
                _round(merged / name, whole / name, written)
            else:
                shutil.copyfile(merged / name, whole / name)
        _say_dtype(whole, written)
        whole.rename(out)
    return written


def dtype_of(base: BaseModel) -> WeightDType:
    """What a base model's weights are in, as its config.json says; float32 where it does not."""
    config = configuration(base.folder)
    said = str(config.dtype or config.get_text_config().dtype).removeprefix("torch.")
    return next((known for known in get_args(WeightDType) if known == said), "float32")


def _round(source: Path, target: Path, dtype: WeightDType) -> None:
    """Write the tensors of a file with their floats in another dtype.

    Raises:
        AssayError: one is finite, and is not in that dtype.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    rounded = {}
    with safe_open(source, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = file.get_tensor(name)
            rounded[name] = tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
            if not torch.equal(rounded[name].isfinite(), tensor.isfinite()):
                raise AssayError(
                    f"The merged weight {name} is beyond what {dtype} holds ({tensor.abs().max():.3g}).",
                    remedy="Write it in bfloat16 or float32: --dtype.",
                )
    save_file(rounded, target, metadata={"format": "pt"})
    target.chmod(0o644)


def _say_dtype(folder: Path, dtype: WeightDType) -> None:
    """Write into a model's folder what its weights are in and, where it has an index, how many bytes they take."""
    path = folder / MODEL_CONFIG
    said = json.loads(path.read_bytes())
    for each in (said, said.get("text_config", {})):
        if "dtype" in each:
            each["dtype"] = dtype
    path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    if (index := folder / INDEX).is_file():
        from safetensors import safe_open

        known = json.loads(index.read_bytes())
        size = 0
        for shard in set(known["weight_map"].values()):
            with safe_open(folder / shard, "pt") as file:
                size += sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118
        known["metadata"]["total_size"] = size
        index.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _merge(adapter: Path, base: BaseModel, template: ChatTemplate, folder: Path) -> None:
    # Saving draws a bar that no setting of transformers hides.
    from peft import PeftModel

    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        model = load(adapter, base, template, dtype="float32", dequantised=True)
        whole: Any = model.merge_and_unload(safe_merge=True) if isinstance(model, PeftModel) else model
        whole.save_pretrained(folder)
    write_chat(folder, base, renderer_of(adapter, base, template))
