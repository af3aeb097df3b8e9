"""An adapter and its base model as one file of GGUF, which llama.cpp, ollama and LM Studio read.

The merged weights, the tokenizer, the chat template and the stop tokens that were trained with, by the names of the
format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Written for the architectures and tokenizers for
which that is proven: read back by transformers, and asked through llama.cpp, they say the same. llama.cpp's own
script, convert_hf_to_gguf.py, which is no package, knows many more, and takes the folder that `assay merge` writes.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.rows.renderer import Renderer
from train.adapter import merge, renderer_of, template_of
from train.base_model import BaseModel, configuration, prepare
from train.manifest import AdapterManifest
from train.serving import GENERATION, TEMPLATE, stop_tokens

if TYPE_CHECKING:
    import numpy as np
    import torch
    from gguf import GGUFWriter
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig, PreTrainedModel

WeightType = Literal["f32", "f16", "q8_0"]
"""32-bit floats, 16-bit floats, or 8-bit integers with a 16-bit scale for each 32; vectors stay in float32 in all."""
Rounded = Literal["f16", "q8_0"]
REMEDY = "Write the whole model with `assay merge`, and convert that folder with llama.cpp's convert_hf_to_gguf.py."

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Architecture:
    """What llama.cpp calls a model, and how it wants its weights."""

    name: str
    paired: bool = False
    """Whether it rotates neighbouring numbers of a query and key, not those half a head apart as transformers does."""


ARCHITECTURES = {
    "llama": Architecture("llama", paired=True),
    "mistral": Architecture("llama", paired=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
}
"""By transformers' `model_type`."""

SPLIT: dict[str, Any] = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTES: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False}
WHOLE, CUT = BYTES | {"use_regex": True}, BYTES | {"use_regex": False}
CUTS: list[tuple[str, list[dict[str, Any]], bool]] = [
    ("gpt-2", [WHOLE], False),
    ("smollm", [{"type": "Digits", "individual_digits": True}, WHOLE], False),
    ("llama-bpe", [SPLIT | {"pattern": {"Regex": LETTERS + r"\p{N}{1,3}" + REST}}, CUT], True),
    ("qwen2", [SPLIT | {"pattern": {"Regex": LETTERS + r"\p{N}" + REST}}, CUT], False),
]
"""How llama.cpp cuts texts before it merges: its name for that, what tokenizer.json has of it, and whether a word that
is a token is taken whole (`ignore_merges`)."""


def export_into(out: Path, folder: Path, cache: Path, kind: WeightType = "f16", progress: Progress = silent) -> Path:
    """Write an adapter, merged with the base model it names, as a GGUF file.

    Args:
        out: the file, new.
        folder: of the adapter.
        cache: the store's cache.
        kind: of the weights.
        progress: told when it is merged and written.

    Raises:
        AssayError: as `train.adapter.merge`; `out` is there already; its architecture or tokenizer is none that this is
            proven for; or a weight is beyond 16-bit floats.
    """
    if out.exists():
        raise AssayError(f"{out} is there already.", remedy="Name a new file: nothing is overwritten.")
    base = prepare(AdapterManifest.read(folder).inputs.base.model, cache, progress)
    config, renderer = configuration(base.folder), renderer_of(folder, base, template_of(folder))
    architecture, cut = _architecture(base, config), _cut(base, renderer.tokenizer)
    merged = merge(folder, base, renderer.template, cache, progress)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    progress("write the GGUF file", 0, 1, "files")
    with tempfile.TemporaryDirectory(prefix=".assay-export-", dir=out.absolute().parent) as draft:
        from gguf import GGUFWriter

        whole = Path(draft) / out.name
        writer = GGUFWriter(whole, architecture.name)
        _describe(writer, config, kind)
        _add_tokenizer(writer, merged, renderer, cut, config.vocab_size)
        _add_weights(writer, merged.folder, config, architecture, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        whole.rename(out)
    progress("write the GGUF file", 1, 1, "files")
    return out


def _architecture(base: BaseModel, config: "PreTrainedConfig") -> Architecture:
    rope = config.rope_parameters or {}
    if config.model_type not in ARCHITECTURES:
        what = f"its architecture is {config.model_type}, and a GGUF file is written of {', '.join(ARCHITECTURES)}"
    elif rope.get("rope_type", "default") != "default":
        what = f"its positions are scaled ({rope['rope_type']}), and a GGUF file is written of those that are not"
    elif config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        what = "its feed-forward layers are not those of Llama"
    else:
        return ARCHITECTURES[config.model_type]
    raise AssayError(f"Base model {base.name}: {what}.", remedy=REMEDY)


def _cut(base: BaseModel, tokenizer: "Tokenizer") -> str:
    """llama.cpp's name for how a tokenizer cuts texts."""
    said = json.loads(tokenizer.to_str())
    model, before = said["model"], said["pre_tokenizer"]
    steps = before["pretokenizers"] if before and before["type"] == "Sequence" else [before]
    plain = [{key: value for key, value in (step or {}).items() if key != "trim_offsets"} for step in steps]
    normal = said["normalizer"] or {"type": "NFC"}  # llama.cpp composes no characters; Qwen's files are used so
    if model["type"] == "BPE" and not model.get("byte_fallback") and normal == {"type": "NFC"}:
        for name, cut, whole in CUTS:
            if plain == cut and bool(model.get("ignore_merges")) == whole:
                return name
    raise AssayError(
        f"Base model {base.name}: its tokenizer cuts texts as none of those does that a GGUF file is written of "
        f"({', '.join(name for name, *_ in CUTS)}).",
        remedy=REMEDY,
    )


def _describe(writer: "GGUFWriter", config: "PreTrainedConfig", kind: WeightType) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # llama.cpp attends to everything in these architectures: up to the window that is the same.
    windows = "sliding_attention" in (getattr(config, "layer_types", None) or []) or config.model_type == "mistral"
    window = config.sliding_window if windows and config.sliding_window else config.max_position_embeddings
    writer.add_context_length(min(config.max_position_embeddings, window))
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base((config.rope_parameters or {}).get("rope_theta", 10_000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    types = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
    writer.add_file_type(types[kind])
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _add_tokenizer(writer: "GGUFWriter", merged: BaseModel, renderer: Renderer, cut: str, rows: int) -> None:
    """Tokens, merges, special tokens, chat template and stop tokens; a token for each of the embedding's rows."""
    from gguf import TokenType

    tokenizer = renderer.tokenizer
    added = {number: token.special for number, token in tokenizer.get_added_tokens_decoder().items()}
    by_number = {number: text for text, number in tokenizer.get_vocab().items()}
    texts = [by_number.get(number, f"[PAD{number}]") for number in range(rows)]
    types = [
        (TokenType.CONTROL if added[number] else TokenType.USER_DEFINED)
        if number in added
        else TokenType.NORMAL
        if number in by_number
        else TokenType.UNUSED
        for number in range(rows)
    ]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    said = json.loads((merged.folder / GENERATION).read_bytes())
    if "bos_token_id" in said:
        writer.add_bos_token_id(said["bos_token_id"])
    first, *others = stop_tokens(renderer)
    writer.add_eos_token_id(first)
    if others:
        writer.add_eot_token_id(others[0])
    writer.add_pad_token_id(said["pad_token_id"])
    # Put before any text, and taken from the template's where that begins with it: so only where it does.
    begins = renderer.prompt_ids([{"role": "user", "content": "a"}])[:1] == [said.get("bos_token_id")]
    writer.add_add_bos_token(renderer.tokens.adds_bos and begins)
    writer.add_chat_template((merged.folder / TEMPLATE).read_text(encoding="utf-8"))


def _add_weights(
    writer: "GGUFWriter", folder: Path, config: "PreTrainedConfig", architecture: Architecture, kind: WeightType
) -> None:
    import gguf

    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, tensor in _weights(folder):
        if architecture.paired and ".q_proj." in name:
            tensor = _paired(tensor, config.num_attention_heads)
        if architecture.paired and ".k_proj." in name:
            tensor = _paired(tensor, config.num_key_value_heads)
        called = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if called is None:
            raise AssayError(f"{folder}: a GGUF file has no name for the weight {name}.", remedy=REMEDY)
        writer.add_tensor(called, *_written(name, tensor.float().numpy(), kind))


def _weights(folder: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                yield name, file.get_tensor(name)


def _paired(tensor: "torch.Tensor", heads: int) -> "torch.Tensor":
    """Rows of a projection put so that those that are rotated together are neighbours."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def round_as(model: "PreTrainedModel", kind: Rounded) -> None:
    """Round a model's weights in place to those that a server makes of a file of this kind.

    Raises:
        AssayError: a weight is beyond 16-bit floats.
    """
    import torch
    from gguf import dequantize

    for name, weight in model.named_parameters():  # tied ones once
        written, _, to = _written(name, weight.detach().float().cpu().numpy(), kind)
        weight.data.copy_(torch.from_numpy(dequantize(written, to)).reshape(weight.shape))


def _written(name: str, values: "np.ndarray", kind: WeightType) -> "tuple[np.ndarray, None, Any]":
    """A tensor's bytes and type, as `GGUFWriter.add_tensor` takes them.

    Raises:
        AssayError: a value is beyond 16-bit floats.
    """
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quantize

    if values.ndim == 1 or kind == "f32":  # norms and biases: llama.cpp wants them whole
        return np.ascontiguousarray(values), None, GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0]
    quantised = kind == "q8_0" and values.shape[-1] % block == 0
    to = GGMLQuantizationType.Q8_0 if quantised else GGMLQuantizationType.F16
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise AssayError(f"The weight {name} is beyond what 16-bit floats hold.", remedy=REMEDY)
    return quantize(np.ascontiguousarray(values), to), None, to
