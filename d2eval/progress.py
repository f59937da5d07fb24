"""Progress bars that keep quiet when nobody watches."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yields ``items`` behind a bar on standard error, if that is a terminal."""
    from tqdm import tqdm

    yield from tqdm(
        items, desc=what, total=total, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False
    )
