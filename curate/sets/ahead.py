"""Work that is done ahead, by as many threads as there are cores, and no further than memory is to hold."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in their order; of one more than there are cores at a time."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as threads:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > cores:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made while the one before is at work on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
