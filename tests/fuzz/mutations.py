"""What happens to files: damage, cuts, joined halves, and numbers and names beyond reason."""

import random
import re
import struct
from collections.abc import Sequence

WORDS = [
    b"nan", b"inf", b"-1", b"0", b"1e400", b"-1e-400", b"1e300", b"18446744073709551616",
    b"9" * 4301, b"-" + b"9" * 4301, b"1_0", b"0x10", "\u0663".encode(), b"..", b"/", b"../a.jpg",
    b"/etc/passwd", b"\0", b"\r", b"\n", b"\r\n", b"\t", b"#", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\x1b[31m", b'"', b"'", b",", b"[" * 100_000, b"{" * 2000,
    b'{"a":' * 50_000, b"a" * 2**21, b"True", b"null", b"None", b"[]", b"{}",
]  # fmt: skip
INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 2**64 - 1, 2**40, 255, 65_536]
_TOKEN = re.compile(rb"[^\s,]+")


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of ``seeds`` with one to four changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        data = bytearray(rng.choice(CHANGES)(data, seeds, rng))
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randint(0, len(data))


def _flip(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _overwrite(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 16, 512))
    data[at : at + size] = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))
    return data


def _cut(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _delete(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 100, 5000))]
    return data


def _repeat(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    first, last = sorted((_place(data, rng), _place(data, rng)))
    return data[:last] + data[first:last][:10_000] * rng.choice((1, 1, 2, 50)) + data[last:]


def _insert(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(WORDS) + data[at:]


def _splice(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    other = bytearray(rng.choice(seeds))
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _exchange(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """A word for another one, or for one beyond reason."""
    found = list(_TOKEN.finditer(bytes(data[:100_000])))
    if not found:
        return data
    old, new = rng.choice(found), rng.choice(found)
    word = rng.choice((rng.choice(WORDS), new.group()))
    return data[: old.start()] + word + data[old.end() :]


def _integer(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    kind = rng.choice(("<I", "<Q", ">I", "<H", ">H"))
    size = struct.calcsize(kind)
    packed = struct.pack(kind, rng.choice(INTEGERS) % 2 ** (8 * size))
    at = _place(data, rng)
    data[at : at + size] = packed
    return data


def _encode(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """As another editor saves text."""
    text = bytes(data).decode("utf-8", "replace")
    encoding = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"))
    ends = rng.choice(("\n", "\r", "\r\n"))
    return text.replace("\n", ends).encode(encoding, "replace")


CHANGES = (
    _flip, _flip, _overwrite, _cut, _delete, _repeat, _insert, _splice, _exchange, _exchange,
    _integer, _encode,
)  # fmt: skip
