"""Folders that are built once and are either whole or absent."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from d2eval.errors import D2EvalError

ATTEMPTS = 3


def build_once(
    target: Path, is_complete: Callable[[Path], bool], build: Callable[[Path], None]
) -> Path:
    """Returns ``target``, built on first use.

    The folder is built beside its place and renamed into it, so a build that is killed leaves
    nothing under ``target``, and of two builders at once the second finds the first one's work and
    drops its own.

    Args:
        target: the folder to have.
        is_complete: whether a folder that exists holds everything.
        build: fills an empty folder.

    Raises:
        D2EvalError: the folder can't be written.
    """
    if is_complete(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            built = Path(scratch) / "built"
            built.mkdir()
            build(built)
            _put(built, target, is_complete, Path(scratch))
    except OSError as error:
        raise D2EvalError(
            f"{target}: can't be written ({error.strerror or error}); free space or choose "
            "another cache folder"
        ) from error
    return target


def _put(built: Path, target: Path, is_complete: Callable[[Path], bool], scratch: Path) -> None:
    # Something is in the way only if another builder was faster, or if somebody took files out of
    # a whole folder; then several builders may be mending it at once, hence more than one attempt.
    for attempt in range(ATTEMPTS):
        try:
            built.rename(target)
            return
        except OSError:
            if is_complete(target):
                return
        with contextlib.suppress(FileNotFoundError):
            target.rename(scratch / f"broken-{attempt}")
    built.rename(target)
