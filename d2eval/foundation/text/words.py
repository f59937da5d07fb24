"""Numbers and image names as lists of the user's hold them, and what of them is beyond reason."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from d2eval.foundation.errors import D2EvalError

SHOWN = 10  # names in a message
MOST_DIGITS = 18  # of a whole number, which fits 64 bits then
MOST_PIXELS = 1_000_000  # of an image's side
MOST_COORDINATE = 1e12  # of a position; metres from the Earth's centre are below 1e7
MOST_NAME_BYTES, MOST_PART_BYTES = 1000, 255  # of a name; file systems take no longer parts
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # controls, what no UTF-8 is read as, ends of lines


def some(names: Iterable[str], most: int = SHOWN) -> str:
    """The first ``most`` of ``names`` and how many more."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def whole(word: str) -> int:
    """The whole number that ``word`` is, in plain digits.

    Raises:
        ValueError: it is none, or one of more than 18 digits.
    """
    digits = word.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
        raise ValueError(f"{word[:30]!r} is no whole number")
    return int(word)


def real(word: str) -> float:
    """The number that ``word`` is, which may be NaN or infinite.

    Raises:
        ValueError: it is none; so are the underscores and other scripts' digits of Python.
    """
    if "_" in word or not word.isascii():
        raise ValueError(f"{word[:30]!r} is no number")
    return float(word)


def reals(words: Sequence[str], count: int) -> list[float] | None:
    """The ``count`` numbers that ``words`` are, see `real`, or None if they aren't."""
    try:
        return [real(word) for word in words] if len(words) == count else None
    except ValueError:
        return None


def is_image_size(width: object, height: object) -> bool:
    """Whether both are sides that an image can have."""
    return all(isinstance(n, int) and 0 < n <= MOST_PIXELS for n in (width, height))


def name_problem(name: str) -> str | None:
    """What keeps ``name`` from being that of an image below a dataset's folder, or None.

    Names are joined to the folder and written into tables.
    """
    if not name.strip("./"):
        return "is no file's"
    if any(unicodedata.category(mark) in _CONTROL for mark in name):
        return "holds control characters or isn't UTF-8"
    path = PurePosixPath(name)
    longest = max(len(part.encode()) for part in path.parts)
    if len(name.encode()) > MOST_NAME_BYTES or longest > MOST_PART_BYTES:
        return "is too long"
    if path.is_absolute():
        return "is an absolute path"
    if ".." in path.parts:
        return "leads out of the dataset's folder"
    return None


def check_name(name: str, where: str) -> str:
    """``name``, if an image below a dataset's folder can have it.

    Raises:
        D2EvalError: it can't; the message begins with ``where``.
    """
    problem = name_problem(name)
    if problem:
        raise D2EvalError(f"{where}: the image name {name[:100]!r} {problem}; mend it")
    return name
