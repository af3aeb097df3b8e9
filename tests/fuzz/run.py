"""Fuzz: as many inputs as a time has room for, on every target in a process of its own.

    python -m tests.fuzz.run --minutes 60 --keep FOLDER

Where atheris is installed (`pip install -e '.[fuzz]'`), inputs are led by what they reach of the code; elsewhere they
are hypothesis's, as in the tests. An input that is a fault is kept in FOLDER/TARGET/, the shortest of each kind, and so
is one that ends the process, or holds it up: what was at work is written down before it is tried. A last line says how
many inputs were tried and which faults were found; the exit status is 1 where there are any.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import INSERTED

ROOT = Path(__file__).parents[2]
MEMORY = 3 << 30
"""Bytes that the process of a target may have."""
GROWTH = 1 << 30
"""Bytes that an input may cost."""
SECONDS = 20
"""Of the processor, for an input; a process that has not said a word for six times as long is ended."""
COMPILED = ("curate.text", "curate.sets", "curate.rows.quality")
"""Modules that numba compiles, whose code atheris must not change."""


class Slow(BaseException):
    """An input took too long. Nothing that a target expects."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--target", action="append", help="one of them; may be given again")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "assay-fuzz", help="a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", action="append", choices=["hypothesis", "atheris"], help="by default all there are")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _fuzz(given.target[0], given.keep, given.minutes * 60, given.seed, given.engine[0])
        return 0
    from tests.fuzz.targets import TARGETS

    faults = 0
    names, engines = given.target or list(TARGETS), given.engine or _engines()
    seconds = given.minutes * 60 / len(names) / len(engines)
    for name in names:
        keep = given.keep / name
        tried = sum(_watched(name, keep, seconds, given.seed, engine) for engine in engines)
        found = sorted(path.read_text().splitlines()[0] for path in keep.glob("*.txt"))
        faults += len(found)
        said = {"target": name, "engines": engines, "inputs": tried, "faults": found}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    return int(faults > 0)


def _engines() -> list[str]:
    return ["hypothesis", *(["atheris"] if find_spec("atheris") else [])]


def _watched(name: str, keep: Path, seconds: float, seed: int, engine: str) -> int:
    """Fuzz a target in processes that may die; gives how many inputs were tried."""
    keep.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    tried = 0
    while (left := end - time.monotonic()) > 1:
        (keep / "tried").write_text("0")
        command = [sys.executable, "-m", "tests.fuzz.run", "--child", "--target", name, "--keep", str(keep)]
        command += ["--minutes", str(left / 60), "--seed", str(seed), "--engine", engine]
        with (keep / "log").open("wb") as log:
            child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
            while child.poll() is None:
                time.sleep(0.5)
                if time.time() - (keep / "tried").stat().st_mtime > 6 * SECONDS:
                    child.kill()
                    child.wait()
        tried += int((keep / "tried").read_text() or 0)
        seed += 1
        if child.returncode < 0 and (keep / "input").is_file():
            _keep(keep, f"ended by {signal.Signals(-child.returncode).name}", (keep / "input").read_bytes(), "")
        elif child.returncode:
            _keep(keep, "the fuzzer itself failed", b"", (keep / "log").read_text(errors="replace"))
            break
    return tried


def _fuzz(name: str, keep: Path, seconds: float, seed: int, engine: str) -> None:
    """Try inputs on a target, in this process, for about so many seconds."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.fsync = lambda _: None  # nothing here has to last
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["assay", "curate", "evaluation"], exclude=_compiled()):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    seeds = list(target.seeds())
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _slow)
    tried = 0
    began = time.monotonic()

    def check(data: bytes) -> None:
        nonlocal tried
        (keep / "input").write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target.check(data)
        except (Exception, Slow) as error:
            _keep(keep, _kind(error), data, traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        if grown > GROWTH:
            _keep(keep, "more than 1 GiB of memory", data, f"{grown:,} bytes")
        tried += 1
        (keep / "tried").write_text(str(tried))

    for each in seeds:
        check(each)
    if engine == "hypothesis":
        _by_hypothesis(target.inputs(), check, seed, lambda: time.monotonic() - began < seconds)
        return
    for number, each in enumerate(seeds):
        (keep / "corpus").mkdir(exist_ok=True)
        (keep / "corpus" / f"seed-{number}").write_bytes(each)
    words = [word for word in (*target.words, *INSERTED) if len(word) <= 64]  # more libFuzzer does not take
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    (keep / "words").write_text("".join(f'"{word}"\n' for word in escaped))
    flags = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-max_len=65536", "-rss_limit_mb=0"]
    atheris.Setup([name, *flags, f"-dict={keep / 'words'}", "-print_final_stats=1", str(keep / "corpus")], check)
    atheris.Fuzz()


def _compiled() -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "curate").rglob("*.py"))
    modules = [".".join(path.parts) for path in paths]
    return [module for module in modules if module.startswith(COMPILED)]


def _by_hypothesis(inputs: Any, check: Callable[[bytes], None], number: int, goes_on: Callable[[], bool]) -> None:
    from hypothesis import HealthCheck, Phase, given, seed, settings

    how = settings(
        max_examples=1000,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    while goes_on():
        seed(number)(how(given(inputs)(lambda data: check(data) if goes_on() else None)))()
        number += 1000


def _slow(number: int, frame: FrameType | None) -> None:
    raise Slow(f"more than {SECONDS} s of the processor")


def _kind(error: BaseException) -> str:
    """What a fault is known by: the exception, and where in the repository it was raised."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).is_relative_to(ROOT)]
    ours = [each for each in frames if ".venv" not in each.filename]
    where = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else "elsewhere"
    return f"{type(error).__name__} at {where}"


def _keep(keep: Path, kind: str, data: bytes, words: str) -> None:
    """Keep an input if it is the first of its kind, or shorter than the one that is kept."""
    path = keep / re.sub(r"\W+", "-", kind)
    if not path.is_file() or len(path.read_bytes()) > len(data):
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{kind}\n{words}", errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
