"""The door's way to servers: an adapter as a whole model, and whether a server does with it what is done here."""

from pathlib import Path
from typing import get_args

from assay.door import Place, positive, store_of
from assay.results import Adapter, Merged, Parities
from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.store import Store


def merge(adapter: Adapter | Place, out: Place, *, store: Place | None = None, progress: Progress = silent) -> Merged:
    """Merge an adapter into its base model: a whole model, with its tokenizer, chat template and stop tokens.

    Args:
        adapter: one that was trained, or a folder, NAME/VERSION or NAME.
        out: new folder for the model.
        store: folder that Assay writes to.
        progress: told when it is merged.

    Raises:
        AssayError: there is no such adapter or base model, they do not belong together, or `out` is there already.
    """
    from train.adapter import merge_into

    folder, target = _adapter(adapter, store)
    return Merged(f"{folder.parent.name}/{folder.name}", merge_into(Path(out), folder, target.cache, progress))


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
        store: folder that Assay writes to.
        progress: told in rows.

    Raises:
        AssayError: there is no such adapter, its data set or base model is not there, or the server cannot be asked.
    """
    from evaluation.ask.prompts import only_model
    from evaluation.parity import parity as compare_server
    from evaluation.settings import endpoint_of
    from train.base_model import Quantization

    folder, target = _adapter(adapter, store)
    if quantization not in get_args(Quantization):
        raise AssayError(f"quantization is {quantization!r}.", remedy=f"One of {', '.join(get_args(Quantization))}.")
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


def _adapter(adapter: Adapter | Place, store: Place | None) -> tuple[Path, Store]:
    """The folder of an adapter, and the store that is meant with it."""
    if isinstance(adapter, Adapter):
        return adapter.folder, adapter.made.store if store is None else store_of(store)
    target = store_of(store)
    return target.resolve("adapters", str(adapter)), target
