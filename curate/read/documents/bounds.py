"""Bounds of the process that reads documents: of its memory, and of its time for each document."""

import resource

OUT_OF_MEMORY = 97
"""Exit status of the process when it gets no more memory."""
_seconds = 0


def set_bounds(memory: int, seconds: int) -> None:
    """Bound this process.

    Args:
        memory: bytes.
        seconds: of the processor, see `more_time`.
    """
    global _seconds
    _seconds = seconds
    for limit, size in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        now, most = resource.getrlimit(limit)
        if now == resource.RLIM_INFINITY or now > size:
            resource.setrlimit(limit, (size, most))


def more_time() -> None:
    """Count the seconds from now: for another document, or another page to be recognised."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + _seconds, most))
