"""Running a system in a process of its own, and what it took: wall time, and the memory of all its processes."""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

CACHE = Path.home() / ".cache" / "assay-benchmarks"
SAMPLING = 0.2
"""Seconds between two looks at the memory, or more ..."""
LOOKING = 0.02
"""... where looking would take more than this share of the time: the kernel takes some 20 ms for a gigabyte, in which
what is looked at gets no memory."""
PR_SET_CHILD_SUBREAPER = 36
"""See prctl(2)."""
PATIENCE = 10.0
"""Seconds that what a process has left may take to end."""
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Run:
    """What one run took."""

    seconds: float
    peak_mib: float
    """The most memory, over the run, of the process and all its descendants together."""
    output: str
    """What it printed."""
    processor: float
    """Seconds of all cores together: they change less than the others where more runs on the machine."""


def environment(folder: Path, name: str, requirements: Sequence[str]) -> Path:
    """The Python of a virtual environment with these requirements, made on first use."""
    python = folder / name / "bin" / "python"
    installed = folder / name / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if not installed.is_file() or installed.read_text() != wanted:
        print(f"installing {', '.join(requirements)} into {folder / name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / name], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        subprocess.run(pip, check=True)
        installed.write_text(wanted)
    return python


def run(command: Sequence[str | Path], variables: Mapping[str, str | Path] | None = None) -> Run:
    """Run a command to its end.

    Args:
        variables: added to the environment.

    Raises:
        SystemExit: it failed; what it printed last is shown.
    """
    surroundings = os.environ | QUIET | {name: str(value) for name, value in (variables or {}).items()}
    with tempfile.TemporaryFile() as printed, _inheriting():
        before = _processor()
        looked = begin = time.perf_counter()
        pause = SAMPLING
        process = subprocess.Popen(command, env=surroundings, stdout=printed, stderr=printed, start_new_session=True)
        peak = 0
        try:
            while process.poll() is None:
                if (now := time.perf_counter()) - looked >= pause:
                    peak = max(peak, _memory(process.pid))
                    looked = time.perf_counter()
                    pause = max(SAMPLING, (looked - now) / LOOKING)
                time.sleep(0.005)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - begin
        _wait_for_all(process.pid)
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-4000:]}")
    return Run(seconds, peak / 1024, output, _processor() - before)


@contextmanager
def _inheriting() -> Iterator[None]:
    """Have this process inherit what its children leave, as long as it waits for that."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _wait_for_all(session: int) -> None:
    """Wait for what a session's first process has left, as workers that nobody waits for: this process has inherited
    them, and their seconds count once they were waited for."""
    deadline = time.monotonic() + PATIENCE
    while (left := _members(session)) and time.monotonic() < deadline:
        for each in left:
            with suppress(ChildProcessError):
                os.waitpid(each, os.WNOHANG)
        time.sleep(0.005)


def _members(session: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):  # it ended meanwhile
            if os.getsid(int(folder.name)) == session:
                found.append(int(folder.name))
    return found


def _processor() -> float:
    """Processor seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(session: int) -> int:
    """Of a session's processes in KiB: the sum of their proportional set sizes (a page that n share counts 1/n for
    each) or, if it is more, the most that one of them has ever had, which tells of peaks between two looks."""
    shares, most = 0, 0
    for each in _members(session):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            shares += _kib(Path(f"/proc/{each}/smaps_rollup"), "Pss:")
            most = max(most, _kib(Path(f"/proc/{each}/status"), "VmHWM:"))
    return max(shares, most)


def _kib(path: Path, name: str) -> int:
    """A line of a file of /proc; 0 where it is missing, as in a process that is ending."""
    return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)), 0)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers stand to the right."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=max(120, Console().width)).print(table)


def result(name: str, given: dict[str, Any], runs: Mapping[str, Sequence[Run]], **more: Any) -> str:
    """The last line of a benchmark: JSON; `ratio` is each peer's median time over Assay's, where there are peers."""
    medians = {system: median(run.seconds for run in of_one) for system, of_one in runs.items()}
    line = {
        "name": name,
        "input": given,
        "seconds": {system: [round(run.seconds, 3) for run in of_one] for system, of_one in runs.items()},
        "ratio": {name: round(medians[name] / medians["assay"], 2) for name in [*medians][1:] if "assay" in medians},
        "peak_mib": {system: round(max(run.peak_mib for run in of_one), 1) for system, of_one in runs.items()},
    }
    return json.dumps(line | more)
