"""Folders that are built once and are either whole or absent."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from d2eval.foundation.errors import D2EvalError, writing
from d2eval.foundation.files.leftovers import clear_leftovers, temporary_path
from d2eval.foundation.files.reading import read_bytes, read_text
from d2eval.foundation.terminal.console import note

ATTEMPTS = 3
RECORD = ".sha256.json"  # in the folder: name -> SHA-256 of every file


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Returns ``target``, built on first use, its files verified by their SHA-256 on later ones.

    The folder is built beside its place and renamed into it, so a build that is killed leaves
    nothing under ``target``, and of two builders at once the second finds the first one's work and
    drops its own. One whose files are missing or have changed is built again.

    Raises:
        D2EvalError: the folder can't be written.
    """
    clear_leftovers(target.parent, ".*")
    fault = _fault(target)
    if fault is None:
        return target
    if fault:
        note(f"{fault}; made again")
    with writing(target, "free space or choose another cache folder"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_path(target) as scratch:
            built = scratch / "built"
            built.mkdir(parents=True)
            build(built)
            _write_record(built)
            _put(built, target, scratch)
    return target


def _write_record(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    record = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _fault(folder: Path) -> str | None:
    """What is wrong with a folder, in words; empty if it was never built; None if it is whole."""
    path = folder / RECORD
    if not path.exists():  # or built by a version that kept no record
        return ""
    try:
        record = json.loads(read_text(path))
        for name, sha256 in record.items():
            path = folder / name
            if hashlib.sha256(read_bytes(path)).hexdigest() != sha256:
                raise D2EvalError("its SHA-256 is not that of what was written")
    except (D2EvalError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"{path}: damaged ({str(error).removeprefix(f'{path}: ')})"
    return None


def _put(built: Path, target: Path, scratch: Path) -> None:
    # Something is in the way only if another builder was faster, or if somebody took files out of
    # a whole folder; then several builders may be mending it at once, hence more than one attempt.
    for attempt in range(ATTEMPTS):
        try:
            built.rename(target)
            return
        except OSError:
            if _fault(target) is None:
                return
        with contextlib.suppress(FileNotFoundError):
            target.rename(scratch / f"broken-{attempt}")
    built.rename(target)
