"""The one way in which stages of a run are spread over workers."""

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.terminal.console import note
from d2eval.foundation.terminal.progress import Progress, part_of
from d2eval.scheduling.plan import Planned, left_in_all
from d2eval.scheduling.stretches import Stretches
from d2eval.scheduling.work import BLOCK_S, Block, Outcome

ATTEMPTS = 3  # at a unit that fails
LOST_ATTEMPTS = 5  # at one whose worker was lost, which is seldom the unit's fault
LARGEST = 512  # units in a block
GROWTH = 4  # of one block over those before it, whose units may have been stored already
FAILING = 3  # blocks in a row, after which a worker gets others only if it is the only one
SHOWN = 3  # failures that are told in full
SAID_S = 30.0  # between texts that blocks are shown by

Plan = Callable[[], Sequence[Planned]]  # the stages of a run as they are when it begins


class Workers(Protocol):
    """Processes that do blocks."""

    @property
    def count(self) -> int:
        """How many there are now."""

    @property
    def free(self) -> Sequence[str]:
        """Who would take a block now, by a name, once for each block; none yet: "" for one."""

    def submit(self, number: int, job: bytes, block: Block) -> None:
        """Gives a block of an own number to one of them, to ``block.to`` if that may be."""

    def wait(self) -> list[tuple[int, Outcome]]:
        """Blocks that have ended, by their number; after a while none.

        Raises:
            D2EvalError: there are no workers any more.
        """

    def close(self) -> None:
        """Ends what was started."""


class Kept(Protocol):
    """Where units are kept."""

    @property
    def fresh(self) -> bool:
        """Whether they are made anew, whatever is there."""

    def made_anew(self, kind: str) -> None:
        """What is there now of a kind is new."""


@dataclass(frozen=True)
class Failure:
    """A unit that could not be made on workers."""

    unit: Any
    outcome: Outcome

    def __str__(self) -> str:
        message = reason_of(Exception(self.outcome.message.strip().splitlines()[-1]))
        return f"{self.outcome.worker}: {message}"


class Spread:
    """Does the units of one stage on workers: each once, whoever fails or is lost."""

    def __init__(
        self, workers: Workers, job: bytes, stage: str, units: Sequence[Any],
        counted: Callable[[int], None],
    ) -> None:  # fmt: skip
        """``counted`` is told how many workers there are, again and again."""
        self._workers, self._job, self._stage, self._counted = workers, job, stage, counted
        self._count = 1
        self._waiting, self._again = Stretches(units, workers.count), deque[Block]()
        self._under_way: dict[int, Block] = {}
        self._number = 0
        self._said, self._said_at = "", -SAID_S
        self._largest = 1
        self._recent: deque[tuple[int, float]] = deque(maxlen=16)  # units and seconds of blocks
        self._failed = Counter[str]()  # blocks in a row, by worker
        self.failures: list[Failure] = []
        self.extracted = 0

    def run(self) -> None:
        """Until each unit is stored, or has failed as often as it may."""
        what = f"{self._stage}: workers"
        with Progress(what, len(self._waiting)) as shown:
            while self._waiting or self._again or self._under_way:
                self._count = max(self._workers.count, 1)
                self._counted(self._count)
                for worker in self._workers.free:
                    if not (self._again or self._waiting):
                        break
                    self._number += 1
                    block = self._again.popleft() if self._again else self._cut(worker)
                    avoid = (*block.avoid, *self._failing())
                    block = replace(block, avoid=avoid, shown=self._shown(shown))
                    self._under_way[self._number] = block
                    self._workers.submit(self._number, self._job, block)
                for number, outcome in self._workers.wait():
                    shown.advance(self._settle(self._under_way.pop(number), outcome))

    def _shown(self, under_way: Progress) -> str:
        """Another text now and then only: each is a line of its own to who watches."""
        now = time.monotonic()
        if now - self._said_at > SAID_S:
            self._said_at = now
            self._said = ", ".join(filter(None, (self._stage, under_way.whole())))
        return self._said

    def _cut(self, worker: str) -> Block:
        """The next units, of which a worker has for about a second; at the end each has a share."""
        done = sum(units for units, _ in self._recent)
        seconds = sum(took for _, took in self._recent)
        pace = int(BLOCK_S * done / seconds) if seconds else 1
        share = math.ceil(len(self._waiting) / (2 * self._count))
        size = max(1, min(pace, share, self._largest, LARGEST))
        self._largest = max(self._largest, GROWTH * size)
        return Block(self._stage, self._waiting.take(worker, size), worker)

    def _failing(self) -> list[str]:
        """Workers on which all fails, such as one whose disk is full."""
        return [worker for worker, count in self._failed.items() if count >= FAILING]

    def _settle(self, block: Block, outcome: Outcome) -> int:
        """What is left of a block goes back; how many units are through."""
        self.extracted += outcome.extracted
        if outcome.done:
            self._recent.append((outcome.done, outcome.seconds))
            self._failed[outcome.worker] = 0
        if outcome.fault is not None:
            self._failed[outcome.worker] += 1
        left = block.units[outcome.done :]
        if outcome.fault is None:
            self._waiting.put_back(block.to, left)
            return outcome.done
        failed, *others = left
        attempt = 1 + (block.attempt if outcome.done == 0 else 0)
        avoid = (*block.avoid, outcome.worker)
        again = replace(block, units=(failed,), to="", attempt=attempt, avoid=avoid)
        # The system, too, ends what takes more memory than there is
        if outcome.fault == "memory" or (outcome.fault == "lost" and attempt > 1):
            again = replace(again, memory_share=block.memory_share / 2)
        if others:
            self._waiting.put_back(block.to, others)
        most = LOST_ATTEMPTS if outcome.fault == "lost" else ATTEMPTS
        if attempt < most:
            self._again.append(again)
            return outcome.done
        self.failures.append(Failure(failed, outcome))
        return outcome.done + 1


class Executor:
    """Sends the units of a run's stages ahead, before the run itself goes through them.

    Without workers nothing is sent: the run makes what is missing by itself, as it makes what
    failed on workers.
    """

    def __init__(
        self, workers: Workers | None = None, job: bytes = b"", plan: Plan = tuple
    ) -> None:
        """Takes the workers, the run's pickled `Job`, and its plan, to say how far it is."""
        self._workers, self._job, self._plan = workers, job, plan
        self._stages: Sequence[Planned] | None = None
        self._count = 1

    def planned(self, plan: Plan) -> "Executor":
        """The same one for a run of this plan, which is made once, when it begins."""
        return Executor(self._workers, self._job, plan)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage of the run: its progress says how far all of the run is."""
        if self._stages is None:
            self._stages = self._plan()
            self._begun(self._workers.count if self._workers else 1)
        with part_of(partial(self._in_all, name, time.monotonic())):
            yield

    def _begun(self, count: int) -> None:
        """``count`` processes are at work."""
        self._count = max(count, 1)

    def _in_all(self, stage: str, begin: float, seconds: float | None) -> str:
        elapsed = time.monotonic() - begin
        return left_in_all(self._stages or (), stage, seconds, self._count, elapsed)

    def ahead(self, stage: str, units: Sequence[Any], store: Kept, kind: str) -> int:
        """Lets workers make the units of a stage; how many images they extracted.

        What failed on them as often as it may is told once, and left to the run. Where all is to
        be made anew, the run would take what is there of it, so it is an error.

        Args:
            stage: as `Parts.work` knows it.
            units: that it has.
            store: where they are kept.
            kind: as it knows them.

        Raises:
            D2EvalError: a unit took its workers with it; there are no workers any more; one
                failed that was to be made anew.
        """
        if self._workers is None or not units:
            return 0
        spread = Spread(self._workers, self._job, stage, units, self._begun)
        with self.stage(stage):
            spread.run()
        if spread.failures:
            shown = "; ".join(map(str, spread.failures[:SHOWN]))
            more = len(spread.failures) - SHOWN
            text = f"{len(spread.failures)} of {len(units)} units failed on workers: {shown}"
            text += f"; and {more} more" if more > 0 else ""
            if store.fresh or any(own.outcome.fault == "lost" for own in spread.failures):
                raise D2EvalError(f"{stage}: {text}; finished work is kept")
            note(f"{stage}: {text}; tried here once more")
        store.made_anew(kind)
        return spread.extracted


HERE = Executor()  # all work is done by the run itself
