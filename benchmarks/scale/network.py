"""Workers as processes with a pipe between each two, and a count of every byte that goes through one."""

import multiprocessing as mp
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
HEADER = 4
"""Bytes that a connection sends before each message: its length."""
FIRST_IMPORTED = ["benchmarks.scale.worker", "curate.preload"]
"""Imported once, by the server that the workers are forked from."""


class Network:
    """One worker's end of the pipes. All workers call the same exchanges in the same order.

    Args:
        number: the worker's, from 0.
        pipes: to each other worker, by its number.
    """

    def __init__(self, number: int, pipes: dict[int, Connection]) -> None:
        self.number, self.size, self._pipes = number, len(pipes) + 1, pipes
        self.sent: dict[str, Counter[int]] = {}
        """By kind of message: bytes to each other worker."""
        self.received: dict[str, Counter[int]] = {}
        self.stayed: Counter[str] = Counter()
        """Bytes that would have been sent, were they not for this worker itself."""
        self.processor: dict[str, float] = {}
        """Processor seconds by step."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.processor[name] = self.processor.get(name, 0.0) + time.process_time() - begin

    def exchange(self, kind: str, parcels: Sequence[bytes]) -> list[bytes]:
        """Give every worker its parcel, and get what each has for this one.

        In round s each sends to the worker s further on and hears the one s before it: what is sent is being read.
        """
        sent = self.sent.setdefault(kind, Counter())
        received = self.received.setdefault(kind, Counter())
        found = [b""] * self.size
        found[self.number] = parcels[self.number]
        self.stayed[kind] += len(parcels[self.number])

        def send() -> None:
            for step in range(1, self.size):
                to = (self.number + step) % self.size
                self._pipes[to].send_bytes(parcels[to])
                sent[to] += len(parcels[to]) + HEADER

        sender = Thread(target=send)
        sender.start()
        for step in range(1, self.size):
            source = (self.number - step) % self.size
            found[source] = self._pipes[source].recv_bytes()
            received[source] += len(found[source]) + HEADER
        sender.join()
        return found

    def route(self, kind: str, rows: Array, to: Array) -> list[Array]:
        """Send each row of an array (of one or two dimensions) to a worker; gives the rows from each worker."""
        order = np.argsort(to, kind="stable")
        cuts = np.searchsorted(to[order], np.arange(self.size + 1))
        parcels = [rows[order[cuts[worker] : cuts[worker + 1]]].tobytes() for worker in range(self.size)]
        return [np.frombuffer(each, rows.dtype).reshape(-1, *rows.shape[1:]) for each in self.exchange(kind, parcels)]

    def ask(self, kind: str, rows: Array, of: Array, answer: Callable[[Array], Array]) -> Array:
        """Ask for something of rows, in uint32, of those who have it: one answer for each.

        Args:
            of: the worker that is asked, for each.
            answer: gives one for each row that this worker is asked for.
        """
        asked = self.route(f"{kind}: asked", rows.astype(np.uint32), of)
        return self.reply(kind, of, [answer(each) for each in asked])

    def reply(self, kind: str, of: Array, answers: Sequence[Array]) -> Array:
        """Answer each worker what it has asked for, in the order it asked, by `route` to the workers `of`."""
        told = self.exchange(kind, [each.tobytes() for each in answers])
        heard = np.concatenate([np.frombuffer(each, answers[0].dtype) for each in told])
        out = np.empty_like(heard)
        out[np.argsort(of, kind="stable")] = heard
        return out

    def any(self, kind: str, here: bool) -> bool:
        """Whether it holds anywhere."""
        return any(each != b"\0" for each in self.exchange(kind, [bytes([here])] * self.size))


def run(size: int, work: Callable[..., Any], given: Sequence[Any]) -> list[Any]:
    """What `work` of a network, and of what is given to each, gives in each of `size` processes.

    Raises:
        SystemExit: a worker has failed; it has told why.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(FIRST_IMPORTED)
    pipes: list[dict[int, Connection]] = [{} for _ in range(size)]
    for one in range(size):
        for other in range(one):
            pipes[one][other], pipes[other][one] = context.Pipe()
    ends = [context.Pipe(duplex=False) for _ in range(size)]
    workers = [
        context.Process(target=_work, args=(work, number, pipes[number], each, ends[number][1]), daemon=True)
        for number, each in enumerate(given)
    ]
    for worker in workers:
        worker.start()
    for connection in [*(end for _, end in ends), *(pipe for each in pipes for pipe in each.values())]:
        connection.close()  # the workers' own: who reads from one that is gone is told so
    try:
        return [end.recv() for end, _ in ends]
    except EOFError:
        raise SystemExit("A worker has failed.") from None
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(work: Callable[..., Any], number: int, pipes: dict[int, Connection], given: Any, result: Connection) -> None:
    with suppress(EOFError, ConnectionError):  # another has failed, and told why
        result.send(work(Network(number, pipes), given))
