"""Files of the user's, opened with care: only regular ones, text only as UTF-8.

A pipe would be waited for without end and a device read for ever, so that every reader opens its
files here. Libraries that open a path themselves (HDF5, SQLite, COLMAP) are asked only after
`require_file`. A ``remedy`` ends the message of an error, as "replace it".
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of

TEXT_BYTES = 2**28  # of a text that is read at once; some 3 million lines
LINE_BYTES = 2**20
MOST_LEVELS = 100  # of lists in lists
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WIDE = {  # the marks that other encodings begin with; that of UTF-32 begins with UTF-16's
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise D2EvalError(f"{path}: is {kind}, not a file; give a file")


@contextlib.contextmanager
def _errors_of(path: Path, remedy: str) -> Iterator[None]:
    """What the system says of ``path``, as one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{path}: is missing; add it") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "not enough memory"
        raise D2EvalError(f"{path}: can't be read ({reason}); {remedy}") from error
    except ValueError as error:  # a path with a zero byte
        raise D2EvalError(f"{str(path)!r}: is no path ({error}); {remedy}") from error


def require_file(path: Path, remedy: str = "replace it") -> int:
    """The size of a regular file in bytes, links followed.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: a folder, a pipe or a device, or it can't be looked at.
    """
    with _errors_of(path, remedy):
        found = path.stat()
    _require_regular(path, found.st_mode)
    return found.st_size


def _opener(name: str, flags: int) -> int:
    # A pipe without a writer is opened at once, so that it can be refused
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


@contextlib.contextmanager
def open_bytes(path: Path, remedy: str = "replace it") -> Iterator[BinaryIO]:
    """Opens a regular file for reading.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: a folder, a pipe or a device, or it can't be read.
    """
    require_file(path, remedy)
    with _errors_of(path, remedy):
        file = open(path, "rb", opener=_opener)  # noqa: SIM115
    with file:
        _require_regular(path, os.fstat(file.fileno()).st_mode)
        yield file


def read_bytes(path: Path, remedy: str = "replace it", limit: int | None = None) -> bytes:
    """The content of a regular file.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: a folder, a pipe or a device, it can't be read, or is larger than ``limit``.
    """
    with open_bytes(path, remedy) as file, _errors_of(path, remedy):
        data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise D2EvalError(f"{path}: larger than {limit / 2**20:.0f} MiB; {remedy}")
    return data


def read_text(path: Path, remedy: str = "replace it") -> str:
    """A text file as a whole; a byte order mark is left out, line ends become newlines.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: as of `read_bytes`, or it is no UTF-8 text.
    """
    text = _decode(read_bytes(path, remedy, TEXT_BYTES), path, 1)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(
    path: Path, remedy: str = "replace it", longest: int = LINE_BYTES
) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers from 1, one by one, without their ends.

    Lines end as on Unix, Windows or old Macs; a byte order mark before a line is left out, which
    may stand in the middle where files were joined.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: as of `open_bytes`; a line that is no UTF-8 text or has no end in sight.
    """
    with open_bytes(path, remedy) as file, _errors_of(path, remedy):
        if (name := _wide(file.read(4))) is not None:
            raise D2EvalError(f"{path}: is {name} text; save it as UTF-8")
        file.seek(0)
        # Latin-1 has every byte: lines are found before they are decoded
        lines = io.TextIOWrapper(file, "latin-1", newline=None)
        for number in count(1):
            line = lines.readline(longest)
            if not line:
                return
            if len(line) == longest and not line.endswith("\n"):
                raise D2EvalError(f"{path}: line {number} is longer than {longest} bytes; {remedy}")
            text = _decode(line.removesuffix("\n").encode("latin-1"), path, number)
            yield number, text.removeprefix("\ufeff")


def read_words(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of the lines that hold something and are no comment, one by one."""
    for number, line in read_lines(path):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _wide(data: bytes) -> str | None:
    """The name of the encoding that a byte order mark other than UTF-8's stands for."""
    return next((name for mark, name in _WIDE.items() if data.startswith(mark)), None)


def _decode(data: bytes, path: Path, first_line: int) -> str:
    """UTF-8 ``data`` as text, ``first_line`` being the number of its first line."""
    if (name := _wide(data)) is not None and first_line == 1:
        raise D2EvalError(f"{path}: is {name} text; save it as UTF-8")
    zero = data.find(b"\0")
    if zero >= 0:
        line = first_line + _line_ends(data[:zero])
        raise D2EvalError(
            f"{path}: line {line} holds a zero byte, so that it is damaged or UTF-16; replace it, "
            "or save it as UTF-8"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + _line_ends(data[: error.start])
        raise D2EvalError(f"{path}: line {line} is no UTF-8 text; save it as UTF-8") from error


def _line_ends(data: bytes) -> int:
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def read_json(path: Path, remedy: str = "replace it") -> Any:
    """The content of a JSON file.

    Raises:
        MissingFileError: there is nothing.
        D2EvalError: as of `read_text`, or it is no JSON, has a key twice, or lists in lists without
            end.
    """
    text = read_text(path, remedy)
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise D2EvalError(f"{path}: broken JSON ({_reason(error)}); {remedy}") from error
    if is_deep(content):
        raise D2EvalError(f"{path}: broken JSON (nested too deep); {remedy}")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice[:100]!r} stands twice")
    return content


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else reason_of(error)


def is_deep(content: Any) -> bool:
    """Whether lists and tables lie in one another so deep that writing them again would fail."""
    level = [content]
    for _ in range(MOST_LEVELS):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copies the content of a regular file, to a folder that is there.

    Raises:
        MissingFileError: there is no ``source``.
        D2EvalError: ``source`` is a folder, a pipe or a device, or something can't be done.
    """
    with open_bytes(source) as file:
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except OSError as error:
            raise D2EvalError(
                f"{source}: can't be copied to {target} ({error.strerror or error}); free space"
            ) from error


def is_there(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing, that a reader shall complain of."""
    try:
        return os.path.lexists(path)
    except ValueError:  # a zero byte
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        D2EvalError: the file can't be read.
    """
    digest, remedy = hashlib.sha256(), "get the file again"
    with open_bytes(path, remedy) as file, _errors_of(path, remedy):
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
