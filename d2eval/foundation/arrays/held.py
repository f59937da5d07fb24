"""What was read or computed last, held in memory within a limit of bytes."""

from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache

V = TypeVar("V")


def last_used(limit: int, count_bytes: Callable[[V], int]) -> LRUCache[object, V]:
    """A cache that drops what was used longest ago beyond ``limit`` bytes.

    What is larger than half of the limit counts as half, so that the two used last, the sides of a
    pair, always fit. Not for several threads at once.
    """
    return LRUCache(limit, lambda value: min(count_bytes(value), limit / 2))
