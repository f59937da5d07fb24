"""NumPy's own files, npy and npz, read without trust.

Nothing is unpickled, no header alone makes memory be taken, and checksums are verified.
"""

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import Budget

MAGIC = b"PK"  # of an npz file, which is a zip archive
# What zipfile and NumPy raise on bytes that aren't what they should be
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    OverflowError,
    tokenize.TokenError,
)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: Path, data: bytes, remedy: str, what: str = "npy file") -> npt.NDArray[Any]:
    """The array that the bytes of an npy file hold; it can't be written to.

    ``path``, ``what`` it is, as "depth map", and ``remedy`` stand in the message of an error.

    Raises:
        D2EvalError: it is damaged or cut short, or holds Python objects.
    """
    try:
        return _array(data)
    except _DAMAGE as error:
        raise D2EvalError(f"{path}: broken {what} ({reason_of(error)}); {remedy}") from error


def read_npz(
    path: Path, file: BinaryIO, names: Sequence[str], remedy: str, what: str = "npz file"
) -> dict[str, npt.NDArray[Any]]:
    """Those arrays of an npz file that it has; they can't be written to.

    No more of the open file is read than the arrays. ``path``, ``what`` it is and ``remedy`` stand
    in the message of an error.

    Raises:
        D2EvalError: it is damaged or cut short, holds Python objects, or unpacks to more than a
            file of its size may.
    """
    arrays = {}
    try:
        budget = Budget(path, file.seek(0, io.SEEK_END))
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                info = members.get(f"{name}.npy")
                if info is not None:
                    budget.take(info.file_size)
                    arrays[name] = _member(archive, info, name)
    except _DAMAGE as error:
        raise D2EvalError(f"{path}: broken {what} ({reason_of(error)}); {remedy}") from error
    return arrays


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> npt.NDArray[Any]:
    content = archive.read(info)
    if len(content) != info.file_size:
        raise ValueError(f"{name} is cut short")
    try:
        return _array(content)
    except ValueError as error:
        raise ValueError(f"{name}: {reason_of(error)}") from error


def _array(data: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    # Version 3 differs from 2 in names of fields alone, which no array of numbers has
    if version not in _HEADERS:
        raise ValueError(f"npy format {version} isn't read")
    shape, by_columns, kind = _HEADERS[version](file)
    if kind.hasobject:
        raise ValueError("it holds Python objects (pickled), which are never read")
    if min(shape, default=0) < 0 or kind.itemsize == 0:
        raise ValueError(f"an array of {shape} {kind} can't be")
    count, start = math.prod(shape), file.tell()
    if len(data) - start != count * kind.itemsize:
        raise ValueError(
            f"an array of {shape} {kind} takes {count * kind.itemsize} bytes, not "
            f"{len(data) - start}"
        )
    values = np.frombuffer(data, kind, count, start) if count else np.zeros(0, kind)
    return values.reshape(shape, order="F" if by_columns else "C")
