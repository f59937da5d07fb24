"""How far work is: a bar on a terminal; elsewhere, such as in a log, a line now and then.

Both are on standard error. What takes less than `FIRST_S` seconds leaves no line.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

from d2eval.foundation.terminal.console import on_terminal, tell
from d2eval.foundation.text.display import printable

T = TypeVar("T")
FIRST_S = 10.0  # before the first line
NEXT_S, GROWTH = 30.0, 0.1  # between lines: a tenth of the time so far, at least half a minute
_TICK_S = 1.0  # a bar's clock goes on while nothing is done
_MEGA = 1e6
InAll = Callable[[float | None], str]

_in_all: ContextVar[InAll] = ContextVar("_in_all", default=lambda _: "")


@contextlib.contextmanager
def part_of(in_all: InAll) -> Iterator[None]:
    """What is under way in this block is a part of something larger.

    ``in_all`` says how far that is, given the seconds that the part still takes (None: not known).
    """
    token = _in_all.set(in_all)
    try:
        yield
    finally:
        _in_all.reset(token)


class Progress:
    """Work under way, from ``with`` to its end.

    A thread of its own speaks, so that something that takes minutes isn't silent.
    """

    def __init__(
        self, what: str, total: int | None = None, *, done: int = 0, is_bytes: bool = False
    ) -> None:
        """Of nothing yet.

        ``what`` is done, such as "rootsift: features", in ``total`` parts (None: not known, or
        none) or bytes, of which so many were ``done`` before.
        """
        self._what, self._total, self._is_bytes = printable(what), total, is_bytes
        self._before = self.done = done
        self._ended = threading.Event()
        self._said = False
        self._bar: Any = None
        self._in_all = _in_all.get()

    def __enter__(self) -> "Progress":
        self._start = time.monotonic()
        if on_terminal():
            self._bar = self._open_bar()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()
        return self

    def advance(self, count: int = 1) -> None:
        """So many parts more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def whole(self) -> str:
        """How far all is that this is a part of, by this part's pace; empty where it is of none."""
        elapsed = time.monotonic() - self._start
        return self._in_all(self._left(self.done, (self.done - self._before) / max(elapsed, 1e-9)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._speaker.join(_TICK_S)
        if self._bar is not None:
            self._bar.close()
        elif self._said and kind is None:
            amount = f"{self._amount(self.done)}, " if self.done else ""
            tell(f"{self._what}: done, {amount}{clock(time.monotonic() - self._start)}")

    def _open_bar(self) -> Any:
        from tqdm import tqdm

        # Work without parts has a clock only.
        form = "{desc}: {elapsed}{postfix}" if self._total is None and not self._is_bytes else None
        return tqdm(
            desc=self._what, initial=self._before, total=self._total, file=sys.stderr, leave=False,
            bar_format=form, unit="B" if self._is_bytes else "it", unit_scale=self._is_bytes,
            dynamic_ncols=True,
        )  # fmt: skip

    def _speak(self) -> None:
        if self._bar is not None:
            while not self._ended.wait(_TICK_S):
                pace = self._bar.format_dict["rate"] or 0.0  # of which the bar's own time left is
                self._bar.set_postfix_str(self._in_all(self._left(self.done, pace)))
            return
        last, elapsed, wait = self._before, 0.0, FIRST_S
        while not self._ended.wait(wait):
            now, done = time.monotonic() - self._start, self.done
            # By the pace of late: what was in the store before took no time.
            pace = (done - last) / (now - elapsed) or (done - self._before) / now
            self._said = True
            tell(self._line(done, now, pace))
            last, elapsed = done, now
            wait = max(NEXT_S, GROWTH * now)

    def _line(self, done: int, elapsed: float, pace: float) -> str:
        """Such as "rootsift: features: 12 of 240, 0:42, about 13:20 left"."""
        parts, left = [clock(elapsed)], self._left(done, pace)
        if self._total is not None:
            parts.insert(0, f"{self._amount(done)} of {self._amount(self._total)}")
            if left:
                parts.append(f"about {clock(left)} left")
        elif done:
            parts.insert(0, self._amount(done))
        in_all = self._in_all(left)
        return f"{self._what}: {', '.join(parts)}" + (f"; {in_all}" if in_all else "")

    def _left(self, done: int, pace: float) -> float | None:
        """Seconds, at a pace of so many parts a second."""
        if self._total is None or pace <= 0:
            return None
        return max(self._total - done, 0) / pace

    def _amount(self, count: int) -> str:
        return f"{count / _MEGA:.1f} MB" if self._is_bytes else str(count)


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yields ``items`` while it is shown how far they are.

    ``what`` is done with them; ``total`` is needed where they have no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(what, total) as under_way:
        for item in items:
            yield item
            under_way.advance()


def clock(seconds: float) -> str:
    """Such as "0:07", "13:20" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
