"""The one exception that stands for a user's mistake or a broken file."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOM = "free space or choose another folder"


class D2EvalError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2.

    The message names the file or option, says what is wrong and what to do.
    """


class MissingFileError(D2EvalError):
    """A file that isn't there, which some readers can do without."""


@contextlib.contextmanager
def told(report: Callable[[str], object]) -> Iterator[None]:
    """Within it, a `D2EvalError` is told to ``report`` instead of raised."""
    try:
        yield
    except D2EvalError as error:
        report(str(error))


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, or what it is called where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextlib.contextmanager
def writing(path: Path, remedy: str = ROOM) -> Iterator[None]:
    """Within it, an `OSError` means that ``path`` can't be written; ``remedy`` says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise D2EvalError(f"{path}: can't be written ({reason}); {remedy}") from error
