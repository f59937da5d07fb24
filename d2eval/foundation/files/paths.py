"""Paths as users write them, and what lies in a folder, which must be readable to be listed."""

import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from d2eval.foundation.errors import D2EvalError


def expanded(path: str | Path) -> Path:
    """``path`` with the home folder in place of a leading ``~`` or ``~user``.

    Raises:
        D2EvalError: no such user, or a user without a home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise D2EvalError(f"{path}: no such home folder is known here; write it out") from error


def default_cache() -> Path:
    """``D2EVAL_CACHE``, else the user's cache folder.

    Raises:
        D2EvalError: there is no home folder.
    """
    if os.environ.get("D2EVAL_CACHE"):
        return expanded(os.environ["D2EVAL_CACHE"])
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    try:
        return expanded(os.environ.get("XDG_CACHE_HOME") or usual) / "d2eval"
    except D2EvalError as error:
        raise D2EvalError(
            "the cache folder: there is no home folder to put it in; give --cache DIR or set "
            "D2EVAL_CACHE"
        ) from error


def listed(folder: Path) -> list[Path]:
    """What lies in ``folder``, by name.

    Raises:
        D2EvalError: it can't be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise D2EvalError(f"{folder}: can't be read ({error.strerror or error})") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise D2EvalError(f"{path}: can't be read ({error.strerror or error})") from error


def find(folder: Path, pattern: str) -> Iterator[Path]:
    """Paths below ``folder`` that match ``pattern``, by name; none where there is no such folder.

    Unlike `pathlib.Path.glob`, which passes over what it may not read, so that a part would look
    like the whole. A pattern has parts joined by ``/``, each with ``*``, ``?`` and ``[...]`` as
    usual.

    Raises:
        D2EvalError: a folder on the way can't be read.
    """
    part, _, rest = pattern.partition("/")
    if not any(character in part for character in "*?["):
        found = [folder / part] if os.path.lexists(folder / part) else []
    elif _is_folder(folder):
        found = [path for path in listed(folder) if fnmatchcase(path.name, part)]
    else:
        found = []
    for path in found:
        if rest:
            yield from find(path, rest) if _is_folder(path) else ()
        else:
            yield path


def walk(folder: Path) -> Iterator[Path]:
    """All files below ``folder``, by name; linked folders are not followed.

    Raises:
        D2EvalError: a folder can't be read.
    """
    for path in listed(folder):
        if _is_folder(path):
            yield from () if path.is_symlink() else walk(path)
        else:
            yield path
