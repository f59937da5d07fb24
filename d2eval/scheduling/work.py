"""Blocks of units, and how a worker does one.

A unit is anything that a stage makes once and stores, such as the features of an image. What a
worker makes goes into the store; back to whoever asked go counts and messages alone.
"""

import contextlib
import functools
import io
import os
import pickle
import platform
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.scheduling.plan import Planned

BLOCK_S = 1.0  # what a block should take: long beside its way to a worker, short if it is lost
LONGEST_S = 2.0  # of a block; what is left of it then goes back
OPENED = 2  # jobs that a worker keeps open

Fault = Literal["mistake", "memory", "lost", "bug"]


class Parts(Protocol):
    """A job that is open: models are loaded and data are read."""

    @property
    def extracted(self) -> int:
        """Images that were extracted since it was opened, rather than read."""

    def work(self, stage: str, units: Sequence[Any]) -> Iterator[object]:
        """Makes and stores the units of a stage, in their order.

        It yields after each of them, or after several for each of those.

        Raises:
            D2EvalError: one can't be made.
        """

    def plan(self, dataset: Any) -> Sequence[Planned]:
        """All stages of the run on its dataset, by what is stored; makes and writes nothing.

        Raises:
            D2EvalError: something that it depends on isn't there, or is broken.
        """


class Job(Protocol):
    """What a run works with, small and to be pickled."""

    def open(self, worker: int, memory_share: float) -> Parts:
        """Opens it in a worker.

        Args:
            worker: the number of the worker on its machine, which is that of its GPU.
            memory_share: of the memory that may be taken; below 1 after that wasn't there.
        """


@dataclass(frozen=True)
class Block:
    """Units of a stage that are sent together.

    Attributes:
        stage: whose units they are.
        units: small, to be pickled.
        to: the worker that should do it, as `Workers` name it; "": any.
        attempt: how often the first of them has failed.
        memory_share: see `Job.open`.
        avoid: workers on which it failed.
        shown: to who watches the workers: the stage, and how far all of the run is.
    """

    stage: str
    units: tuple[Any, ...]
    to: str = ""
    attempt: int = 0
    memory_share: float = 1.0
    avoid: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a block.

    Attributes:
        worker: who did it, as "host, process 12".
        done: units, from the first on, that are in the store.
        seconds: they took, without opening the job.
        extracted: images among them that were extracted.
        fault: what ended the block early; None: nothing, or time.
        message: one line that says it; of a "bug" the trace.
    """

    worker: str
    done: int = 0
    seconds: float = 0.0
    extracted: int = 0
    fault: Fault | None = None
    message: str = ""


_one_at_a_time = threading.Lock()  # methods aren't for several threads


@functools.lru_cache(maxsize=OPENED)
def _opened(job: bytes, worker: int, memory_share: float) -> Parts:
    opened: Parts = pickle.loads(job).open(worker, memory_share)  # noqa: S301 - sent by d2eval
    return opened


def this_worker() -> str:
    """How this process is called in messages."""
    return f"{platform.node()}, process {os.getpid()}"


def run_block(job: bytes, block: Block, worker: int = 0) -> Outcome:
    """Does a block, with a pickled job that stays open for the next one.

    What it would say on standard error is not shown: whoever asked says it, once.
    """
    done, extracted, begin = 0, 0, time.perf_counter()
    parts, is_through = None, False
    fault: Fault | None = None
    message = ""
    with _one_at_a_time, contextlib.redirect_stderr(io.StringIO()):
        try:
            parts = _opened(job, worker, block.memory_share)
            extracted, begin = -parts.extracted, time.perf_counter()
            with contextlib.closing(parts.work(block.stage, block.units)) as made:  # type: ignore[type-var]
                for _ in made:
                    done += 1
                    if time.perf_counter() - begin > LONGEST_S:
                        break
                is_through = True
        except D2EvalError as error:
            fault, message = "mistake", str(error)
        except MemoryError as error:
            fault, message = "memory", f"out of memory ({reason_of(error)})"
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which is not imported here
                fault, message = "memory", f"out of memory ({reason_of(error)})"
            else:
                fault, message = "bug", traceback.format_exc()
    if fault is not None and (is_through or done == len(block.units)):
        done = 0  # it was in writing what was made: nobody knows how much is there
    if parts is not None:
        extracted += parts.extracted
    return Outcome(this_worker(), done, time.perf_counter() - begin, extracted, fault, message)
