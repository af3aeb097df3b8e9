"""Adapters: saved and loaded with the knowledge of what they were trained on."""

import contextlib
import io
import json
import re
import shutil
import tempfile
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
from train.base_model import (
    CONFIG as MODEL_CONFIG,
)
from train.base_model import (
    INDEX,
    BaseModel,
    BaseTokenizer,
    DType,
    Quantization,
    computed_in,
    configuration,
    load_model,
    model_of,
    prepare,
    quiet,
)
from train.manifest import AdapterManifest
from train.serving import TEMPLATE, write_chat
from train.settings import quantization_of

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel

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

MERGED = 4
"""Of the way an adapter is merged."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TRAINED = ("r", "lora_alpha", "lora_dropout", "target_modules", "task_type")
"""Keys of an adapter's configuration that training sets."""
SOMETIMES = ("layers_to_transform", "target_parameters", "rank_pattern", "alpha_pattern")
"""Those that it sets where not all layers are trained, or where layers hold their experts as one tensor."""
PATTERN = re.compile(r"\.\*\\\.\w+")
"""Of a name of peft's patterns, which are regular expressions."""
TELLING = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")
"""Keys that change nothing in what is loaded."""


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


def weights_of(model: "PeftModel") -> "dict[str, torch.Tensor]":
    """An adapter's weights by peft's names, copied to the CPU."""
    import torch
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model)
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def save(model: "PeftModel", base: BaseModel, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json as peft reads them; equal weights give equal bytes."""
    from safetensors.torch import save_file

    save_file(weights_of(model), folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict() | {"base_model_name_or_path": base.name, "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=lambda value: getattr(value, "value", sorted(value)))
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load(
    folder: Path,
    base: BaseModel,
    template: ChatTemplate,
    quantization: Quantization | None = None,
    dtype: DType | None = None,
    name: str = "default",
) -> "PeftModel":
    """The base model with a published adapter.

    Args:
        folder: of the adapter.
        base: the model it was trained on.
        template: the chat template it was trained with.
        quantization: of the base model's weights; by default as the adapter was trained.
        dtype: what is computed in; by default as the adapter was trained, or `auto` where this machine does not compute
            in that.
        name: that peft knows the adapter by.

    Raises:
        AssayError: the base model or the chat template is not the one it was trained on; a file of it is not as it was
            published; or it has no safetensors, or is more than a plain LoRA adapter.
    """
    manifest = _loadable(folder, base, template)
    with quiet():
        from peft import PeftModel

        config = _configuration(folder)
        trained = manifest.inputs.settings
        loaded = load_model(
            base,
            quantization or quantization_of(trained),
            dtype or computed_in(trained.get("dtype", "auto")),
            trained.get("double_quantization", True),
        )
        model = PeftModel.from_pretrained(loaded, folder, adapter_name=name, config=config)
    return model.eval()


def add(model: "PeftModel", name: str, folder: Path, base: BaseModel, template: ChatTemplate) -> None:
    """Load a further adapter onto a model of `load`, by another name, without using it.

    Raises:
        AssayError: as `load`.
    """
    _loadable(folder, base, template)
    with quiet():
        model.add_adapter(name, _configuration(folder))
        model.load_adapter(str(folder), name)


def _loadable(folder: Path, base: BaseModel, template: ChatTemplate) -> AdapterManifest:
    """The manifest of an adapter that may be loaded onto this base model, with this chat template."""
    manifest = AdapterManifest.read(folder)
    check_parents(f"Adapter {folder}", manifest.inputs.base.content(), base, template)
    if WEIGHTS not in manifest.files:  # then peft would load a pickle, which can hold code
        raise AssayError(
            f"{folder}: no {WEIGHTS} among its files ({', '.join(manifest.files)}).",
            remedy="Only safetensors are loaded. Train the adapter again, or name another.",
        )
    verified(folder, WEIGHTS)
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


def _configuration(folder: Path) -> "LoraConfig":
    """An adapter's configuration: what training sets, and no more. Others of peft's keys import modules or read files.

    Raises:
        AssayError: it says something else; names the keys.
    """
    from peft import LoraConfig

    said = json.loads(verified(folder, CONFIG).read_bytes())
    given = {key: said.get(key) for key in TRAINED} | {key: said[key] for key in SOMETIMES if said.get(key)}
    config = LoraConfig(**given)
    plain = config.to_dict()
    other = [
        key
        for key, value in said.items()
        if key not in (*TRAINED, *TELLING, *SOMETIMES)
        and value not in (None, False, [], {})
        and value != plain.get(key)
    ]
    # Of a text peft makes a regular expression.
    other += [key for key in TRAINED if key not in said or (key == "target_modules" and isinstance(said[key], str))]
    other += [key for key in SOMETIMES[2:] for name in said.get(key) or {} if not PATTERN.fullmatch(name)]
    if other:
        raise AssayError(
            f"{folder / CONFIG}: not a plain LoRA adapter: {', '.join(sorted(other))}.",
            remedy="Only adapters as `assay train` makes them are loaded.",
        )
    return config


def merge(folder: Path, base: BaseModel, template: ChatTemplate, cache: Path, progress: Progress = silent) -> BaseModel:
    """The model that the base model and a published adapter are together, merged once, into the cache.

    The adapter is merged into the base model's full weights, in float32: of 4-bit ones merging would keep 4 bits, of
    16-bit ones 8 to 11, and so round what was learned away.

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
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        load(adapter, base, template, "none", "float32").merge_and_unload(safe_merge=True).save_pretrained(folder)
    write_chat(folder, base, renderer_of(adapter, base, template))
