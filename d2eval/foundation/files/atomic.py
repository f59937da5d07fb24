"""Files that are either complete or absent, also after ``kill -9`` or on a full disk."""

import contextlib
import errno
import fcntl
import os
import platform
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from d2eval.foundation.errors import ROOM, D2EvalError, writing
from d2eval.foundation.files.leftovers import clear_leftovers, clear_once, temporary_path
from d2eval.foundation.terminal.console import note
from d2eval.foundation.text.display import printable

LOCK = ".lock"
HOLDER_LENGTH = 200  # of what a lock may say of its holder


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes ``data`` to ``path`` through a temporary file in the same folder.

    Raises:
        D2EvalError: the disk is full or the folder can't be written.
    """
    with writing(path, f"{ROOM}, then run the same command again: finished work is kept"):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_once(path.parent)
        with temporary_path(path) as temporary:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 ``text`` as `write_bytes` does."""
    write_bytes(path, text.encode())


def open_own(name: str, flags: int) -> int:
    """An ``opener`` for files of ours that have a fixed name and are changed in place.

    Through a link of that name, something else would be overwritten.

    Raises:
        OSError: it is a link, a pipe or a device, or it can't be opened.
    """
    try:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise OSError(error.errno, "it is a symbolic link; remove it", name) from error
        raise
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is a link, a pipe or a device; remove it", name)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however it ends.

    What a killed holder had half written there is removed. On a file system without locks a note
    says so, and nothing is held.

    Raises:
        D2EvalError: another process holds it, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+", encoding="utf-8", errors="replace", opener=open_own)  # noqa: SIM115
    except OSError as error:
        path = folder / LOCK if error.filename == str(folder / LOCK) else folder
        raise D2EvalError(f"{path}: can't be written ({error.strerror or error})") from error
    with file:
        held = _hold(file, folder)
        with writing(folder):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            if held:
                clear_leftovers(folder, locked=True)
        yield


def _hold(file: IO[str], folder: Path) -> bool:
    """Whether the lock could be taken; only one that is held by another is an error."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        said = printable(file.read(HOLDER_LENGTH).strip())
        raise D2EvalError(
            f"{folder}: another run ({said or 'another process'}) is writing here; wait for it or "
            "choose another folder"
        ) from error
    except OSError as error:  # as NFS, Lustre and FUSE say it, each in its way
        note(
            f"{folder}: can't be locked here ({error.strerror or error}); make sure that no "
            "other run writes to it"
        )
        return False
    return True
