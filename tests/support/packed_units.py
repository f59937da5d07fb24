"""Packs in a cache, as a reader that knows nothing of d2eval sees them."""

import struct
from pathlib import Path


def packed(folder: Path) -> int:
    """How many units lie in packs below a folder."""
    return sum(
        struct.unpack("<QQ32s", path.read_bytes()[-48:])[1] for path in folder.rglob("*.pack")
    )


def damage_unit(pack: Path) -> None:
    """Changes a byte of the first unit of a pack, and nothing of its index."""
    data = bytearray(pack.read_bytes())
    data[60] ^= 1
    pack.write_bytes(data)
