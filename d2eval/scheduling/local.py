"""Workers that are processes of this machine.

Ours rather than a pool of the standard library's, which gives up when one of its processes is
killed, and rather than Dask's LocalCluster, which needs an extra, a second to be imported and
another one to start: a block is sent and done within 0.5 ms here, and within 2 to 10 ms there.
"""

import contextlib
import multiprocessing
import os
import platform
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from d2eval.foundation.machine.processes import end_with_parent
from d2eval.foundation.machine.threads import VARIABLES, tell_libraries, told_libraries, use_threads
from d2eval.foundation.terminal.interrupts import for_children
from d2eval.scheduling.work import Block, Outcome, run_block

PATIENCE_S = 1.0  # of one wait


def cores() -> int:
    """Of this machine, as many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that are started in this block use so many threads each."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    tell_libraries(count, os.environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, worker: int, threads: int) -> None:
    """A worker's life: it does the blocks that it gets, one after the other."""
    end_with_parent()
    use_threads(threads)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            job, block = connection.recv()
            connection.send(run_block(job, block, worker))


class _Worker:
    """One process, and the block that it does."""

    def __init__(self, index: int, threads: int) -> None:
        self.index, self.threads, self.name = index, threads, str(index)
        self.block: int | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.index, self.threads), daemon=True
        )
        with for_children(), _threads(self.threads):
            self.process.start()
        theirs.close()

    def lost(self) -> str:
        """Starts another process in place of the one that ended; how that went."""
        self.process.join()
        code, number = self.process.exitcode or 0, self.process.pid
        self.connection.close()
        self._start()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"process {number} {how}"

    def stop(self) -> None:
        """Ends it; what it does is made again when it is needed."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class LocalWorkers:
    """A number of processes, each of which does one block at a time."""

    def __init__(self, count: int, threads: int | None = None) -> None:
        """Starts them, each with so many threads; None divides the machine's cores among them."""
        own = threads or max(1, min(cores() // count, told_libraries(os.environ) or cores()))
        self._all = [_Worker(index, own) for index in range(count)]

    @property
    def count(self) -> int:
        """As many as were asked for."""
        return len(self._all)

    @property
    def free(self) -> list[str]:
        """Those that do nothing."""
        return [own.name for own in self._all if own.block is None]

    def submit(self, number: int, job: bytes, block: Block) -> None:
        """To one that does nothing, if may be one on which the block hasn't failed."""
        idle = [worker for worker in self._all if worker.block is None]

        def refused(own: _Worker) -> tuple[bool, bool]:
            failed = any(f"process {own.process.pid}" in name for name in block.avoid)
            return failed, own.name != block.to

        chosen = min(idle, key=refused)
        chosen.block = number
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # its end is noticed below
            chosen.connection.send((job, block))

    def wait(self) -> list[tuple[int, Outcome]]:
        """Until one has ended, or for a second."""
        busy = {own.connection: own for own in self._all if own.block is not None}
        found = []
        for connection in wait(list(busy), PATIENCE_S):
            worker = busy[connection]  # type: ignore[index]
            assert worker.block is not None  # noqa: S101
            try:
                outcome = worker.connection.recv()
            except (EOFError, ConnectionError):
                outcome = Outcome(platform.node(), fault="lost", message=worker.lost())
            found.append((worker.block, outcome))
            worker.block = None
        return found

    def close(self) -> None:
        """Ends all of them."""
        for worker in self._all:
            worker.stop()
