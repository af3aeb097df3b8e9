"""The process pool: order, progress, and workers that die or are left alone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.progress import silent
from curate.workers import process_pool

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Sleep:
    """A task that lasts a while; its size is its number."""

    size: int
    seconds: float
    unit: str = "naps"


def nap(task: Sleep) -> tuple[int, int]:
    time.sleep(task.seconds)
    return task.size, os.getpid()


def die(task: Sleep) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(task: Sleep) -> None:
    raise AssayError(f"nap {task.size} is refused", remedy="Do not nap.")


def test_results_come_in_the_order_of_the_tasks_from_other_processes() -> None:
    told: list[tuple[str, int, int, str]] = []
    tasks = [Sleep(1, 0.6), Sleep(2, 0.0), Sleep(3, 0.0)]
    with process_pool(2, lambda *call: told.append(call)) as map_shards:
        first = map_shards("naps", nap, tasks)
        second = map_shards("more naps", nap, tasks[1:])
    assert [size for size, _ in first] == [1, 2, 3]
    processes = {pid for _, pid in first}
    assert os.getpid() not in processes
    assert len(processes) == 2
    assert {pid for _, pid in second} <= processes, "the processes are kept from one stage to the next"
    assert told[0] == ("naps", 0, 6, "naps"), "a stage tells that it begins"
    assert [call[1] for call in told[:4]] == sorted(call[1] for call in told[:4])
    assert told[3] == ("naps", 6, 6, "naps")
    assert told[-1] == ("more naps", 5, 5, "naps")


@pytest.mark.parametrize(("workers", "tasks"), [(1, [Sleep(1, 0), Sleep(2, 0)]), (4, [Sleep(1, 0)])])
def test_even_a_single_task_runs_in_another_process(workers: int, tasks: list[Sleep]) -> None:
    """What kills it then kills no more."""
    with process_pool(workers, silent) as map_shards:
        done = map_shards("naps", nap, tasks)
    assert [size for size, _ in done] == [task.size for task in tasks]
    (process,) = {pid for _, pid in done}
    assert process != os.getpid()


def test_a_killed_worker_is_one_readable_error() -> None:
    with pytest.raises(AssayError, match="worker process was killed") as caught, process_pool(2, silent) as map_shards:
        map_shards("naps", die, [Sleep(1, 0), Sleep(2, 0)])
    assert "--workers" in caught.value.remedy


def test_an_error_of_a_shard_comes_back_with_its_remedy() -> None:
    with pytest.raises(AssayError) as caught, process_pool(2, silent) as map_shards:
        map_shards("naps", refuse, [Sleep(1, 0), Sleep(2, 0)])
    assert caught.value.message.startswith("nap ")
    assert caught.value.remedy == "Do not nap."


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "from tests.curate.test_workers import Sleep, nap\n"
        "from curate.progress import silent\n"
        "from curate.workers import process_pool\n"
        "if __name__ == '__main__':\n"
        "    with process_pool(2, silent) as map_shards:\n"
        "        pids = {pid for _, pid in map_shards('naps', nap, [Sleep(1, 0.3), Sleep(2, 0.3)])}\n"
        "        print(*pids, flush=True)\n"
        "        map_shards('naps', nap, [Sleep(1, 600), Sleep(2, 600)])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        assert time.monotonic() < deadline, "the workers outlive their parent"
        time.sleep(0.05)


def test_a_folder_of_the_same_name_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    code = (
        "from curate.progress import silent\n"
        "from curate.workers import process_pool\n"
        "from tests.curate.test_workers import Sleep, nap\n"
        "if __name__ == '__main__':\n"
        "    with process_pool(2, silent) as map_shards:\n"
        "        print(*(size for size, _ in map_shards('naps', nap, [Sleep(1, 0), Sleep(2, 0)])))\n"
    )
    (tmp_path / "program").mkdir()
    (tmp_path / "program/main.py").write_text(code)
    (tmp_path / "work/curate").mkdir(parents=True)
    (tmp_path / "work/curate/__init__.py").write_text("raise SystemExit('another curate')")
    done = subprocess.run(
        [sys.executable, tmp_path / "program/main.py"],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "1 2\n", done.stderr


def test_a_script_is_not_begun_again_in_its_workers(tmp_path: Path) -> None:
    """The two lines that the README shows, without a guard, as they stand in a notebook or a script."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun')\n"
        "from curate.progress import silent\n"
        "from curate.workers import process_pool\n"
        "from tests.curate.test_workers import Sleep, nap\n"
        "with process_pool(2, silent) as map_shards:\n"
        "    print(map_shards('nap', nap, [Sleep(1, 0.0), Sleep(2, 0.0)]))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
