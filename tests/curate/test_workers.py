"""The process pool: order, progress, and workers that die or are left alone."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.engine import SELDOM, looking_seldom
from curate.errors import AssayError
from curate.progress import silent
from curate.workers import LEFT_MEMORY, MEMORY, apart, process_pool, worker_memory
from tests.curate.naps import Sleep, Trap, die, fill, hoard, linger, nap, overflow, refuse, spring
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_task_at_which_a_worker_was_killed_is_run_again(tmp_path: Path) -> None:
    told: list[int] = []
    tasks = [Trap(number, tmp_path / "sprung") for number in range(1, 6)]
    with process_pool(2, lambda *call: told.append(call[1])) as map_shards:
        assert map_shards("traps", spring, tasks) == [1, 2, 3, 4, 5]
    assert (tmp_path / "sprung").exists()
    assert told[-1] == 15


def test_a_worker_that_was_killed_between_two_stages_is_replaced() -> None:
    with process_pool(1, silent) as map_shards:
        ((_, worker),) = map_shards("naps", nap, [Sleep(1, 0)])
        os.kill(worker, signal.SIGKILL)
        ((size, other),) = map_shards("more naps", nap, [Sleep(2, 0)])
    assert (size, other == worker) == (2, False)


def test_a_worker_that_holds_much_is_not_kept_for_the_next_stage() -> None:
    little, much = Sleep(1 << 20, 0), Sleep(LEFT_MEMORY, 0)
    with process_pool(1, silent) as map_shards:
        first, second = map_shards("hoards", hoard, [little, much])
        (third,) = map_shards("more hoards", hoard, [little])
        (fourth,) = map_shards("naps", hoard, [little])
        assert (first == second, second == third, third == fourth) == (True, False, True)
        deadline = time.monotonic() + 60
        while Path(f"/proc/{first}/stat").exists():
            assert time.monotonic() < deadline, "its memory is not given back"
            time.sleep(0.05)


def test_what_kills_each_worker_is_named_with_its_stage() -> None:
    task = Sleep(2, 0)
    with pytest.raises(AssayError) as caught, process_pool(2, silent) as map_shards:
        map_shards("naps", die, [task])
    assert caught.value.message == (
        f"Stage naps, {task}: its worker process was killed: signal 9 (Killed), also when it was tried alone. "
        "Nothing was published."
    )


@pytest.mark.parametrize("take", [fill, overflow])
def test_a_worker_has_so_much_memory_and_no_more(take: Callable[[Sleep], int]) -> None:
    bound = 512 << 20
    with process_pool(1, silent, bound) as map_shards:
        assert map_shards("fill", take, [Sleep(bound // 4, 0)]) == [bound // 4]
        with pytest.raises(AssayError) as caught:
            map_shards("fill", take, [Sleep(bound, 0)])
    assert "its worker process ran out of memory, of which it has 512 MiB, also when" in caught.value.message
    assert "ASSAY_WORKER_MEMORY=4GiB" in caught.value.remedy


@pytest.mark.parametrize(("stated", "size"), [(None, 2 << 30), ("4GiB", 4 << 30), ("1500 MiB", 1500 << 20)])
def test_the_environment_says_how_much(stated: str | None, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY, raising=False)
    if stated is not None:
        monkeypatch.setenv(MEMORY, stated)
    assert worker_memory() == size


@pytest.mark.parametrize("stated", ["", "2", "2GB", "-1GiB", "511MiB", "0GiB", "much", "9" * 5000 + "GiB"])
def test_a_size_that_is_none_is_refused_before_any_work(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, stated)
    with pytest.raises(AssayError, match=MEMORY) as caught, process_pool(1, silent):
        pass
    assert "ASSAY_WORKER_MEMORY=4GiB" in caught.value.remedy


def in_addresses(size: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """`assay curate` of a few rows by a process that may have so many bytes of addresses."""
    project = Project(folder)
    project.add("a.jsonl", make_rows(40))
    command = [sys.executable, "-m", "assay", "curate", str(project.recipe_path), "--store", str(folder / "store")]
    limited = ["bash", "-c", f'ulimit -v {size >> 10}; exec "$@"', "bash", *command, "--workers", "2"]
    return subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_curating_does_with_the_addresses_that_it_asks_for(tmp_path: Path) -> None:
    done = in_addresses(1500 << 20, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo/" in done.stdout


def test_where_there_are_fewer_addresses_no_work_is_begun(tmp_path: Path) -> None:
    done = in_addresses(1000 << 20, tmp_path)
    assert done.returncode == 1
    assert "may use 1,000 MiB of addresses (ulimit -v); to curate takes 1,200 MiB" in " ".join(done.stderr.split())
    assert not (tmp_path / "store/cache/stages").exists()


class Cancelled(BaseException):
    """What a scheduler raises where a run is cancelled."""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_who_interrupts_does_not_wait_for_the_workers(stop: type[BaseException], tmp_path: Path) -> None:
    def stopped(*_: object) -> None:
        raise stop

    def interrupted() -> None:
        with process_pool(2, silent) as map_shards:
            map_shards("naps", nap, [Sleep(1, 0), Sleep(2, 0)])
            signal.alarm(1)
            map_shards("traps", linger, [Trap(1, tmp_path / "first"), Trap(2, tmp_path / "second")])

    signal.signal(signal.SIGALRM, stopped)
    with pytest.raises(stop):
        interrupted()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert not list(tmp_path.iterdir())


def test_what_runs_apart_may_die() -> None:
    _, process = apart(nap, Sleep(1, 0), "Sleep well.")
    assert process != os.getpid()
    with pytest.raises(AssayError, match=r"signal 9 \(Killed\)") as caught:
        apart(die, Sleep(1, 0), "Sleep well.")
    assert caught.value.remedy == "Sleep well.", "it is about no drop"
    with pytest.raises(AssayError, match="nap 1 is refused"):
        apart(refuse, Sleep(1, 0), "Sleep well.")


def test_an_error_of_a_shard_comes_back_with_its_remedy() -> None:
    with pytest.raises(AssayError) as caught, process_pool(2, silent) as map_shards:
        map_shards("naps", refuse, [Sleep(1, 0), Sleep(2, 0)])
    assert caught.value.message.startswith("nap ")
    assert caught.value.remedy == "Do not nap."


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "from tests.curate.naps import Sleep, nap\n"
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
        "from tests.curate.naps import Sleep, nap\n"
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
        "from tests.curate.naps import Sleep, nap\n"
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


def test_python_looks_for_circles_as_before_once_rows_are_read() -> None:
    before = gc.get_threshold()
    with looking_seldom():
        assert gc.get_threshold() == SELDOM
    assert gc.get_threshold() == before


def test_a_process_that_ends_looks_for_no_circles() -> None:
    """Among what Great Expectations, torch and trl have made that takes seconds."""
    code = (
        "import gc\n"
        "gc.disable()\n"
        "class Told:\n"
        "    def __del__(self):\n"
        "        print('found')\n"
        "circle = [Told()]\n"
        "circle.append(circle)\n"
        "del circle\n"
    )
    run = [[sys.executable, "-c", text] for text in (code, f"import curate\n{code}")]
    said = [subprocess.run(each, cwd=ROOT, capture_output=True, text=True, check=True).stdout for each in run]
    assert said == ["found\n", ""]
