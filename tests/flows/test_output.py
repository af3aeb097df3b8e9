"""A run outlives who reads what it writes."""

import os
import subprocess
import sys
from pathlib import Path

from flows.output import BY_WORKER

ROOT = Path(__file__).resolve().parents[2]
WRITES = """
import sys
from prefect.logging import get_logger
from flows.run import run_of
sys.stdin.readline()
for number in range(1000):
    get_logger("flow_runs").warning("line %d", number)
    print("line", number)
    print("line", number, file=sys.stderr, flush=True)
open(sys.argv[1], "w").write("done")
"""


def test_a_run_whose_worker_is_gone_writes_on(tmp_path: Path) -> None:
    environment = os.environ | {BY_WORKER: "a run's", "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-c", WRITES, str(tmp_path / "end")]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
    assert run.stdin is not None
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    run.stderr.close()
    run.stdin.write(b"\n")
    run.stdin.close()
    assert run.wait(timeout=120) == 0
    assert (tmp_path / "end").read_text() == "done"
