"""Writes TensorFlow's checkpoints (format V2), as small and as odd as a test wants them."""

import io
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from d2eval.foundation.formats import tensorbundle

TYPES = {np.dtype("f4"): 1, np.dtype("f8"): 2, np.dtype("i4"): 3, np.dtype("i8"): 9}


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Entries that share what begins alike, one restart at the start."""
    found, last = b"", b""
    for key, value in entries:
        shared = next(
            (k for k, (a, b) in enumerate(zip(key, last, strict=False)) if a != b),
            min(len(key), len(last)),
        )
        found += varint(shared) + varint(len(key) - shared) + varint(len(value))
        found += key[shared:] + value
        last = key
    return found + struct.pack("<II", 0, 1)


def packed(data: bytes) -> bytes:
    """By Snappy's format: copies of four bytes and more, from 2047 bytes back at most."""
    found, at, plain = varint(len(data)), 0, b""

    def literal(some: bytes) -> bytes:
        if not some:
            return b""
        if len(some) <= 60:
            return bytes([len(some) - 1 << 2]) + some
        return bytes([61 << 2]) + struct.pack("<H", len(some) - 1) + some

    while at < len(data):
        next_four, end = data[at : at + 4], len(data)
        start = data.rfind(next_four, max(at - 2047, 0), at + 3) if len(next_four) == 4 else -1
        if 0 <= start < at:
            length = 4
            while at + length < end and length < 64 and data[start + length] == data[at + length]:
                length += 1
            found += literal(plain)
            plain, back = b"", at - start
            if length < 12:
                found += bytes([1 | length - 4 << 2 | back >> 8 << 5, back & 255])
            else:
                found += bytes([2 | length - 1 << 2]) + struct.pack("<H", back)
            at += length
        else:
            plain += data[at : at + 1]
            at += 1
    return found + literal(plain)


def table(entries: list[tuple[bytes, bytes]], a_block: int = 7, snappy: bool = False) -> bytes:
    """A table of sorted entries, so many a block."""
    found = b""

    def add(content: bytes) -> bytes:
        nonlocal found
        kind = b"\x00"
        if snappy:
            content, kind = packed(content), b"\x01"
        handle = varint(len(found)) + varint(len(content))
        checksum = tensorbundle._masked(memoryview(content + kind))
        found += content + kind + struct.pack("<I", checksum)
        return handle

    handles = []
    for at in range(0, len(entries), a_block):
        some = entries[at : at + a_block]
        handles.append((some[-1][0], add(block(some))))
    footer = add(block([])) + add(block(handles))
    return found + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def checkpoint(
    variables: Mapping[str, np.ndarray], shards: int = 1, snappy: bool = False
) -> dict[str, bytes]:
    """Its files by what comes after its name."""
    entries, data = [(b"", field(1, shards) + field(3, field(1, 1)))], [b""] * shards
    parts: list[list[bytes]] = [[] for _ in range(shards)]
    sizes = [0] * shards
    for k, (name, array) in enumerate(sorted(variables.items())):
        content, shard = np.ascontiguousarray(array).tobytes(), k % shards
        shape = b"".join(field(2, field(1, n)) for n in array.shape)
        entry = field(1, TYPES[array.dtype]) + field(2, shape)
        entry += field(3, shard) * bool(shard) + field(4, sizes[shard]) * bool(sizes[shard])
        entry += field(5, len(content))
        entry += varint(6 << 3 | 5) + struct.pack("<I", tensorbundle._masked(memoryview(content)))
        entries.append((name.encode(), entry))
        parts[shard].append(content)
        sizes[shard] += len(content)
    data = [b"".join(some) for some in parts]
    names = [f".data-{k:05d}-of-{shards:05d}" for k in range(shards)]
    return {".index": table(entries, snappy=snappy), **dict(zip(names, data, strict=True))}


def write_archive(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    """A tar archive of files by name."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
