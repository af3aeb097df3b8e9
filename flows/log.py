"""What Prefect writes into the log of a run: one message where it fails, and no line for each task that is done.

Of an error that users can mend the message and the remedy are told, and no traceback: the data are to be mended, or the
disk, and not the code.
"""

import logging

from curate.errors import AssayError, explained

FINISHED = "Finished in state "
"""What Prefect's last line of a run begins with; behind it stands the state, with its message."""
AGAIN = "Engine execution exited"
"""What it begins with what it tells a second time, where a worker has started the run."""


def install() -> None:
    """Have the logs of flow runs and task runs pass through the filters here."""
    logging.getLogger("prefect.flow_runs").addFilter(of_flow_run)
    logging.getLogger("prefect.task_runs").addFilter(of_task_run)


def of_flow_run(record: logging.LogRecord) -> bool:
    """Tells such an error once; the last line names the state without its message, which holds the same words."""
    error = _mendable(record)
    if error is not None:
        if record.getMessage().startswith(AGAIN):
            return False
        record.msg, record.args, record.exc_info = str(error), (), None
    elif record.getMessage().startswith(FINISHED):
        record.msg, record.args = record.getMessage().partition("(")[0], ()
    return True


def of_task_run(record: logging.LogRecord) -> bool:
    """Leaves out what the flow run's log tells: such an error, and how each task run has ended."""
    return _mendable(record) is None and not record.getMessage().startswith(FINISHED)


def _mendable(record: logging.LogRecord) -> AssayError | None:
    error = record.exc_info[1] if record.exc_info else None
    return explained(error) if isinstance(error, Exception) else None
