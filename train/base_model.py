"""The base model: found, made ready once, and loaded the same way for training and for evaluation."""

import contextlib
import importlib.metadata
import io
import json
import logging
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curate.cache import cache_folder, cache_text, keyed_folder, sealed, sound
from curate.errors import AssayError, no_memory
from curate.hashing import checksum, digest, file_digest, files_digest
from curate.progress import Progress, silent
from curate.reach import installed_by
from curate.rows.chat_template import CHAT_FILES
from curate.rows.renderer import TOKENIZER_FILES, load_tokenizer
from curate.text.tokenizer_file import REMEDY
from curate.workers import MEMORY, apart
from train.dtypes import DType, compute_dtype
from train.gguf_tokenizer import write_tokenizer
from train.processes import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Quantization = Literal["nf4", "none"]

PACKAGE = "package:"
VERSION = 2
"""Of the way a GGUF file is converted."""
EMBEDDINGS = (".embed_tokens.weight", ".wte.weight", ".word_embeddings.weight", ".embed_in.weight")
"""How the names of the input embeddings end: of Llama and most, of GPT-2, of BLOOM and Falcon, of GPT-NeoX."""
FLOATS = ("F32", "F16", "BF16")
"""Types of weights that are not packed: of those a row is a token's."""
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
SAVED = ("is_local", "local_files_only", "transformers_version")
"""Keys of a saved configuration that tell how it was saved, and nothing of the model."""

PARTS = re.compile(r"(layer|depth|block|expert|codebook)s?\Z")
"""Ends of the keys of a config.json that say how many parts a model is built of."""
MOST_PARTS = 10_000


@dataclass(frozen=True)
class BaseTokenizer:
    """A model's tokenizer on disk, known by what it holds: all that is needed of a model that runs elsewhere."""

    name: str
    """As the recipe names the model."""
    folder: Path
    """Holds tokenizer.json and tokenizer_config.json."""
    tokenizer_sha256: str
    """Of the bytes of tokenizer.json."""
    tokenizer_config_sha256: str
    """Of the bytes of tokenizer_config.json, which names the special tokens."""

    @staticmethod
    def of(name: str, cache: Path) -> "BaseTokenizer":
        """The tokenizer of `prepare_tokenizer`, hashed."""
        return BaseTokenizer.in_folder(name, prepare_tokenizer(name, cache))

    @staticmethod
    def in_folder(name: str, folder: Path) -> "BaseTokenizer":
        """The tokenizer of a folder that holds one, hashed."""
        return BaseTokenizer(name, folder, *(file_digest(folder / file) for file in TOKENIZER_FILES))


@dataclass(frozen=True)
class BaseModel(BaseTokenizer):
    """A model on disk, known by what it holds: config.json, generation_config.json and *.safetensors too."""

    weights_sha256: str
    """Of the *.safetensors files and their index, by name."""
    config_sha256: str
    """Of the bytes of config.json."""
    generation_config_sha256: str
    """Of the bytes of generation_config.json; of none where there is no such file."""

    def context(self) -> int | None:
        """The most tokens that the model was made for; None where its configuration names no bound."""
        most: int | None = getattr(configuration(self.folder).get_text_config(), "max_position_embeddings", None)
        return most


def prepare(name: str, cache: Path, progress: Progress = silent) -> BaseModel:
    """Make a base model ready to load, and hash it.

    A GGUF file is dequantised once, into the cache.

    Args:
        name: `package:NAME` (an installed package that carries a model; it is not imported), a local folder, or a hub
            id. A folder holds either safetensors with a fast tokenizer, or one GGUF file.
        cache: folder for what is downloaded and converted.
        progress: told when a GGUF file is dequantised.

    Raises:
        AssayError: there is no such model, or it is of another form.
    """
    source = _source(name, cache, ["*.json", "*.safetensors", *CHAT_FILES])
    gguf = _gguf(source, name)
    if gguf is None:
        folder = source
    else:
        folder = cache / "models" / _key(gguf) / "model"
        if not sound(folder, progress):
            progress("dequantise the base model", 0, 1, "models")
            cache_folder(folder, partial(_dequantise, gguf, prepare_tokenizer(name, cache, progress)))
            progress("dequantise the base model", 1, 1, "models")
    return model_of(name, folder)


def model_of(name: str, folder: Path) -> BaseModel:
    """The model in a folder, hashed.

    Raises:
        AssayError: there are no safetensors, or they name others outside of the folder; an adapter lies beside them;
            the architecture is not one of transformers' own; there is no fast tokenizer, or it has more tokens than
            there are embeddings.
    """
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not weights:
        raise AssayError(f"{name}: no *.safetensors in {folder}.", remedy="Save the model's weights as safetensors.")
    _check_index(folder, {path.name for path in weights})
    adapter = folder / "adapter_config.json"
    if adapter.is_file():  # transformers would load it with the model, without a word
        raise AssayError(
            f"{name}: an adapter lies in the model's folder: {adapter}.",
            remedy="Move it out of there, or save the model with it merged: merge_and_unload().",
        )
    configuration(folder)
    tokenizer = BaseTokenizer.in_folder(name, _tokenizer_folder(folder, name))
    generation, index = folder / "generation_config.json", folder / INDEX
    return BaseModel(
        **vars(tokenizer),
        weights_sha256=files_digest((path.name, file_digest(path)) for path in (*weights, index) if path.is_file()),
        config_sha256=file_digest(folder / CONFIG),
        generation_config_sha256=file_digest(generation) if generation.is_file() else digest(None),
    )


def prepare_tokenizer(name: str, cache: Path, progress: Progress = silent, fetch: bool = True) -> Path:
    """The folder that holds the base model's tokenizer.json and tokenizer_config.json; its weights are not touched.

    The same files as in the folder of `prepare`.

    Args:
        name: as for `prepare`.
        cache: folder for what is downloaded and converted.
        progress: told of a conversion that is damaged.
        fetch: whether a hub id may be downloaded.

    Raises:
        AssayError: there is no such model, it has no fast tokenizer, or one with more tokens than embeddings.
    """
    source = _source(name, cache, [*TOKENIZER_FILES, CONFIG, "generation_config.json", *CHAT_FILES], fetch)
    gguf = _gguf(source, name)
    if gguf is None:
        return _tokenizer_folder(source, name)
    folder = cache / "models" / _key(gguf) / "tokenizer"
    if not sound(folder, progress):
        cache_folder(folder, partial(_convert_tokenizer, gguf))
    return folder


def load_model(
    base: BaseModel, quantization: Quantization, dtype: DType = "auto", double_quantization: bool = True
) -> "PreTrainedModel":
    """The base model in memory: on the GPU if there is one and its weights are not to be dealt out; on a CPU with
    activations in float32.

    Args:
        base: what `prepare` gave.
        quantization: `nf4` (4-bit NormalFloat, Dettmers et al. 2023, arXiv 2305.14314) or `none`.
        dtype: see `compute_dtype`.
        double_quantization: whether the constants of nf4 are quantised too.

    Raises:
        AssayError: transformers cannot open it, or it lacks weights; or this machine does not compute in `dtype`.
    """
    config, computing = configuration(base.folder), compute_dtype(dtype)
    with opening(base.folder), quiet():
        import torch
        from bitsandbytes.nn import Linear4bit
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        gpu = torch.cuda.is_available()
        dealt_out = Processes.joined().strategy == "fsdp"
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=double_quantization,
            bnb_4bit_compute_dtype=computing,
            bnb_4bit_quant_storage=computing if dealt_out else None,  # bytes cannot be dealt out
        )
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base.folder,
            config=config,
            dtype=computing if gpu else torch.float32,
            quantization_config=nf4 if quantization == "nf4" else None,
            device_map={"": torch.cuda.current_device()} if gpu and not dealt_out else None,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    model: PreTrainedModel
    model, told = loaded
    if missing := sorted(told["missing_keys"]):  # transformers would make them up, at random
        raise AssayError(
            f"{base.folder}: of the model's weights {len(missing)} are missing, {missing[0]} among them.",
            remedy="Save the whole model again, or fetch it again.",
        )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # In eval mode on a CPU, bitsandbytes repacks a layer's weights for a kernel that has no backward pass and
            # leaves them so: after one validation no gradient would pass the layer any more, without a word.
            module.support_avx512bf16_for_cpu = False
    return model


def configuration(folder: Path) -> "PreTrainedConfig":
    """What config.json says, without the implementations it may name: some are fetched from the hub, and are code.

    Raises:
        AssayError: it is none, or of an architecture that is not built into transformers, or of more than 10,000
            layers. A model's own code (the key `auto_map`) is neither run nor asked about.
    """
    with opening(folder):
        json.loads((folder / "config.json").read_bytes(), object_pairs_hook=_bounded)
    with opening(folder), quiet():
        from transformers import AutoConfig, PreTrainedConfig

        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        config._attn_implementation = config._experts_implementation = None
    return config


def _bounded(values: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a config.json: transformers would build what it asks for before it looks at the weights.

    Raises:
        ValueError: it asks for too many parts.
    """
    for key, value in values:
        for count in value if isinstance(value, list) else [value]:
            if PARTS.search(key) and isinstance(count, int | float) and count > MOST_PARTS:
                raise ValueError(f"config.json: {key} is {count:,}, more than {MOST_PARTS:,}")
    return dict(values)


@contextlib.contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Say of a model's folder that it cannot be opened; the libraries that read its files fail in all ways.

    Raises:
        AssayError: names the folder, and what a library says.
    """
    try:
        yield
    except (AssayError, ModuleNotFoundError):
        raise
    except Exception as error:
        if no_memory(error):
            raise
        own = _own_code(folder / CONFIG)
        why = f"{CONFIG} wants code of the model's own run (auto_map: {own}), which Assay never does" if own else ""
        said = " ".join(str(error).split())[:300]
        raise AssayError(
            f"{folder}: no model that transformers opens: {why or f'{type(error).__name__}: {said}'}.",
            remedy="Name a model whose architecture is built into transformers, with its files as they were saved.",
        ) from error


def _own_code(path: Path) -> str:
    """The classes of its own that a config.json names, in words; "" where it names none, or cannot be read."""
    try:
        named = json.loads(path.read_bytes())["auto_map"]
        return ", ".join(sorted(map(str, named.values())))[:200]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _check_index(folder: Path, weights: set[str]) -> None:
    """See to it that what is loaded is what is hashed: an index of shards names files of the folder alone.

    Raises:
        AssayError: names the file that it names.
    """
    path = folder / INDEX
    if not path.is_file():
        return
    with opening(folder):
        named = set(json.loads(path.read_bytes())["weight_map"].values())
    if outside := sorted(map(str, named - weights)):
        raise AssayError(
            f"{path}: weight_map names {outside[0]!r}, which is no *.safetensors of this folder.",
            remedy="Save the model again, with all its weights in its folder.",
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and no warnings of the libraries below: progress is told to the caller."""
    from transformers.utils import logging as transformers_logging

    bitsandbytes_logger = logging.getLogger("bitsandbytes")
    verbosity, level = transformers_logging.get_verbosity(), bitsandbytes_logger.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    bitsandbytes_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
        bitsandbytes_logger.setLevel(level)


def _source(name: str, cache: Path, patterns: list[str], fetch: bool = True) -> Path:
    """The folder where a model lies as it was delivered."""
    if name.startswith(PACKAGE):
        return _package_folder(name.removeprefix(PACKAGE))
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        hub = cache / "hub"
        folder = Path(snapshot_download(name, cache_dir=hub, allow_patterns=patterns, local_files_only=not fetch))
    except (OSError, ValueError) as error:  # not there, no network, or not a hub id
        raise AssayError(
            f"Base model {name!r}: no such folder, and the Hugging Face Hub does not give it: {error}",
            remedy="Name package:NAME, a local folder or a hub id; a hub id needs the network the first time.",
        ) from None
    _require_as_downloaded(folder, cache)
    return folder


def _require_as_downloaded(folder: Path, cache: Path) -> None:
    """Compare a snapshot's files with their checksums when they were first used.

    Raises:
        AssayError: one has changed since.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: checksum(path) for name, path in files.items()}
    known = keyed_folder(cache / "downloads", digest([folder.parent.parent.name, folder.name, sorted(files)]))
    if not sound(known):
        cache_text(known, "files.json", json.dumps(found))
    for name, wanted in json.loads((known / "files.json").read_bytes()).items():
        if found[name] != wanted:
            raise AssayError(
                f"{files[name]}: its bytes are not those that were downloaded.",
                remedy=f"Remove {files[name]} and {files[name].resolve()}: they are downloaded again.",
            )


def _package_folder(package: str) -> Path:
    """The folder of an installed package's files, found without importing it (it may lack its own dependencies)."""
    try:
        files = importlib.metadata.files(package) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise AssayError(
            f"Base model {PACKAGE}{package}: the package is not installed.", remedy=installed_by(package, "--no-deps ")
        ) from None
    models = [file for file in files if file.suffix in (".gguf", ".safetensors")]
    if not models:
        raise AssayError(
            f"Base model {PACKAGE}{package}: the package carries neither a .gguf nor a .safetensors file.",
            remedy="Name a package with a model inside, a local folder or a hub id.",
        )
    return Path(str(models[0].locate())).parent


def _gguf(folder: Path, name: str) -> Path | None:
    """The GGUF file to convert; None where the folder has a model in the form that is trained."""
    found = sorted(folder.glob("*.gguf"))
    if (folder / "tokenizer.json").is_file() or not found:
        return None
    if len(found) > 1:
        raise AssayError(
            f"Base model {name}: {folder} holds {len(found)} GGUF files.", remedy="Leave one of them in a folder."
        )
    return found[0]


def _key(gguf: Path) -> str:
    """Names the conversion of a GGUF file: another transformers may convert otherwise."""
    return digest([VERSION, file_digest(gguf), importlib.metadata.version("transformers")])[:16]


def _convert_tokenizer(gguf: Path, folder: Path) -> None:
    if write_tokenizer(gguf, folder):
        return
    # Apart, for transformers imports torch, which takes half a GiB of addresses and is not needed to curate.
    more = f"If it was for want of memory, give it more: {MEMORY}=4GiB."
    apart(partial(_save_tokenizer, folder), gguf, f"Fetch the model again, or name another in fit.model. {more}")


def _save_tokenizer(folder: Path, gguf: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    with opening(gguf), quiet():
        PreTrainedTokenizerFast.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False
        ).save_pretrained(folder)
    _forget_saving(folder)


def _dequantise(gguf: Path, tokenizer: Path, folder: Path) -> None:
    # The conversion draws a bar that no setting of transformers hides.
    with opening(gguf), quiet(), contextlib.redirect_stderr(io.StringIO()):
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

        AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
        ).save_pretrained(folder)
    _forget_saving(folder)
    for name in sealed(tokenizer):
        shutil.copyfile(tokenizer / name, folder / name)


def _forget_saving(folder: Path) -> None:
    """Take SAVED out of the configurations in a folder: a GGUF file gives the same bytes on every machine."""
    for path in folder.glob("*config.json"):
        said = json.loads(path.read_bytes())
        kept = {key: value for key, value in said.items() if key not in SAVED}
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _tokenizer_folder(folder: Path, name: str) -> Path:
    for file in TOKENIZER_FILES:
        if not (folder / file).is_file():
            raise AssayError(f"Base model {name}: no {file} in {folder}.", remedy=REMEDY)
    _check_embeddings(folder, name)
    return folder


def _embeddings_in(folder: Path) -> list[tuple[int, str]]:
    """How many rows the embeddings in a folder's safetensors have, and the file; none where it has no such weights."""
    from safetensors import safe_open

    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as weights:
            held = [weights.get_slice(key) for key in weights.keys() if key.endswith(EMBEDDINGS)]  # noqa: SIM118
            shapes = [each.get_shape() for each in held if each.get_dtype() in FLOATS]
            found += [(max(shape[0] for shape in shapes), path.name)] if shapes else []
    return found


def _check_embeddings(folder: Path, name: str) -> None:
    """See to it that every token of the tokenizer has an embedding; a model may have more of them, for padding.

    Raises:
        AssayError: names both sizes, and tokens without one.
    """
    path = folder / CONFIG
    with opening(folder):
        config = json.loads(path.read_bytes()) if path.is_file() else {}
        said = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
        known = [(said, f"vocab_size in {path.name}")] if isinstance(said, int) else []
        known += _embeddings_in(folder)
    if not known:
        return
    rows, where = min(known)
    tokenizer, _ = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    size = max(vocabulary.values()) + 1
    if size > rows:
        beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
        named = ", ".join(repr(token) for _, token in beyond[:3]) + (", …" if len(beyond) > 3 else "")
        raise AssayError(
            f"Base model {name}: its tokenizer has ids for {size:,} tokens, its embeddings ({where}) "
            f"have {rows:,} rows: there is none for {named}.",
            remedy=f"Tokens were added and the model was not made larger. Load it, call "
            f"model.resize_token_embeddings({size}) and save it again; or save the tokenizer that the model came with.",
        )
