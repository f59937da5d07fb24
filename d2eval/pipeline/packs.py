"""Packs: some hundred small units in one file, complete or absent, that nobody changes.

A pack holds the units' contents one after the other, then an index of 80 bytes for each (name,
place, length, SHA-256 of name and content), then where the index begins and the SHA-256 of it. Its
file is called by that, so two processes that make the same pack write the same file. All is read as
bytes, without a lock.
"""

import contextlib
import hashlib
import json
import math
import os
import struct
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.files.sealed import DamagedError
from d2eval.foundation.terminal.console import note

SUFFIX = ".pack"
GROUP = "group.json"  # beside them: what decides which units share the folder
HEAD = b"d2eval pack 1\n"
_ENTRY = struct.Struct("<32sQQ32s")  # SHA-256 of the name, begin, length, SHA-256 of both
_FOOT = struct.Struct("<QQ32s")  # begin of the index, number of entries, SHA-256 of the index
_SHORT = 16  # bytes of a name's hash that tell units apart
MOST_UNITS, MOST_BYTES = 512, 16 * 2**20  # of a pack
WAIT_S = 2.0  # after which units are written though they are few: a killed process loses no more
HELD = 4  # packs in memory, those read last
LOOK_S = 1.0  # between looks at what other processes have written


def _name_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _content_hash(name: bytes, content: bytes) -> bytes:
    return hashlib.sha256(name + content).digest()


def pack(units: dict[str, bytes]) -> bytes:
    """The file of units by name."""
    begin, index = len(HEAD), []
    for name, content in units.items():
        hashed = _name_hash(name)
        index.append(_ENTRY.pack(hashed, begin, len(content), _content_hash(hashed, content)))
        begin += len(content)
    entries = b"".join(index)
    foot = _FOOT.pack(begin, len(index), hashlib.sha256(entries).digest())
    return b"".join((HEAD, *units.values(), entries, foot))


def _index(data: bytes) -> bytes:
    """Entries of a pack's file.

    Raises:
        DamagedError: it is none, or not whole.
    """
    if not data.startswith(HEAD) or len(data) < len(HEAD) + _FOOT.size:
        raise DamagedError("its first bytes are not those of a pack")
    begin, count, sha256 = _FOOT.unpack(data[-_FOOT.size :])
    entries = data[begin : -_FOOT.size]
    if len(entries) != count * _ENTRY.size or hashlib.sha256(entries).digest() != sha256:
        raise DamagedError("the SHA-256 of its index is not that of what was written")
    return entries


def bytes_of(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    """Arrays of numbers by name: types and shapes as a line of JSON, and their data."""
    said = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    return b"".join((json.dumps(said).encode(), b"\n", *(a.tobytes() for a in arrays.values())))


def arrays_of(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """What `bytes_of` was given."""
    line, _, data = content.partition(b"\n")
    arrays, begin = {}, 0
    for name, dtype, shape in json.loads(line):
        count = math.prod(shape)
        found = np.frombuffer(data, dtype, count, begin) if count else np.zeros(0, dtype)
        arrays[name] = found.reshape(shape).copy()
        begin += found.nbytes
    return arrays


class Packs:
    """The packs in one folder, and the units that wait to be written. Several threads may use it.

    What other processes add is seen after a second.
    """

    def __init__(self, folder: Path, group: Any = None, wait_s: float = WAIT_S) -> None:
        self._folder, self._group, self._wait_s = folder, group, wait_s
        self._lock = threading.RLock()
        # By name the number of a unit: that of its pack times 2^16, and its number in that.
        self._places: dict[bytes, int] = {}
        self._older: dict[bytes, list[int]] = {}  # of units that are in several packs
        self._indices: list[tuple[Path, bytes]] = []
        self._known: set[str] = set()
        self._held: OrderedDict[Path, bytes] = OrderedDict()
        self._waiting: dict[str, bytes] = {}
        self._bytes = 0
        self._written = -wait_s  # when it was written last, so that the first unit goes at once
        self._looked, self._changed = -LOOK_S, 0

    def read(self, name: str) -> bytes | None:
        """The content of a unit; None if there is none that is whole."""
        with self._lock:
            if name in self._waiting:
                return self._waiting[name]
            hashed = _name_hash(name)
            short = hashed[:_SHORT]
            if short not in self._places:
                self._look()
            while (place := self._places.pop(short, None)) is not None:
                path, entries = self._indices[place >> 16]
                _, begin, length, sha256 = _ENTRY.unpack_from(
                    entries, (place & 0xFFFF) * _ENTRY.size
                )
                content = self._content(path)[begin : begin + length]
                if _content_hash(hashed, content) == sha256:
                    self._places[short] = place
                    return content
                note(f"{path}: damaged (SHA-256 of a unit); made again")
                if older := self._older.get(short):
                    self._places[short] = older.pop()
            return None

    def some(self) -> list[bytes]:
        """Contents of the units in the pack that came last, of those that are whole."""
        with self._lock:
            self._look()
            if not self._indices:
                return []
            path, entries = self._indices[-1]
            data = self._content(path)
            return [
                data[begin : begin + length]
                for name, begin, length, sha256 in _ENTRY.iter_unpack(entries)
                if _content_hash(name, data[begin : begin + length]) == sha256
            ]

    def write(self, name: str, content: bytes) -> None:
        """Keeps a unit, which is on the disk after ``wait_s`` seconds, or after `flush`.

        Raises:
            D2EvalError: the disk is full or the folder can't be written.
        """
        with self._lock:
            self._waiting[name] = content
            self._bytes += len(content)
            full = len(self._waiting) >= MOST_UNITS or self._bytes >= MOST_BYTES
            if full or time.monotonic() - self._written > self._wait_s:
                self.flush()

    def flush(self) -> None:
        """Writes what waits; raises as `write`."""
        with self._lock:
            if not self._waiting:
                return
            data = pack(self._waiting)
            path = self._folder / f"{data[-32:].hex()[:32]}{SUFFIX}"
            write_bytes(path, data, by_content=True)
            if self._group is not None and not (self._folder / GROUP).exists():
                said = f"{json.dumps(self._group)}\n".encode()
                write_bytes(self._folder / GROUP, said, by_content=True)
            self._add(path, data)
            self._waiting, self._bytes = {}, 0
            self._written = time.monotonic()

    def look_again(self) -> None:
        """Sees at the next read what others have written since."""
        with self._lock:
            self._looked, self._changed = -LOOK_S, 0

    def _look(self) -> None:
        """Reads the index of packs that have come since."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed == self._changed:
                return
            names = os.listdir(self._folder)  # noqa: PTH208 - 10^4 of them at each look
            found = {name for name in names if name.endswith(SUFFIX)} - self._known
            new = [self._folder / name for name in found]
            new.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        except OSError:  # there is none, or a pack has gone meanwhile
            return
        self._changed = changed
        for path in new:
            self._known.add(path.name)
            data = self._content(path)
            try:
                if data:
                    self._add(path, data)
            except DamagedError as error:
                note(f"{path}: damaged ({error}); made again")
                with contextlib.suppress(OSError):
                    path.unlink()  # nothing in it can be found

    def _add(self, path: Path, data: bytes) -> None:
        entries, number = _index(data), len(self._indices) << 16
        self._indices.append((path, entries))
        for k, begin in enumerate(range(0, len(entries), _ENTRY.size)):
            short = entries[begin : begin + _SHORT]
            if short in self._places:
                self._older.setdefault(short, []).append(self._places[short])
            self._places[short] = number + k
        self._known.add(path.name)

    def _content(self, path: Path) -> bytes:
        """The bytes of a pack, empty if it can't be read."""
        if path not in self._held:
            try:
                self._held[path] = read_bytes(path)
            except D2EvalError:
                return b""
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(path)
        return self._held[path]
