"""Files that are either complete or absent, also after ``kill -9`` or on a full disk."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from d2eval.foundation.errors import ROOM, D2EvalError, writing
from d2eval.foundation.files.leftovers import (
    HOLDER,
    claim,
    clear_leftovers,
    clear_once,
    holder,
    is_void,
    temporary_path,
)
from d2eval.foundation.files.reading import open_bytes
from d2eval.foundation.text.display import printable

LOCK = ".lock"
CLAIM = ".held"  # where nothing locks
HOLDER_LENGTH = 200  # of what a lock may say of its holder


def write_bytes(path: Path, data: bytes | memoryview, *, by_content: bool = False) -> None:
    """Writes ``data`` to ``path`` through a temporary file in the same folder.

    ``by_content`` says that whoever writes there writes the same, so it doesn't matter who did.

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
            try:
                temporary.replace(path)
            except OSError:  # as file systems that machines share refuse, or lose the answer
                if not (by_content and path.is_file()):
                    raise


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

    What a killed holder had half written there is removed. On a file system without locks a file
    says who holds it, which a killed process leaves: one of this machine knows it for void, another
    machine's must be removed by hand.

    Raises:
        D2EvalError: another process holds it, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+", encoding="utf-8", errors="replace", opener=open_own)  # noqa: SIM115
    except OSError as error:
        path = folder / LOCK if error.filename == str(folder / LOCK) else folder
        raise D2EvalError(f"{path}: can't be written ({error.strerror or error})") from error
    with file, contextlib.ExitStack() as claimed:
        if not _hold(file, folder):
            claimed.enter_context(_claim(folder))
        with writing(folder):
            file.truncate(0)
            file.write(holder())
            file.flush()
            clear_leftovers(folder, locked=True)
        yield


def is_lock(path: Path) -> bool:
    """Whether a file called `LOCK` is that of a folder which `exclusive` holds, or has held.

    Raises:
        D2EvalError: it can't be read.
    """
    if path.is_symlink() or not path.is_file():
        return False
    with open_bytes(path) as file:
        return file.read(len(HOLDER)) == HOLDER.encode()


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
    except OSError:  # as NFS, Lustre and FUSE say it, each in its way
        return False
    return True


@contextlib.contextmanager
def _claim(folder: Path) -> Iterator[None]:
    """Holds a folder by a file that one process alone can make."""
    path = folder / CLAIM
    with writing(path, "remove it"):
        if is_void(path):
            path.unlink(missing_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(claim())
        except FileExistsError as error:
            said = path.read_text(encoding="utf-8", errors="replace")[:HOLDER_LENGTH]
            by = printable(said.partition("\n")[0]) or "another process"
            raise D2EvalError(
                f"{folder}: another run ({by}) is writing here; wait for it, or remove {path} if "
                "it has ended"
            ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
