"""Workers of a Dask cluster that runs already, on any number of machines."""

import contextlib
import logging
import queue
import time
import uuid
from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.terminal.console import note
from d2eval.scheduling.work import Block, Outcome, run_block

MEND = "have it written again by `dask scheduler --scheduler-file`"
EXTRA = 'pip install "d2eval[cluster]"'
CONNECT_S = 20.0  # for one attempt
PATIENCE_S = 600.0  # for a scheduler that is gone, which may be started again
WAIT_S = 1.0  # of one wait
COUNTED_S = 3.0  # after which workers are counted anew
AHEAD = 2  # blocks for each worker, so that none waits for its next one


def _run(job: bytes, block: Block) -> tuple[str, Outcome]:
    """A block on a worker, and that worker's address."""
    from distributed import get_worker

    return get_worker().address, run_block(job, block)


def address_in(path: Path) -> str:
    """The scheduler's address that its file says, which Dask writes.

    Raises:
        D2EvalError: it can't be read, or says none.
    """
    content = read_json(path, MEND)
    address = content.get("address") if isinstance(content, dict) else None
    if not isinstance(address, str):
        raise D2EvalError(f"{path}: says no scheduler's address; {MEND}")
    return address


class ClusterWorkers:
    """The workers of one Dask scheduler; what a lost one held Dask gives to another."""

    def __init__(self, where: str) -> None:
        """Takes the scheduler's address, or its file.

        Raises:
            D2EvalError: Dask isn't installed, or no scheduler answers.
        """
        try:
            import distributed
        except ImportError as error:
            raise D2EvalError(f"--scheduler {where}: needs Dask; {EXTRA}") from error
        for part in ("", ".client", ".core", ".comm"):  # what matters is said here
            logging.getLogger(f"distributed{part}").setLevel(logging.CRITICAL)
        self._dask, self._where = distributed, where
        self._client: Any = None
        self._tasks: dict[int, tuple[bytes, Block]] = {}
        self._futures: dict[int, Any] = {}
        self._places: dict[int, list[str]] = {}  # addresses where a block should be done, if any
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._addresses: dict[str, str] = {}  # of workers by what messages call them
        self._known: list[str] = []
        self._counted = self._looked = -COUNTED_S
        self._connect()

    def _connect(self) -> None:
        address, path = self._where, Path(self._where)
        if path.is_file():
            if not path.stat().st_size:
                time.sleep(WAIT_S)  # Dask is writing it
            address = address_in(path)
        try:
            self._client = self._dask.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # TypeError: a scheme that needs more
            raise D2EvalError(
                f"--scheduler {self._where}: no Dask scheduler answers ({reason_of(error)}); start "
                "one with `dask scheduler`"
            ) from error
        self._known, self._counted = [], -COUNTED_S

    @property
    def count(self) -> int:
        """How many processes there are now."""
        return len(self._workers())

    @property
    def free(self) -> list[str]:
        """Addresses: each worker does a block while another one waits."""
        known = self._workers()
        if not known:
            return [] if self._tasks else [""]
        room = max(AHEAD * len(known) - len(self._tasks), 0)
        given = Counter(block.to for _, block in self._tasks.values()) if room else {}
        found = [(given.get(own, 0), own) for own in known if given.get(own, 0) < AHEAD]
        return [own for least in range(AHEAD) for k, own in found if k <= least][:room]

    def _workers(self) -> list[str]:
        """Addresses of the workers."""
        if time.monotonic() - self._counted > COUNTED_S:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # it is gone just now
                self._known = list(self._client.nthreads())
            self._counted = time.monotonic()
        return self._known

    def submit(self, number: int, job: bytes, block: Block) -> None:
        """To Dask; if may be to none of the workers on which it failed."""
        self._tasks[number] = job, block
        if self._is_closed():
            return  # sent when the scheduler is back
        avoided = {self._addresses[own] for own in block.avoid if own in self._addresses}
        known = self._workers()
        others = [address for address in known if address not in avoided]
        wanted = [block.to] if block.to in others else others if avoided else []
        # Workers that have nothing to do take what others wait with, unless it failed on some
        chosen = {"workers": wanted, "allow_other_workers": not avoided} if wanted else {}
        self._places[number] = wanted
        future = self._client.submit(
            _run,
            job,
            block,
            pure=False,
            key=f"{block.shown or block.stage}-{uuid.uuid4().hex}",
            **chosen,
        )
        self._futures[number] = future
        future.add_done_callback(lambda ended: self._ended.put((number, ended)))

    def wait(self) -> list[tuple[int, Outcome]]:
        """Those that have ended, after a second at most.

        Raises:
            D2EvalError: the scheduler is gone, and didn't come back for ten minutes.
        """
        found: list[tuple[int, Outcome]] = []
        with contextlib.suppress(queue.Empty):
            number, future = self._ended.get(timeout=WAIT_S)
            while True:
                self._take(number, future, found)
                number, future = self._ended.get_nowait()
        if self._is_closed():
            self._return()
        self._send_stuck()
        return found

    def _send_stuck(self) -> None:
        """Sends blocks anew that Dask would let wait for ever.

        Where all workers are gone at a moment, it gives a block that one of them should have done
        to none that comes, though any would do; and one that some must not do waits for the others.
        """
        if time.monotonic() - self._looked < COUNTED_S:
            return
        self._looked = time.monotonic()
        known = set(self._workers())
        away = [k for k, own in self._places.items() if own and known and known.isdisjoint(own)]
        if not away:
            return
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # the scheduler is gone
            held = {key for keys in self._client.processing().values() for key in keys}
            for number in away:
                future = self._futures[number]
                if not future.done() and future.key not in held:
                    job, block = self._tasks[number]
                    self.submit(number, job, replace(block, to=""))

    def _is_closed(self) -> bool:
        return self._client.status in ("closed", "closing")

    def _take(self, number: int, future: Any, found: list[tuple[int, Outcome]]) -> None:
        if number not in self._futures or self._futures[number] is not future:
            return  # it was sent again
        try:
            error = future.exception(timeout=CONNECT_S)
            if isinstance(error, CancelledError):
                raise error
            result = None if error else future.result(timeout=CONNECT_S)
        except (OSError, CancelledError):  # it went with the scheduler, which may be back
            self.submit(number, *self._tasks[number])
            return
        del self._futures[number], self._tasks[number], self._places[number]
        if result is not None:
            address, outcome = result
            self._addresses[outcome.worker] = address
            found.append((number, outcome))
            return
        lost = isinstance(error, self._dask.scheduler.KilledWorker)
        message = "workers were lost that did it" if lost else f"{type(error).__name__}: {error}"
        found.append((number, Outcome("Dask", fault="lost" if lost else "bug", message=message)))

    def _return(self) -> None:
        """Waits for the scheduler to come back, and gives it what it had."""
        note(f"--scheduler {self._where}: it is gone; waiting for it to be started again")
        begin = time.monotonic()
        while True:
            try:
                self._connect()
                break
            except D2EvalError as error:
                if time.monotonic() - begin > PATIENCE_S:
                    raise D2EvalError(f"{error}; finished work is kept") from error
                time.sleep(WAIT_S)
        note(f"--scheduler {self._where}: it is back")
        for number, task in self._tasks.items():
            self.submit(number, *task)

    def close(self) -> None:
        """Leaves the cluster as it is; what still runs there is dropped."""
        self._futures.clear()
        self._client.close()
