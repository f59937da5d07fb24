"""Units in their order, of which each worker does a stretch."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any


class Stretches:
    """What is still to be sent of a stage's units, in whose order neighbours share images.

    Each worker goes through a stretch of its own, so that it reads little that others read, too.
    One whose stretch is at its end takes the second half of the longest.
    """

    def __init__(self, units: Sequence[Any], count: int) -> None:
        """Divides the units into ``count`` stretches of one length."""
        size = max(math.ceil(len(units) / max(count, 1)), 1)
        parts = [deque(units[begin : begin + size]) for begin in range(0, len(units), size)]
        self._begun: dict[str, deque[Any]] = {}  # by worker
        self._others = deque(parts)
        self._left = len(units)

    def __len__(self) -> int:
        return self._left

    def take(self, worker: str, count: int) -> tuple[Any, ...]:
        """The next units for a worker: so many, or fewer at the end of a stretch.

        There must be some left.
        """
        if not self._begun.get(worker):
            self._begun[worker] = self._others.popleft() if self._others else self._half()
        own = self._begun[worker]
        found = tuple(own.popleft() for _ in range(min(count, len(own))))
        self._left -= len(found)
        return found

    def put_back(self, worker: str, units: Sequence[Any]) -> None:
        """Units that a worker was given and has not done come next in its stretch."""
        self._begun.setdefault(worker, deque()).extendleft(reversed(units))
        self._left += len(units)

    def _half(self) -> deque[Any]:
        longest = max(self._begun.values(), key=len)
        return deque(reversed([longest.pop() for _ in range(math.ceil(len(longest) / 2))]))
