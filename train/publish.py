"""What was trained, with what its run told, as a published adapter."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.hashing import digest
from curate.store import Store
from train.adapter import save
from train.audit import Audit
from train.base_model import BaseModel
from train.batches import Layout
from train.dtypes import compute_dtype
from train.halted import NotFinite
from train.history import STEPS, History
from train.manifest import AdapterManifest, Compute, Loss, Run, TrainedRows, TrainedTokens, Validated
from train.report import write_report
from train.settings import TrainingRecipe, TrainingSettings

if TYPE_CHECKING:
    import torch

    from train.loop import Rows
    from train.methods.trained import Trained

DRAWN = Layout("padded", "answers that are drawn are put together by trl")


def publish(
    model: "Trained",
    weights: "Mapping[str, torch.Tensor]",
    base: BaseModel,
    rows: "Rows",
    audits: Sequence[Audit],
    history: History,
    recipe: TrainingRecipe,
    inputs: dict[str, Any],
    libraries: dict[str, str],
    parents: Collection[Path],
    store: Store,
    beside: Callable[[Path], None],
) -> Path:
    """Publish what was trained, with what its run told, and what `beside` writes into its folder.

    Raises:
        NotFinite: the weights are not.
        TakenBackError: one of the parents is gone, the published folders that it was trained from.
    """
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise NotFinite(
            "The trained weights are not finite after the last step; nothing is published.",
            remedy="Lower training.learning_rate, or set training.max_grad_norm: 1.0.",
        )
    settings, best = recipe.training, history.best()
    last = history.steps[-1].step
    kept = best.step if settings.keep_best and best is not None else last
    seen, trained = history.tokens(kept)

    run = Run(
        steps=last,
        planned=settings.epochs * history.steps_per_epoch,
        kept=kept,
        validations=[Validated(**each._asdict()) for each in history.validations],
        padding=round(history.padding(), 6),
    )

    def describe(folder: Path, content: dict[str, Any]) -> None:
        history.write(folder / STEPS)
        write_report(folder, AdapterManifest.model_validate(content), run, history)

    with store.publishing("adapters", recipe.name, parents) as draft:
        save(model, weights, base, draft.folder)
        beside(draft.folder)
        folder = draft.publish(
            {
                "name": recipe.name,
                "schema_version": 2,
                "inputs": inputs,
                "rows": TrainedRows(
                    train=len(rows.train),
                    train_ids_sha256=digest(sorted(example.id for example in rows.train)),
                    validation=len(rows.validation),
                    audit={problem: sum(each.counts[problem] for each in audits) for problem in audits[0].counts},
                ).content(),
                "tokens": TrainedTokens(seen=seen, trained=trained).content(),
                "loss": Loss(
                    train=history.epoch_losses(), validation=[each.loss for each in history.validations]
                ).content(),
                "run": run.content(),
                "compute": _computed(settings, model.device.type, rows).content(),
                "libraries": libraries,
            },
            describe,
        )
    seconds = history.seconds()
    store.record(
        {
            "event": "adapters",
            "name": recipe.name,
            "version": folder.name,
            "found": False,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(sum(each.tokens for each in history.steps) / seconds, 1),
        }
    )
    return folder


def _computed(settings: TrainingSettings, device: str, rows: "Rows") -> Compute:
    """What it was computed on, and how."""
    from train.optimizers import taken_by

    whole = device == "cpu" and settings.quantization == "none"  # on a CPU 4-bit weights alone are computed in less
    optim, instead = taken_by(settings.optim, device)
    processes, layout = rows.processes, DRAWN if rows.asked else rows.layout
    several = {"processes": processes.count, "strategy": processes.strategy} if processes.count > 1 else {}
    return Compute(
        device=device,
        dtype="float32" if whole else str(compute_dtype(settings.dtype)).removeprefix("torch."),
        rows=layout.rows,
        rows_reason=layout.reason,
        optim=optim,
        optim_reason=instead,
        **several,
    )
