"""Whether the compressed pixels of a JPEG are whole, by going through all of their codes.

A JPEG has no checksums, and decoders fill what they can't read with grey or noise without a word.
What can be seen: codes that don't exist, coefficients past a block's end, restart marks out of
turn, and pixels that end before the image does, or after it. Source: ITU-T T.81.
"""

import math
import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from d2eval.foundation.images import jpegcodes as codes

IntArray = npt.NDArray[np.int32]

SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames of Huffman codes; others aren't looked at
TABLES, RESTART, SCAN, END = 0xC4, 0xDD, 0xDA, 0xD9
ALONE = (0x01, *range(0xD0, 0xD9))  # marks without a length
BLOCK = 64
_WORDS = {
    codes.SHORT: "pixels are missing",
    codes.NO_CODE: "damaged pixels: a code that doesn't exist",
    codes.TOO_FAR: "damaged pixels: a block of more than 64 coefficients",
    codes.WRONG_MARK: "damaged pixels: a restart mark is missing",
}


class DamagedError(ValueError):
    """The compressed pixels are damaged or cut short."""


@dataclass
class _Component:
    """A channel: its sampling and size, and what its scans brought so far."""

    across: int  # samples of a unit, in blocks
    down: int  # likewise
    blocks: int  # in a scan of its own
    # (blocks,) one bit for each coefficient that isn't 0; for progressive files
    known: npt.NDArray[np.uint64]
    missing: npt.NDArray[np.int8]  # (64,) bits of each coefficient that later scans bring


@dataclass
class _Frame:
    """What stands before the scans."""

    progressive: bool = False
    restart: int = 0
    units: int = 0  # of a scan of several channels
    components: dict[int, _Component] = field(default_factory=dict)
    tables: dict[int, tuple[IntArray, IntArray]] = field(default_factory=dict)


def check_jpeg(data: bytes) -> str | None:
    """Goes through a JPEG; what looks odd in it, though its pixels can be right, or None.

    Files of other codes than Huffman's aren't looked at.

    Raises:
        DamagedError: it is damaged or cut short.
    """
    frame, at, odd = _Frame(), 2, None
    numbers = np.frombuffer(data, np.uint8)
    try:
        while True:
            at = data.index(b"\xff", at)
            while data[at] == 0xFF:
                at += 1
            mark, start = data[at], at + 1
            if mark == END:
                break
            if mark in ALONE or mark == 0:
                at = start
                continue
            (length,) = struct.unpack_from(">H", data, start)
            content, at = data[start + 2 : start + length], start + length
            if mark == TABLES:
                _read_tables(content, frame)
            elif mark == RESTART:
                (frame.restart,) = struct.unpack_from(">H", content)
            elif mark in (*SEQUENTIAL, PROGRESSIVE):
                _read_frame(content, frame, mark == PROGRESSIVE)
            elif mark == SCAN:
                if not frame.components:  # of other codes, or its height comes later
                    return None
                at, surplus = _check_scan(content, frame, numbers, at)
                odd = "has more compressed data than pixels" if surplus else odd
    except DamagedError:
        raise
    except (struct.error, LookupError, ValueError) as error:
        raise DamagedError("cut short, or damaged between its parts") from error
    if any(component.missing.any() for component in frame.components.values()):
        odd = "lacks the finest of its pixels' values"
    return odd


def _read_tables(content: bytes, frame: _Frame) -> None:
    """Huffman tables: values of codes of up to `codes.FAST` bits, and how longer ones are found.

    A value is looked up as length << 8 | value; 0 stands for none. For each length there are the
    first code, how many there are, and where their values begin.
    """
    at = 0
    while at < len(content):
        name, counts = content[at], content[at + 1 : at + 17]
        values = content[at + 17 : at + 17 + sum(counts)]
        if len(counts) < 16 or len(values) < sum(counts):
            raise ValueError("a table is cut short")
        fast, slow = np.zeros(1 << codes.FAST, np.int32), np.zeros(codes.VALUES + 256, np.int32)
        code = index = 0
        for length, count in enumerate(counts, 1):
            slow[3 * length : 3 * length + 3] = code, count, index
            for value in values[index : index + count]:
                if length <= codes.FAST:
                    first = code << codes.FAST - length
                    fast[first : first + (1 << codes.FAST - length)] = length << 8 | value
                code += 1
            index += count
            code <<= 1
        slow[codes.VALUES : codes.VALUES + len(values)] = np.frombuffer(values, np.uint8)
        frame.tables[name] = fast, slow
        at += 17 + len(values)


def _read_frame(content: bytes, frame: _Frame, progressive: bool) -> None:
    _, height, width, count = struct.unpack_from(">BHHB", content)
    parts = [content[6 + 3 * k : 9 + 3 * k] for k in range(count)]
    most_across = max(part[1] >> 4 for part in parts)
    most_down = max(part[1] & 15 for part in parts)
    if not all(part[1] >> 4 and part[1] & 15 for part in parts):
        raise ValueError("a channel without samples")
    frame.progressive, frame.components = progressive, {}
    frame.units = math.ceil(width / (8 * most_across)) * math.ceil(height / (8 * most_down))
    for part in parts if height and width else ():
        across, down = part[1] >> 4, part[1] & 15
        samples = math.ceil(width * across / most_across), math.ceil(height * down / most_down)
        blocks = math.ceil(samples[0] / 8) * math.ceil(samples[1] / 8)
        known = np.zeros(blocks if progressive else 0, np.uint64)
        missing = np.full(BLOCK, progressive, np.int8)
        frame.components[part[0]] = _Component(across, down, blocks, known, missing)


def _check_scan(
    content: bytes, frame: _Frame, data: npt.NDArray[np.uint8], at: int
) -> tuple[int, bool]:
    """Where the scan ends that begins at a byte, and whether it has more than its pixels."""
    count = content[0]
    parts = [frame.components[content[1 + 2 * k]] for k in range(count)]
    names = [content[2 + 2 * k] for k in range(count)]
    first, last, bits = content[1 + 2 * count : 4 + 2 * count]
    before, after = bits >> 4, bits & 15
    kind = codes.SEQUENTIAL
    if not frame.progressive:
        first, last, after = 0, BLOCK - 1, 0
    elif first == 0:
        kind = codes.DIRECT_AGAIN if before else codes.DIRECT
    else:
        kind = codes.OTHERS_AGAIN if before else codes.OTHERS
    if not first <= last < BLOCK or (frame.progressive and first == 0 < last):
        raise ValueError("a scan of coefficients that don't exist")
    if not count or (count > 1 and first):
        raise ValueError("a scan of channels that don't go together")
    blocks = [part.across * part.down if count > 1 else 1 for part in parts]
    nothing = np.zeros(1 << codes.FAST, np.int32), np.zeros(codes.VALUES + 256, np.int32)
    # Tables of first coefficients are numbered from 0, of the others from 16
    numbers = [number for name in names for number in (name >> 4, 16 + (name & 15))]
    tables = [frame.tables.get(number, nothing) for number in numbers]
    result, at, surplus = codes.go_through(
        data, at, np.array(blocks), np.stack([fast for fast, _ in tables]),
        np.stack([slow for _, slow in tables]), frame.units if count > 1 else parts[0].blocks,
        frame.restart, kind, first, last, parts[0].known,
    )  # fmt: skip
    if result != codes.WHOLE:
        raise DamagedError(_WORDS[result])
    for part in parts:
        part.missing[first : last + 1] = after
    return at, surplus
