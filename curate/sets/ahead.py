"""Work that is done ahead, by as many threads as there are cores, and no further than memory is to hold."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], most: int = 256) -> Iterator[Result]:
    """`function` of each item, in their order; of one more than there are cores at a time.

    Args:
        most: cores that are used, where each result is large.
    """
    cores = min(len(os.sched_getaffinity(0)), most)
    with ThreadPoolExecutor(cores) as threads:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > cores:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
