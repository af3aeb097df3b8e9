"""What a run of training will take, before it begins: memory, tokens, floating-point operations and disk."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import ShortOfDisk, ShortOfMemory
from curate.progress import minutes
from curate.table import Table
from train.examples import Example
from train.methods.keys import CHEAPER, KEYS, PLACES, WHOLE
from train.processes import ALONE, Processes
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from train.memory import Batch, Machine, Part, Step

CGROUP = Path("/sys/fs/cgroup")
"""Where a container's bounds are told, in the second version of cgroups."""

SIZES = {"method", "optim", "rank", "rank_pattern", "modules_to_save"} | PLACES
"""Keys of `training` that say how large checkpoints and adapter are."""

DEALT_OUT: "Sequence[Part]" = ("weights", "adapters", "gradients", "optimizer state")
"""What processes have a share of under FSDP."""

MAPPED = 1 << 18
"""Bytes of a tensor from which on a CPU's memory of it is given back at once, where memory is short."""


DRAWN = (
    "of the reinforcement alone, its answers as long as they may be; not counted: drawing them, what that keeps of "
    "earlier tokens, the adapter's frozen copy and its pass"
)
"""What a forecast of a reinforcement says besides."""


@dataclass(frozen=True)
class Length:
    """Of a row, in tokens."""

    tokens: int
    trained: int
    """From the first trained token to the end."""

    @classmethod
    def of(cls, example: Example) -> "Length":
        return cls(len(example.input_ids), example.answer)

    def drawn(self, most: int) -> "Length":
        """Of the row with an answer of so many tokens in the place of its own."""
        return Length(self.tokens - self.trained + most, most)


def lengths_of(examples: Sequence[Example], settings: TrainingSettings) -> list[Length]:
    """Of what is trained on in an epoch: the rows or, of a reinforcement, each as often as answers are drawn to it,
    these as long as they may be."""
    lengths = [Length.of(each) for each in examples]
    if settings.objective != "reft":
        return lengths
    reft = settings.reft
    return [each.drawn(reft.max_new_tokens) for each in lengths for _ in range(reft.group_size)]


@dataclass(frozen=True)
class Room:
    """What a machine has left, in bytes."""

    memory: int
    disk: int

    @classmethod
    def here(cls, store: Path, device: str) -> "Room":
        """The memory that the device has free, within the container's bound; the free space of the store's disk."""
        there = next(folder for folder in (store, *store.parents) if folder.exists())
        return cls(_free_memory(device), shutil.disk_usage(there).free)


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    step: "Step"
    """Its largest batch."""
    batch: "Batch"
    machine: "Machine"
    room: Room
    rows: int
    tokens: int
    """Of all epochs, padding not counted."""
    steps: int
    disk: int
    """Bytes of the checkpoints and of the adapter."""
    seconds: float | None = None
    """Where a few steps have been measured."""
    besides: str = ""
    """What is not in it, and how it is to be read, in words."""
    processes: int = 1
    """That take each step together: batch and memory are those of each, all else is of all."""

    @property
    def lacking(self) -> int:
        """Bytes of memory that are missing; negative where some are left."""
        return self.step.bytes - self.machine.libraries - self.room.memory

    @property
    def short(self) -> bool:
        """Whether a CPU has no room for what glibc's heap keeps besides: up to as much again as the batch takes."""
        batch = self.step.memory["activations"] + self.step.memory["logits"]
        return self.machine.device == "cpu" and self.lacking + batch > 0

    @property
    def each(self) -> str:
        """Whose memory it is, in words."""
        return f" in each of {self.processes} processes" if self.processes > 1 else ""

    @property
    def flops(self) -> int:
        """Of all steps, by their tokens."""
        return round(self.step.flops * self.tokens / (self.batch.rows * self.batch.tokens))

    def line(self) -> str:
        """The forecast in a line."""
        took = f", {minutes(self.seconds)}" if self.seconds is not None else ""
        unknown = "" if self.step.known else " and what activations take, which this architecture does not tell,"
        return (
            f"forecast: {gib(self.step.bytes)}{unknown} of memory{self.each} ({gib(self.room.memory)} free), "
            f"{gib(self.disk)} of disk ({gib(self.room.disk)} free), {self.steps:,} steps, {self.tokens:,} tokens, "
            f"{self.flops:.1e} operations{took}{self.besides and f'; {self.besides}'}"
        )

    def data(self) -> dict[str, Any]:
        """The forecast as data; sizes in bytes."""
        return {
            "memory": {part.replace(" ", "_"): size for part, size in self.step.memory.items()},
            "memory_bytes": self.step.bytes,
            "free_memory_bytes": self.room.memory,
            "disk_bytes": self.disk,
            "free_disk_bytes": self.room.disk,
            "device": self.machine.device,
            "rows": self.rows,
            "batch": {"rows": self.batch.rows, "tokens": self.batch.tokens},
            "steps": self.steps,
            "tokens": self.tokens,
            "flops": self.flops,
            "seconds": self.seconds,
            "trained_weights": self.step.trained,
            "activations_known": self.step.known,
            "besides": self.besides,
        }

    def tables(self) -> list[Table]:
        """Memory by part, and the rest."""
        parts = [[part, gib(size)] for part, size in self.step.memory.items() if size]
        rest = [
            ["rows", f"{self.rows:,}"],
            ["largest batch, rows x tokens", f"{self.batch.rows} x {self.batch.tokens:,}"],
            ["steps", f"{self.steps:,}"],
            ["tokens", f"{self.tokens:,}"],
            ["floating-point operations", f"{self.flops:.2e}"],
            ["time", "not measured" if self.seconds is None else minutes(self.seconds)],
            ["trained weights", f"{self.step.trained:,}"],
            ["disk", gib(self.disk)],
            ["free disk", gib(self.room.disk)],
        ]
        parts += [] if self.step.known else [["activations, logits", "not known of this architecture"]]
        total = [["all", gib(self.step.bytes)], [f"free ({self.machine.device})", gib(self.room.memory)]]
        return [
            Table("memory", "Memory at the fullest moment", ["part", "memory"], parts + total),
            Table("run", "The run", ["", "forecast"], rest),
        ]


@dataclass(frozen=True)
class Way:
    """A change of the settings, and what comes of it."""

    change: str
    settings: TrainingSettings
    forecast: Forecast

    def __str__(self) -> str:
        return f"{self.change}: {gib(self.forecast.step.bytes)}" + (" (fits)" if self.forecast.lacking <= 0 else "")


def forecast(
    config: "PreTrainedConfig",
    settings: TrainingSettings,
    lengths: Sequence[Length],
    machine: "Machine",
    room: Room,
    processes: Processes = ALONE,
) -> Forecast:
    """What training on rows of these lengths will take.

    Args:
        config: of the base model.
        settings: of the recipe.
        lengths: of the rows that are trained on; at least one.
        machine: what the model is loaded and computed in.
        room: what is left there, for each process.
        processes: that take each step together.
    """
    from train.memory import Batch

    batch = Batch(
        min(-(-settings.batch_size // processes.count), len(lengths)),
        max(1, max(each.tokens for each in lengths) - 1),
        max(each.trained for each in lengths),
    )
    largest = _largest(config, settings, batch, len(lengths), machine)
    adapter = largest.trained_bytes
    kept = adapter * (2 if settings.keep_best else 1)  # a checkpoint holds the best weights too
    checkpoints = (settings.save_total_limit + 1) * (kept + largest.memory["optimizer state"])
    per_step = settings.batch_size * settings.gradient_accumulation_steps
    return Forecast(
        step=_in_each(largest, processes),
        batch=batch,
        machine=machine,
        room=room,
        rows=len(lengths),
        tokens=settings.epochs * sum(each.tokens for each in lengths),
        steps=settings.epochs * -(-len(lengths) // per_step),
        disk=checkpoints + adapter,
        besides=DRAWN if settings.objective == "reft" else "",
        processes=processes.count,
    )


def _in_each(step: "Step", processes: Processes) -> "Step":
    """What each process takes of a step, whose batch is its share already."""
    memory = dict(step.memory)
    if processes.strategy == "ddp":
        memory["gradients"] *= 2  # once more where they are summed
    elif processes.strategy == "fsdp":
        memory |= {part: -(-memory[part] // processes.count) for part in DEALT_OUT}
    return replace(step, memory=memory)


def _largest(
    config: "PreTrainedConfig", settings: TrainingSettings, batch: "Batch", rows: int, machine: "Machine"
) -> "Step":
    """What the largest batch takes or, if it is more, what `train.layout` does: it computes two rows, nothing of them
    twice."""
    from train.layout import most_compared
    from train.memory import step

    largest = step(config, settings, batch, machine)
    if batch.rows > 1 and not settings.gradient_checkpointing:
        return largest
    plain = settings.model_copy(update={"gradient_checkpointing": False})
    compared = replace(batch, rows=min(2, rows), tokens=min(batch.tokens, most_compared(config)))
    check = step(config, plain, compared, machine)
    return replace(largest, memory=max(largest, check, key=lambda each: each.bytes).memory)


def foresee(
    config: "PreTrainedConfig",
    settings: TrainingSettings,
    lengths: Sequence[Length],
    store: Path,
    force: bool,
    processes: Processes = ALONE,
) -> Forecast:
    """The forecast of a run here and now.

    Args:
        config: of the base model.
        settings: of the recipe.
        lengths: of what is trained on; at least one.
        store: the store's folder, on whose disk checkpoints are kept.
        force: give it though the run will not fit.
        processes: that take each step together.

    Raises:
        ShortOfDisk, ShortOfMemory: as `require_room`, without `force`.
    """
    machine = machine_here(settings)
    make = forecast if force else require_room
    room = Room.here(store, machine.device)
    if machine.device == "cpu":
        room = replace(room, memory=room.memory // processes.local)
    return make(config, settings, lengths, machine, room, processes)


def require_room(
    config: "PreTrainedConfig",
    settings: TrainingSettings,
    lengths: Sequence[Length],
    machine: "Machine",
    room: Room,
    processes: Processes = ALONE,
) -> Forecast:
    """The forecast of a run that fits.

    Raises:
        ShortOfDisk, ShortOfMemory: it will not be enough; says by how much, and what would make it fit, cheapest first.
    """
    found = forecast(config, settings, lengths, machine, room, processes)
    if found.disk > room.disk:
        raise ShortOfDisk(
            f"Checkpoints and adapter will take {gib(found.disk)}, the store's disk has {gib(room.disk)} free: "
            f"{gib(found.disk - room.disk)} too little.",
            remedy="Make room, name a store on another disk, lower training.save_total_limit"
            + (" or training.rank" if "rank" in KEYS[settings.method] else "")
            + ".",
        )
    if found.lacking <= 0:
        return found
    tried = list(_ways(config, settings, lengths, found, processes))
    ways = "; ".join(map(str, tried)) or "nothing is left to save"
    none = "" if any(way.forecast.lacking <= 0 for way in tried) else " None of these is enough: take a smaller model."
    raise ShortOfMemory(
        f"Training will take {gib(found.step.bytes)} of memory{found.each}, {gib(machine.libraries)} of it taken now, "
        f"and {gib(room.memory)} are free: {gib(found.lacking)} too little.",
        remedy=f"In the recipe, cheapest first, each with those before it: {ways}.{none}",
    )


def _ways(
    config: "PreTrainedConfig",
    settings: TrainingSettings,
    lengths: Sequence[Length],
    found: Forecast,
    processes: Processes,
) -> Iterator[Way]:
    """Changes that each add to those before, up to the first that fits; what saves nothing is left out."""
    least = found
    for change, changed, kept in _changes(settings, lengths, processes.count):
        adapter = (
            found.machine.device == "cuda" and changed.method not in WHOLE
        )  # which leaves weights in half precision
        machine = replace(found.machine, weights=found.machine.compute) if adapter else found.machine
        then = forecast(config, changed, kept, machine, found.room, processes)
        if then.step.bytes < least.step.bytes:
            least = then
            yield Way(change, changed, then)
            if then.lacking <= 0:
                return


def _changes(
    settings: TrainingSettings, lengths: Sequence[Length], processes: int
) -> Iterator[tuple[str, TrainingSettings, Sequence[Length]]]:
    now, kept = settings, lengths
    while (rows := now.batch_size) > processes:
        parts = next(parts for parts in range(2, rows + 1) if rows // processes % parts == 0)
        cut = {"batch_size": rows // parts, "gradient_accumulation_steps": parts * now.gradient_accumulation_steps}
        now = now.model_copy(update=cut)
        said = ", ".join(f"{key} {value}" for key, value in cut.items())
        yield f"{said} (the same step)", now, kept
    if not now.gradient_checkpointing:
        now = now.model_copy(update={"gradient_checkpointing": True})
        yield "gradient_checkpointing true (a third more time)", now, kept
    while (method := CHEAPER.get(now.method)) is not None:
        if KEYS[now.method] < KEYS[method]:  # their modules may be none that the other method takes
            now = now.model_copy(update=dict.fromkeys(PLACES))
        now = now.model_copy(update={"method": method})
        gone = [key for key in sorted(PLACES) if getattr(settings, key) is not None and getattr(now, key) is None]
        yield ", ".join([f"method {method}", *(f"without {key}" for key in gone)]), now, kept
    if not now.double_quantization:
        now = now.model_copy(update={"double_quantization": True})
        yield "double_quantization true", now, kept
    longest = max(each.tokens for each in lengths)
    for most in (longest * 3 // 4, longest // 2, longest // 4):
        shorter = [each for each in lengths if each.tokens <= most]
        if len(shorter) >= 1 and most >= 8:
            now, kept = now.model_copy(update={"max_tokens": most}), shorter
            yield f"max_tokens {most} ({len(lengths) - len(kept):,} of {len(lengths):,} rows are lost)", now, kept
    while "rank" in KEYS[now.method] and now.rank > 4:
        now = now.model_copy(update={"rank": now.rank // 2})
        yield f"rank {now.rank}", now, kept


def gib(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:,.2f} GiB" if abs(size) >= 2**30 / 10 else f"{size / 2**20:,.1f} MiB"


def machine_here(settings: TrainingSettings) -> "Machine":
    """What the model will be loaded and computed in here; called where the libraries of training are in memory."""
    import torch

    from train.dtypes import compute_dtype
    from train.memory import Machine

    gpu = torch.cuda.is_available()
    compute = compute_dtype(settings.dtype)
    taken = torch.cuda.memory_allocated() if gpu else _resident()
    weights = compute if gpu and settings.method not in WHOLE else torch.float32
    return Machine("cuda" if gpu else "cpu", weights, compute, libraries=taken)


def _resident() -> int:
    """Bytes of memory that this process has."""
    return 1024 * _told(Path("/proc/self/status"), "VmRSS:")


def _told(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)), 0)


def _free_memory(device: str) -> int:
    if device == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info()[0]
        return free
    free = 1024 * _told(Path("/proc/meminfo"), "MemAvailable:")
    bound, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if bound.is_file() and bound.read_text().strip().isdigit():
        # What the page cache holds of files counts as used there, and can be had back.
        held = _told(CGROUP / "memory.stat", "inactive_file")
        free = min(free, int(bound.read_text()) - int(used.read_text()) + held)
    return max(0, free)
