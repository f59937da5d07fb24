"""Temporary files and folders that say whose they are, so that a later run clears them away.

A name ends in machine, process and a random part. What a process that was killed has left is known
by them; a process that is stopped in order removes its own.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from d2eval.foundation.errors import writing

PATTERN = ".*.tmp"
# Of another machine's processes nothing is known: theirs are left if nothing changed for so long.
STALE_SECONDS = 7 * 24 * 3600
CLOCK_SECONDS = 2.0  # how far a file's time may be from a process's
_NAME = re.compile(r"\..*\.([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{8}\.tmp", re.DOTALL)
_OLDER = re.compile(r"\..*\.\d{1,10}-[0-9a-z]+\.tmp", re.DOTALL)  # as earlier versions had it
HOLDER = "process "  # what `holder` gives begins so
_CLAIM = re.compile(r"process (\d{1,10}) on .*\n([0-9a-f]{8})\n")
_own: set[Path] = set()


@functools.cache
def _machine() -> str:
    """A short name of the host, its start and, in a container, the set of its processes.

    Only within these does a process's number mean the same process.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()[:8]


def _temporary_name(name: str) -> str:
    short = name.encode(errors="replace")[:150].decode(errors="ignore")  # 255 bytes are allowed
    return f".{short}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"


@contextlib.contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """A name beside ``target`` that nobody else has, for a file or a folder.

    What is under it at the end of the block, or when the process is stopped, is removed.
    """
    path = target.with_name(_temporary_name(target.name))
    _own.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _own.discard(path)


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder within ``folder``, gone at the end.

    What killed runs have left of the kind goes too: in ``folder``, which this process holds, and
    in those beside it.

    Raises:
        D2EvalError: it can't be made.
    """
    _remove(folder / ".work")  # as an older version called it
    for pattern in ("*/.work", f"*/{PATTERN}"):
        clear_leftovers(folder.parent, pattern)
    with temporary_path(folder / "work") as scratch:
        with writing(scratch):
            scratch.mkdir(parents=True)
        yield scratch


@contextlib.contextmanager
def local_folder() -> Iterator[Path]:
    """An empty folder where the machine keeps temporary files (TMPDIR), gone at the end.

    For databases, whose locks a file system that machines share may not keep. What killed processes
    have left of the kind goes too.

    Raises:
        D2EvalError: it can't be made.
    """
    place = Path(tempfile.gettempdir())
    clear_once(place)
    with temporary_path(place / "d2eval") as scratch:
        with writing(scratch):
            scratch.mkdir(mode=0o700)
        yield scratch


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder, which is gone under its name before anything in it is.

    Raises:
        D2EvalError: it can't be.
    """
    with writing(folder), temporary_path(folder) as gone:
        folder.rename(gone)


def remove_own() -> None:
    """Removes what this process has under temporary names; for the moment before it ends."""
    for path in list(_own):
        _remove(path)


def _changed(path: Path) -> float:
    """When a file, or a folder or something right in it, was changed last."""
    times = [path.lstat().st_mtime]
    if path.is_dir() and not path.is_symlink():
        times += [inner.lstat().st_mtime for inner in path.iterdir()]
    return max(times)


def _is_left(path: Path, locked: bool, shared: bool) -> bool:
    """Whether no living process can still be using ``path``."""
    named = _NAME.fullmatch(path.name)
    if shared and not (named or _OLDER.fullmatch(path.name)):
        return False
    if named is None or named[1] != _machine():
        return locked or time.time() - _changed(path) > STALE_SECONDS
    return _has_ended(int(named[2]), _changed(path))


def _has_ended(process: int, changed: float) -> bool:
    """Whether a process of this machine is gone that changed something at that time."""
    try:
        started = psutil.Process(process).create_time()
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return True
    except psutil.Error:
        return False
    return started > changed + CLOCK_SECONDS  # another one got its number


def holder() -> str:
    """How this process is called in files that say who holds something."""
    return f"{HOLDER}{os.getpid()} on {platform.node()}"


def claim() -> str:
    """The holder, and what tells its machine from others of the name, for `is_void`."""
    return f"{holder()}\n{_machine()}\n"


def is_void(path: Path) -> bool:
    """Whether a file holds the claim of a process that was of this machine and has ended.

    Raises:
        OSError: it can't be read.
    """
    try:
        found = _CLAIM.fullmatch(path.read_text(encoding="utf-8", errors="replace"))
        changed = path.lstat().st_mtime
    except FileNotFoundError:
        return False
    return found is not None and found[2] == _machine() and _has_ended(int(found[1]), changed)


def clear_leftovers(
    folder: Path, pattern: str = PATTERN, *, locked: bool = False, shared: bool = False
) -> None:
    """Removes what processes that are gone have left under ``folder``.

    ``locked`` says that this process alone may write in the folder, so that what is another
    machine's, or an older version's, belongs to nobody. ``shared`` says that other programs keep
    files there, too, so that a name must be one that this program gives, or gave.
    """
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # its process has just moved it into place
            if _is_left(path, locked, shared):
                _remove(path)


@functools.cache
def clear_once(folder: Path) -> None:
    """`clear_leftovers` of a folder that may be anybody's, once for a process."""
    clear_leftovers(folder, shared=True)
