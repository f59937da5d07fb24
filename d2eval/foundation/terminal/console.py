"""What the program says: results on standard output, notes and errors on standard error.

Names of files, methods and images stand in it; each line goes through `printable`.
"""

import contextlib
import functools
import sys

from d2eval.foundation.text.display import printable


def say(*lines: str) -> None:
    """Prints lines of results at once, so that a log doesn't hold them back."""
    for line in lines:
        print(printable(line))
    sys.stdout.flush()


def say_lines(text: str) -> None:
    """Prints text of several lines, such as a table; in what stands in it, none may be left."""
    say(*text.split("\n"))


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it was closed
        return False


def tell(text: str) -> None:
    """Says in one line on standard error how work goes."""
    start = "\r\x1b[K" if on_terminal() else ""  # where a bar may stand in the line
    with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
        # in one piece, or another thread's line gets in before the end of this one
        print(f"{start}{printable(text)}\n", end="", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Says in one line what the user should know of work that goes on."""
    tell(f"note: {text}")


@functools.lru_cache
def note_once(text: str) -> None:
    """`note`, for what several parts of a run would say of the same file."""
    note(text)


def complain(text: str) -> None:
    """Says in one line why the program ends."""
    tell(f"d2eval: {text}")
