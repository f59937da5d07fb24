"""Packs in a cache, as a reader that knows nothing of d2eval sees them."""

import struct
from pathlib import Path


def packed(folder: Path) -> int:
    """How many units lie in packs below a folder."""
    return sum(
        struct.unpack("<QQ32s", path.read_bytes()[-48:])[1] for path in folder.rglob("*.pack")
    )


def packed_names(folder: Path) -> set[str]:
    """Hashes of the names of units in packs below a folder."""
    names = set()
    for path in folder.rglob("*.pack"):
        data = path.read_bytes()
        begin, count, _ = struct.unpack("<QQ32s", data[-48:])
        names |= {data[begin + 80 * k : begin + 80 * k + 32].hex() for k in range(count)}
    return names


def damage_unit(pack: Path) -> None:
    """Changes a byte of the first unit of a pack, and nothing of its index."""
    data = bytearray(pack.read_bytes())
    data[60] ^= 1
    pack.write_bytes(data)
