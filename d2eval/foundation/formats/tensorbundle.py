"""TensorFlow's checkpoints (format V2), read without TensorFlow and without trust.

A checkpoint is a table ``<name>.index`` of variables (LevelDB's format: blocks, perhaps packed by
Snappy, of sorted keys without what they share with the one before), each a protocol buffer that
says where in the files ``<name>.data-<k>-of-<n>`` its values lie. Checksums (CRC-32C) of both are
verified, and no number in a file makes more memory be taken than the file has.

Source: tensorflow/core/util/tensor_bundle, core/lib/io/table and core/protobuf/tensor_bundle.proto.
"""

import glob
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.foundation.arrays.compiled import compiled
from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import Budget
from d2eval.foundation.files.paths import find
from d2eval.foundation.files.reading import read_bytes, require_file

INDEX = ".index"
MAGIC, FOOTER, TRAILER = 0xDB4775248B80FB57, 48, 5  # a trailer: compression, checksum
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DataType -> NumPy's
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # of protocol buffers
DIMENSIONS = 8
SNAPPY, BLOCK = 1, 2**26  # a block's compression; most bytes of one
_DAMAGE = (ValueError, LookupError, struct.error, tarfile.TarError, EOFError, zlib.error, OSError)
_POLYNOMIAL = 0x82F63B78


def read_bundle(path: Path, remedy: str, folder: str = "") -> dict[str, npt.NDArray[Any]]:
    """Variables by name of a checkpoint: its ``.index`` with the data beside it, or a tar archive.

    Args:
        path: the file.
        remedy: what to do about a broken one, for its message.
        folder: of an archive that the checkpoint lies in, at any depth; "" where there is one
            checkpoint in the whole of it. Of several in a folder that is taken which its file
            ``checkpoint`` calls the newest.

    Raises:
        D2EvalError: it is damaged, too large, in another format, or no or several checkpoints.
    """
    budget = Budget(path, require_file(path, remedy))
    try:
        if path.suffix == INDEX:
            stem = path.name.removesuffix(INDEX)
            beside = find(path.parent, f"{glob.escape(stem)}.data-*")
            return _variables(path.read_bytes(), [read_bytes(shard) for shard in beside], budget)
        with tarfile.open(path) as archive:
            files = {m.name: m for m in archive if m.isfile()}
            index = _chosen(archive, files, folder)
            stem = index.removesuffix(INDEX)
            wanted = [index, *sorted(n for n in files if n.startswith(f"{stem}.data-"))]
            budget.take(sum(files[name].size for name in wanted))
            table, *shards = (_content(archive, files[name]) for name in wanted)
            return _variables(table, shards, budget)
    except _DAMAGE as error:
        raise _broken(path, error, remedy) from error


def require_bundle(path: Path, remedy: str) -> None:
    """Makes sure that a file is a tar archive with a checkpoint in it.

    Raises:
        D2EvalError: it isn't.
    """
    try:
        with tarfile.open(path) as archive:
            if any(member.isfile() and member.name.endswith(INDEX) for member in archive):
                return
            raise ValueError("no checkpoint in it")
    except _DAMAGE as error:
        raise _broken(path, error, remedy) from error


def _broken(path: Path, error: Exception, remedy: str) -> D2EvalError:
    return D2EvalError(f"{path}: broken TensorFlow checkpoint ({reason_of(error)}); {remedy}")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise ValueError(f"{member.name} is cut short")
    return content


def _chosen(archive: tarfile.TarFile, files: Mapping[str, tarfile.TarInfo], folder: str) -> str:
    """The name of the index in an archive."""
    found = [
        name
        for name in files
        if name.endswith(INDEX) and (not folder or folder in PurePosixPath(name).parts[:-1])
    ]
    homes = {PurePosixPath(name).parent for name in found}
    if len(found) > 1 and len(homes) == 1:
        note = files.get(str(homes.pop() / "checkpoint"))
        if note is not None and note.size < 2**20:
            text = _content(archive, note).decode()
            newest = re.search(r'^model_checkpoint_path: "(?:[^"]*/)?([^"/]+)"', text, re.MULTILINE)
            found = [n for n in found if newest and PurePosixPath(n).stem == newest[1]]
    if len(found) != 1:
        place = f" in {folder}" if folder else ""
        raise ValueError(f"{len(found) or 'no'} checkpoints{place}, not one")
    return found[0]


def _variables(table: bytes, shards: list[bytes], budget: Budget) -> dict[str, npt.NDArray[Any]]:
    entries = {}
    for name, entry in _entries(table):
        budget.take(len(name) + len(entry))
        entries[name] = entry
    header = _fields(entries.pop(b""))
    if _number(header, 2):
        raise ValueError("its values are big-endian")
    if (number := _number(header, 1)) != len(shards):
        raise ValueError(f"it has {len(shards)} data files, not {number}")
    return {name.decode(): _array(_fields(data), shards, budget) for name, data in entries.items()}


def _array(
    entry: dict[int, list[Any]], shards: list[bytes], budget: Budget
) -> npt.NDArray[np.generic]:
    kind, shard, offset, size = (_number(entry, field) for field in (1, 3, 4, 5))
    if kind not in TYPES or 7 in entry:
        raise ValueError("it has variables of other types, or in slices")
    dtype = np.dtype(TYPES[kind])
    sizes = _fields(entry[2][-1]).get(2, []) if 2 in entry else []
    shape = tuple(_number(_fields(dimension), 1) for dimension in sizes)
    if len(shape) > DIMENSIONS or math.prod(shape) * dtype.itemsize != size:
        raise ValueError("a variable's shape isn't that of its values")
    data = memoryview(shards[shard])[offset : offset + size]
    if len(data) != size or _masked(data) != entry[6][-1]:
        raise ValueError("a variable's checksum is wrong")
    budget.take(size)
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of all blocks."""
    footer = table[-FOOTER:]
    if len(footer) != FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("no table of TensorFlow's")
    at = 0
    numbers = []
    for _ in range(4):
        number, at = _varint(footer, at)
        numbers.append(number)
    for _, handle in _block(table, numbers[2], numbers[3]):
        offset, at = _varint(handle, 0)
        yield from _block(table, offset, _varint(handle, at)[0])


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    whole = table[offset : offset + size + TRAILER]
    if len(whole) != size + TRAILER:
        raise ValueError("its index is cut short")
    if _masked(memoryview(whole)[: size + 1]) != struct.unpack("<I", whole[-4:])[0]:
        raise ValueError("its index has a wrong checksum")
    block = _unpacked(whole[:size]) if whole[size] == SNAPPY else whole[:size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def _unpacked(packed: bytes) -> bytes:
    """What Snappy's format holds: bytes as they are, and copies of bytes before."""
    length, at = _varint(packed, 0)
    if length > BLOCK:
        raise ValueError("its index is too large")
    found = bytearray()
    while at < len(packed) and len(found) <= length:
        kind, count = packed[at] & 3, packed[at] >> 2
        at += 1
        if not kind:
            extra = max(count - 59, 0)  # bytes of a length above 60
            count = 1 + (int.from_bytes(packed[at : at + extra], "little") if extra else count)
            found += packed[at + extra : at + extra + count]
            at += extra + count
            continue
        width = (0, 1, 2, 4)[kind]
        back = int.from_bytes(packed[at : at + width], "little")
        at += width
        if kind == 1:
            back, count = back + (count >> 3 << 8), (count & 7) + 3
        if not 0 < back <= len(found):
            raise ValueError("its index is damaged")
        for _ in range(count + 1):
            found.append(found[-back])
    if len(found) != length:
        raise ValueError("its index is damaged")
    return bytes(found)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, least first, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has no end")


def _number(fields: Mapping[int, list[Any]], field: int) -> int:
    """The number in a field, 0 where there is none."""
    number = fields.get(field, [0])[-1]
    if not isinstance(number, int):
        raise ValueError("a variable's description is damaged")
    return number


def _fields(message: bytes | int) -> dict[int, list[Any]]:
    """The fields of a protocol buffer by number, each with all its values in order."""
    fields: dict[int, list[Any]] = {}
    if isinstance(message, int):
        raise ValueError("a variable's description is damaged")
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        value: int | bytes
        if kind == VARINT:
            value, at = _varint(message, at)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
            value, at = int.from_bytes(message[at : at + length], "little"), at + length
        elif kind == BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError("a variable's description is damaged")
        fields.setdefault(tag >> 3, []).append(value)
    if at != len(message):
        raise ValueError("a variable's description is cut short")
    return fields


def _crc_table() -> npt.NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


@compiled()
def _crc(data: npt.NDArray[np.uint8], table: npt.NDArray[np.uint32]) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for byte in data:
        crc = table[(crc ^ byte) & np.uint32(255)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def _masked(data: memoryview) -> int:
    """CRC-32C as TensorFlow stores it, which is turned and moved."""
    crc = int(_crc(np.frombuffer(data, np.uint8), _crc_table()))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
