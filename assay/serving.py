"""The door's way to servers: an adapter as a whole model or file, and whether a server does what is done here."""

from pathlib import Path
from typing import Any, get_args

from assay.door import Place, positive, store_of
from assay.results import Adapter, Merged, Parities
from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.store import Store


def merge(
    adapter: Adapter | Place,
    out: Place,
    *,
    dtype: str | None = None,
    store: Place | None = None,
    progress: Progress = silent,
) -> Merged:
    """Merge an adapter into its base model: a whole model, with its tokenizer, chat template and stop tokens.

    The weights are added in float32 and rounded once, when they are written.

    Args:
        adapter: one that was trained, or a folder, NAME/VERSION or NAME.
        out: new folder for the model.
        dtype: what its weights are written in, `float32`, `bfloat16` or `float16`; by default the base model's own.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told when it is merged.

    Raises:
        AssayError: there is no such adapter or base model, they do not belong together, or `out` is there already; or
            `dtype` does not hold a weight.
    """
    from train.adapter import WeightDType, merge_into

    folder, target = _adapter(adapter, store)
    chosen = None if dtype is None else _one_of("dtype", dtype, WeightDType)
    written = merge_into(Path(out), folder, target.cache, chosen, progress)
    return Merged(f"{folder.parent.name}/{folder.name}", Path(out), written)


def export(
    adapter: Adapter | Place,
    out: Place,
    *,
    type: str = "f16",
    store: Place | None = None,
    progress: Progress = silent,
) -> Merged:
    """Write an adapter, merged into its base model, as one GGUF file for llama.cpp, ollama and LM Studio.

    Args:
        adapter: one that was trained, or a folder, NAME/VERSION or NAME.
        out: the new file.
        type: of the weights: `f32`, `f16`, or `q8_0`, 8 bits with a scale for each 32.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told when it is merged and written.

    Raises:
        AssayError: as of `merge`; or the base model's architecture or tokenizer is none that this is proven for.
    """
    from train.export import WeightType, export_into

    folder, target = _adapter(adapter, store)
    kind = _one_of("type", type, WeightType)
    export_into(Path(out), folder, target.cache, kind, progress)
    return Merged(f"{folder.parent.name}/{folder.name}", Path(out), type)


def parity(
    adapter: Adapter | Place,
    endpoint: str,
    *,
    model: str | None = None,
    key: str | None = None,
    rows: int = 32,
    max_new_tokens: int = 96,
    quantization: str = "none",
    store: Place | None = None,
    progress: Progress = silent,
) -> Parities:
    """Compare a server with the adapter in process: the same prompt tokens, the same greedy texts, on the same rows.

    Whether all are says `Parities.same`; `Parities.require()` stops where they are not.

    Args:
        adapter: one that was trained, or a folder, NAME/VERSION or NAME.
        endpoint: the server's URL, up to and with /v1.
        model: the adapter's name there; by default that of the only model it has.
        key: environment variable that holds the API key.
        rows: how many rows of the test split (where it has none, the validation split) are asked.
        max_new_tokens: tokens at which an answer is cut off.
        quantization: of the base model's weights in process, as the server has them: `none` or `nf4`.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told in rows.

    Raises:
        AssayError: there is no such adapter, its data set or base model is not there, or the server cannot be asked.
    """
    from evaluation.ask.prompts import only_model
    from evaluation.parity import parity as compare_server
    from evaluation.settings import endpoint_of
    from train.base_model import Quantization

    folder, target = _adapter(adapter, store)
    _one_of("quantization", quantization, Quantization)
    server = endpoint_of(url=endpoint, model=model or "", key=key)
    if model is None:
        server = server.model_copy(update={"model": only_model(server)})
    return Parities(
        compare_server(
            folder,
            server,
            target,
            rows=positive("rows", rows),
            max_new_tokens=positive("max_new_tokens", max_new_tokens),
            quantization=quantization,  # type: ignore[arg-type]
            progress=progress,
        )
    )


def _one_of(name: str, given: str, known: Any) -> Any:
    """What was given, where it is one of a `Literal`.

    Raises:
        AssayError: it is none of them.
    """
    if given not in get_args(known):
        raise AssayError(f"{name} is {given!r}.", remedy=f"One of {', '.join(get_args(known))}.")
    return given


def _adapter(adapter: Adapter | Place, store: Place | None) -> tuple[Path, Store]:
    """The folder of an adapter, and the store that is meant with it."""
    if isinstance(adapter, Adapter):
        return adapter.folder, adapter.made.store if store is None else store_of(store)
    target = store_of(store)
    return target.resolve("adapters", str(adapter)), target
