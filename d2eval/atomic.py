"""Files that are either complete or absent, also after ``kill -9`` or on a full disk."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from d2eval.errors import D2EvalError

try:
    import fcntl
except ImportError:  # Windows has no flock; runs there are not guarded against each other
    fcntl = None  # type: ignore[assignment]


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes ``data`` to ``path`` through a temporary file in the same folder.

    Raises:
        D2EvalError: the disk is full or the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise D2EvalError(
            f"{path}: can't be written ({error.strerror or error}); free space or choose another "
            "folder, then run the same command again: finished work is kept"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 ``text`` as `write_bytes` does."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however it ends.

    What a killed holder had half written there is removed.

    Raises:
        D2EvalError: another process holds it, or the folder can't be made.
    """
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+")
    except OSError as error:
        raise D2EvalError(f"{folder}: can't be written ({error.strerror or error})") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise D2EvalError(
                    f"{folder}: another run ({holder}) is writing here; wait for it or choose "
                    "another folder"
                ) from error
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            for leftover in folder.glob(".*.tmp") if fcntl is not None else ():
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise D2EvalError(f"{folder}: can't be written ({error.strerror or error})") from error
        yield
