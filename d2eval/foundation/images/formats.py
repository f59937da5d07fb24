"""Image files as their formats lay them out: which format, and whether a file is whole.

Pillow decodes, but passes over some of the damage that can be seen in a file: checksums of a PNG's
pixels, the last number of a text PPM, what lies past the end of a TIFF, and the codes of a JPEG.
"""

import struct
import zlib
from typing import Any, Literal

import numpy as np
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

Kind = Literal["PPM", "PNG", "JPEG", "BMP", "TIFF"]
WIDTH, LENGTH = 256, 257  # TIFF's tags


class UnturnedTiff(TiffImageFile):
    """A TIFF as its rows and columns are stored.

    Pillow would turn it by its orientation tag or by that of XMP, as it turns no other format.
    """

    def _open(self) -> None:
        super()._open()
        self._size = self.tag_v2[WIDTH], self.tag_v2[LENGTH]  # not swapped

    def load_end(self) -> None:
        """Leaves out what Pillow does here: it turns."""


# Those that d2eval reads. Pillow's own search would try some 40 more, and run Ghostscript on one.
READERS: dict[Kind, type[ImageFile.ImageFile]] = {
    "PPM": PpmImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "BMP": BmpImageFile,
    "TIFF": UnturnedTiff,
}
PREFIX = 8  # bytes that tell the format
_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    *((b"P" + digit, "PPM") for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
)
_PNG_HEADER = 8
_TEXT_NUMBERS = (b"P2", b"P3")
_TIFF_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8,
    18: 8,
}  # fmt: skip
_TIFF_INTEGERS = {3: "u2", 4: "u4", 16: "u8"}
_TIFF_PARTS = ((273, 279), (324, 325))  # where strips and tiles begin, and their bytes


def kind_of(data: bytes) -> Kind | None:
    """The format that the first bytes of a file tell, or None for one that isn't read."""
    return next((kind for prefix, kind in _PREFIXES if data.startswith(prefix)), None)


def check_whole(kind: Kind, data: bytes) -> str | None:
    """What is odd about a file, though its first image can be right, or None.

    Raises:
        ValueError: it is cut short or damaged. Not all damage can be seen.
    """
    if kind == "JPEG":
        from d2eval.foundation.images.jpegscan import check_jpeg  # brings numba

        return check_jpeg(data)
    if kind in ("PNG", "TIFF"):
        count = _check_png(data) if kind == "PNG" else _check_tiff(data)
        return "holds several images; the first is read" if count > 1 else None
    # A number of the raster has white space before and after it, says the format's description.
    if data[:2] in _TEXT_NUMBERS and not data[-1:].isspace():
        raise ValueError("no white space follows the last number, so that it may be cut short")
    return None


def _check_png(data: bytes) -> int:
    """Checks all chunks up to the end mark; gives the frames of an animation."""
    view, at, frames = memoryview(data), _PNG_HEADER, 1
    while True:
        if at + 12 > len(data):
            raise ValueError("cut short")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise ValueError("cut short")
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"the checksum of {kind.decode('latin-1')!r} doesn't fit")
        if kind == b"acTL" and length >= 4:
            frames = struct.unpack_from(">I", data, at + 8)[0]
        if kind == b"IEND":
            return max(1, frames)
        at = end + 4


def _check_tiff(data: bytes) -> int:
    """Checks that the first directory and its pixels lie within the file; 2 if others follow."""
    order = "<" if data[:1] == b"I" else ">"
    large = data[2:4] in (b"+\0", b"\0+")
    first, counted, entry, word = (8, "Q", "HHQ8s", "Q") if large else (4, "H", "HHI4s", "I")
    found: dict[int, np.ndarray[Any, Any]] = {}
    try:
        (at,) = struct.unpack_from(order + word, data, first)
        (count,) = struct.unpack_from(order + counted, data, at)
        at += struct.calcsize(order + counted)
        size = struct.calcsize(order + entry)
        if at + count * size > len(data):
            raise ValueError("cut short")
        for k in range(count):
            tag, kind, number, inside = struct.unpack_from(order + entry, data, at + k * size)
            length = number * _TIFF_SIZES.get(kind, 0)
            start = at + (k + 1) * size - len(inside)
            if length > len(inside):
                (start,) = struct.unpack(order + word, inside)
            if start + length > len(data):
                raise ValueError("cut short")
            if kind in _TIFF_INTEGERS:
                numbers = np.frombuffer(data, f"{order}{_TIFF_INTEGERS[kind]}", number, start)
                found[tag] = numbers.astype(np.uint64)
        (following,) = struct.unpack_from(order + word, data, at + count * size)
    except struct.error as error:
        raise ValueError("cut short") from error
    for starts, lengths in _TIFF_PARTS:
        if starts in found and lengths in found and len(found[starts]) == len(found[lengths]):
            ends = found[starts] + found[lengths]
            if (ends > len(data)).any() or (ends < found[starts]).any():
                raise ValueError("cut short")
    return 2 if following else 1
