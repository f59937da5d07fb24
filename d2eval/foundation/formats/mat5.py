"""MATLAB files of versions 5 to 7, read strictly.

SciPy's reader ends the whole process (SIGSEGV) on some damaged files, and passes over others that
are cut short; here both raise.
Source of the format: MathWorks, MAT-File Format (level 5).
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from d2eval.foundation.files.limits import Budget

FILE_HEADER, VERSION_AT, VERSION_5, VERSION_7_3 = 128, 124, 0x0100, 0x0200
TAG, WORD = 8, 4  # bytes of an element's tag, and of half of it
MATRIX, COMPRESSED, UTF8, UTF16, UTF32 = 14, 15, 16, 17, 18  # kinds of elements
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
CELL, STRUCT, CHAR, FIRST_NUMERIC, LAST_NUMERIC = 1, 2, 4, 6, 15  # classes of arrays
COMPLEX = 0x0800  # flag beside the class
PREFIX = 4096  # bytes that are read for the header of a variable
VALUE_BYTES = 256  # what Python holds for a value, beside its content
TEXT_LENGTH = 2**20  # of a text, at most
Order = Literal["<", ">"]
ORDERS: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}


class Version73Error(ValueError):
    """The file is of version 7.3, that is, HDF5."""


@dataclass(frozen=True)
class Header:
    """What stands before the values of an array."""

    flags: int  # its class and whether it is complex
    shape: tuple[int, ...]  # MATLAB's
    name: str  # of the variable, empty within others
    end: int  # where the values begin


@dataclass(frozen=True)
class Unsupported:
    """A value of a class that isn't read: complex or sparse numbers, objects, functions."""


def list_mat5(file: BinaryIO) -> dict[str, tuple[int, ...]]:
    """The shape of every variable.

    Raises:
        OSError: it can't be read.
        ValueError, IndexError, struct.error, zlib.error: it is damaged.
        Version73Error: it is HDF5.
    """
    order = _order(file)
    return {header.name: header.shape for header, _, _ in _variables(file, order)}


def read_mat5(file: BinaryIO, name: str, budget: Budget) -> dict[str, Any]:
    """The variable ``name`` alone, or nothing; a cell array is a list, a struct array of dicts.

    The file is open, at its start.

    Raises:
        OSError: it can't be read.
        ValueError, IndexError, struct.error, zlib.error, MemoryError, RecursionError: it is
            damaged.
        Version73Error: it is HDF5.
        D2EvalError: it is too large.
    """
    order = _order(file)
    for header, kind, length in _variables(file, order):
        if header.name == name:
            budget.take(length)
            data = file.read(length)
            content = _unpacked(data, order, budget) if kind == COMPRESSED else memoryview(data)
            return {name: _Values(order, budget).value(content)}
    return {}


def _unpacked(data: bytes, order: Order, budget: Budget) -> memoryview:
    """The content of the one element that was compressed."""
    unpacking = zlib.decompressobj()
    kind, length = struct.unpack(f"{order}II", unpacking.decompress(data, TAG))
    if kind != MATRIX:
        raise ValueError("a compressed variable is no array")
    budget.take(length)
    content = unpacking.decompress(unpacking.unconsumed_tail, length) if length else b""
    if unpacking.decompress(unpacking.unconsumed_tail, 1) or len(content) < length:
        raise ValueError("a compressed variable has another length than it declares")
    if not unpacking.eof:
        raise ValueError("a compressed variable is cut short")
    return memoryview(content)


def _order(file: BinaryIO) -> Order:
    head = file.read(FILE_HEADER)
    order = ORDERS.get(head[FILE_HEADER - 2 :])
    version = struct.unpack_from(f"{order}H", head, VERSION_AT)[0] if order else None
    if version == VERSION_7_3:
        raise Version73Error
    if order is None or version != VERSION_5:
        raise ValueError("not of MATLAB 5 to 7.3")
    return order


def _variables(file: BinaryIO, order: Order) -> Iterator[tuple[Header, int, int]]:
    """Yields header, kind and length of every variable, with the file at its content."""
    size, at = file.seek(0, 2), FILE_HEADER
    while at < size:
        file.seek(at)
        kind, length = struct.unpack(f"{order}II", file.read(TAG))
        at += TAG
        if at + length > size:
            raise ValueError(f"cut short: {at + length - size} bytes are missing")
        prefix = file.read(min(length, PREFIX))
        if kind == COMPRESSED:
            prefix = zlib.decompressobj().decompress(prefix, PREFIX)[TAG:]
        elif kind != MATRIX:
            raise ValueError(f"no variable at byte {at}")
        header = _header(memoryview(prefix), order)
        file.seek(at)
        yield header, kind, length
        at += length


def _element(data: memoryview, at: int, order: Order) -> tuple[int, memoryview, int]:
    """Kind and content of the element at a byte, and where the next one begins."""
    kind, length = struct.unpack_from(f"{order}II", data, at)
    start, end = at + TAG, at + TAG + length
    following = end + -length % TAG
    if kind >> 16:  # four bytes or fewer stand within the tag
        kind, length = kind & 0xFFFF, kind >> 16
        start, end, following = at + WORD, at + WORD + length, at + TAG
    if end > min(len(data), following):
        raise ValueError("an element reaches past its end")
    return kind, data[start:end], following


def _numbers(kind: int, data: memoryview, order: Order) -> np.ndarray:
    if kind not in NUMBERS:
        raise ValueError(f"numbers of unknown kind {kind}")
    return np.frombuffer(data, np.dtype(NUMBERS[kind]).newbyteorder(order))


def _header(data: memoryview, order: Order) -> Header:
    kind, content, at = _element(data, 0, order)
    flags = int(_numbers(kind, content, order)[0])
    kind, content, at = _element(data, at, order)
    shape = tuple(int(length) for length in _numbers(kind, content, order))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("an array has no shape")
    _, content, at = _element(data, at, order)
    return Header(flags, shape, bytes(content).decode("latin-1"), at)


@dataclass(frozen=True)
class _Values:
    """Reads the values within a variable."""

    order: Order
    budget: Budget

    def value(self, data: memoryview) -> Any:
        """The value that an element of the kind MATRIX holds."""
        self.budget.take(VALUE_BYTES)
        if not data:
            return np.zeros((0, 0))  # how an empty cell is stored
        header = _header(data, self.order)
        kind = header.flags & 0xFF
        count = math.prod(header.shape)
        if kind == CELL:
            return self._members(data, header.end, count)
        if kind == STRUCT:
            return self._structs(data, header.end, count)
        if kind != CHAR and (not FIRST_NUMERIC <= kind <= LAST_NUMERIC or header.flags & COMPLEX):
            return Unsupported()
        element, content, _ = _element(data, header.end, self.order)
        if kind == CHAR:
            return _text(element, content, self.order)
        return _numbers(element, content, self.order).reshape(header.shape, order="F")

    def _members(self, data: memoryview, at: int, count: int) -> list[Any]:
        values = []
        for _ in range(count):
            kind, content, at = _element(data, at, self.order)
            if kind != MATRIX:
                raise ValueError("a member is no array")
            values.append(self.value(content))
        return values

    def _structs(self, data: memoryview, at: int, count: int) -> list[dict[str, Any]]:
        kind, content, at = _element(data, at, self.order)
        width = int(_numbers(kind, content, self.order)[0])
        _, content, at = _element(data, at, self.order)
        if width <= 0 or len(content) % width:
            raise ValueError("a struct array has no field names")
        self.budget.take(VALUE_BYTES * (len(content) // width))
        names = [
            bytes(content[k : k + width]).split(b"\0")[0].decode("latin-1")
            for k in range(0, len(content), width)
        ]
        values = iter(self._members(data, at, count * len(names)))
        return [{name: next(values) for name in names} for _ in range(count if names else 0)]


def _text(kind: int, content: memoryview, order: Order) -> str:
    """One row of text."""
    if len(content) > TEXT_LENGTH:
        raise ValueError("a text is too long")
    if kind == UTF8:
        return bytes(content).decode("utf-8")
    if kind in (UTF16, UTF32):
        codec = {UTF16: "utf-16", UTF32: "utf-32"}[kind]
        return bytes(content).decode(f"{codec}-{'le' if order == '<' else 'be'}")
    return "".join(map(chr, _numbers(kind, content, order).tolist()))
