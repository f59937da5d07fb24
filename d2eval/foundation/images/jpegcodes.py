"""The codes of a JPEG's scan, gone through one by one; compiled. Source: ITU-T T.81, annexes F, G.

The reader's place is four numbers: the next byte, bits that were read, how many of these are left,
and how many of those left stand for bytes that aren't there, as a mark came before.
"""

from typing import Any

import numpy as np

from d2eval.foundation.arrays.compiled import compiled

FAST = 10  # bits of a code that are looked up at once
VALUES = 17 * 3  # where the values begin in a table of longer codes
WHOLE, SHORT, NO_CODE, TOO_FAR, WRONG_MARK = range(5)
SEQUENTIAL, DIRECT, DIRECT_AGAIN, OTHERS, OTHERS_AGAIN = range(5)  # kinds of scans


@compiled(nogil=True)
def _filled(data, place):  # type: ignore[no-untyped-def]
    """At least 49 bits left."""
    at, bits, left, absent = place
    while left <= 48:
        byte = np.int64(0)
        if absent or at >= len(data):
            absent += 8
        elif data[at] != 0xFF:
            byte = np.int64(data[at])
            at += 1
        elif at + 1 < len(data) and data[at + 1] == 0:
            byte = np.int64(0xFF)
            at += 2
        else:
            absent += 8
        bits = (bits & 0xFFFFFFFFFFFF) << 8 | byte
        left += 8
    return at, bits, left, absent


@compiled(nogil=True)
def _long_code(place, slow):  # type: ignore[no-untyped-def]
    at, bits, left, absent = place
    for length in range(FAST + 1, 17):
        past = (bits >> left - length & (1 << length) - 1) - slow[3 * length]
        if 0 <= past < slow[3 * length + 1]:
            value = np.int64(slow[VALUES + slow[3 * length + 2] + past])
            return value, (at, bits, left - length, absent)
    return np.int64(-1), place


@compiled(nogil=True)
def _code(data, place, fast, slow):  # type: ignore[no-untyped-def]
    """The next code's value, or -1; 16 bits or more are left then."""
    if place[2] < 32:
        place = _filled(data, place)
    at, bits, left, absent = place
    found = np.int64(fast[bits >> left - FAST & (1 << FAST) - 1])
    if found == 0:
        return _long_code(place, slow)
    return found & 255, (at, bits, left - (found >> 8), absent)


@compiled(nogil=True)
def _past(place, count):  # type: ignore[no-untyped-def]
    """The place after so many bits, at most 16 after a code."""
    at, bits, left, absent = place
    return at, bits, left - count, absent


@compiled(nogil=True)
def _taken(data, place, count):  # type: ignore[no-untyped-def]
    """A number of so many bits, at most 16."""
    if place[2] < count:
        place = _filled(data, place)
    at, bits, left, absent = place
    return bits >> left - count & (1 << count) - 1, (at, bits, left - count, absent)


@compiled(nogil=True)
def _to_mark(data, place):  # type: ignore[no-untyped-def]
    """Where the next mark is, and whether anything but padding lies before it."""
    at, bits, left, absent = place
    rest = max(left - absent, 0) // 8 * 8  # what is left of the last byte is padding
    value = bits >> absent & (1 << rest) - 1
    surplus = value != 0 and value != (1 << rest) - 1
    while at + 1 < len(data):
        if data[at] != 0xFF:
            surplus = surplus or data[at] != 0
        elif data[at + 1] != 0 and data[at + 1] != 0xFF:
            break
        at += 1
    return at, surplus


@compiled(nogil=True)
def go_through(  # type: ignore[no-untyped-def]
    data, at, blocks, fast, slow, units, restart, kind, first, last, known
) -> Any:
    """Goes through one scan.

    Args:
        data: (N,) uint8, the file.
        at: the scan's first byte.
        blocks: (C,) of each channel in a unit.
        fast: (2 C, 2^FAST) int32, of each channel the tables of first and other coefficients:
            length << 8 | value by a code's first bits, 0 where it is longer or doesn't exist.
        slow: (2 C, `VALUES` + 256) int32: by length the first code, how many there are and the
            place of the first one's value; then the values.
        units: of the scan.
        restart: units between restart marks; 0: none.
        kind: of the scan.
        first: coefficient of the scan.
        last: coefficient of the scan.
        known: (units,) uint64 with a bit for each coefficient that isn't 0; for `OTHERS` and
            `OTHERS_AGAIN`, changed in place.

    Returns:
        `WHOLE` or what is wrong, where the next mark is, and whether there was more than pixels.
    """
    zero = np.int64(0)
    place, run, surplus, one = (np.int64(at), zero, zero, zero), zero, False, np.uint64(1)
    for unit in range(units):
        if restart and unit and unit % restart == 0:
            at, more = _to_mark(data, place)
            surplus = surplus or more
            if at + 1 >= len(data) or data[at + 1] != 0xD0 + (unit // restart - 1) % 8:
                return WRONG_MARK, at, surplus
            place, run = (np.int64(at + 2), zero, zero, zero), zero
        for channel in range(len(blocks)):
            for _ in range(blocks[channel]):
                k = np.int64(first)
                if kind == DIRECT_AGAIN:
                    _, place = _taken(data, place, 1)
                    continue
                if kind in (SEQUENTIAL, DIRECT):
                    size, place = _code(data, place, fast[2 * channel], slow[2 * channel])
                    if size < 0 or size > 16:
                        return NO_CODE, place[0], surplus
                    place = _past(place, size)
                    if kind == DIRECT:
                        continue
                    k = np.int64(1)
                if kind == OTHERS and run:
                    run -= 1
                    continue
                table = 2 * channel + 1
                while k <= last and not run:
                    value, place = _code(data, place, fast[table], slow[table])
                    if value < 0:
                        return NO_CODE, place[0], surplus
                    zeros, size = value >> 4, value & 15
                    if size == 0 and zeros < 15:
                        if kind == SEQUENTIAL:
                            break
                        more_blocks, place = _taken(data, place, zeros)
                        run = (np.int64(1) << zeros) + more_blocks
                        break
                    if kind != OTHERS_AGAIN:
                        k += zeros
                        if size and k > last:
                            return TOO_FAR, place[0], surplus
                        place = _past(place, size)
                        if kind == OTHERS and size:
                            known[unit] |= one << np.uint64(k)
                        k += 1
                        continue
                    place = _past(place, size)  # a sign; a coefficient becomes 1 or -1
                    while k <= last:
                        if known[unit] >> np.uint64(k) & one:
                            _, place = _taken(data, place, 1)
                        elif zeros == 0:
                            break
                        else:
                            zeros -= 1
                        k += 1
                    if size:
                        if k > last:
                            return TOO_FAR, place[0], surplus
                        known[unit] |= one << np.uint64(k)
                    k += 1
                if run:
                    if kind == OTHERS_AGAIN:
                        while k <= last:
                            if known[unit] >> np.uint64(k) & one:
                                _, place = _taken(data, place, 1)
                            k += 1
                    run -= 1
        if place[2] < place[3]:
            return SHORT, place[0], surplus
    at, more = _to_mark(data, place)
    return WHOLE, at, surplus or more
