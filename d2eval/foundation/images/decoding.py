"""Images from disk as RGB bytes, strictly: a file that is cut short is an error, never half grey.

Pillow decodes, as in the authors' extractor; EXIF orientation is ignored in every format, as all
three benchmarks demand. OpenCV is not used here because it returns a truncated JPEG as if it were
whole, and turns TIFFs whatever it is told.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile as PillowFile

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import LIMITS, PIXELS_VARIABLE
from d2eval.foundation.files.reading import open_bytes, read_bytes, require_file
from d2eval.foundation.images.depth import RgbImage as RgbImage
from d2eval.foundation.images.depth import UnreadableError, bits_of, describe_doubt, to_rgb
from d2eval.foundation.images.formats import PREFIX, READERS, Kind, check_whole, kind_of
from d2eval.foundation.terminal.console import note_once

SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm")
TICK_NS = 2_000_000_000
# What Pillow raises on bytes that aren't what they should be
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class _Opened:
    """An image that Pillow has opened and not decoded yet."""

    image: PillowFile
    kind: Kind
    odd: str | None  # what the user should know of the file


@contextlib.contextmanager
def _opened(path: Path, file: BinaryIO, whole: bool = True) -> Iterator[_Opened]:
    """Opens an image by its format; what goes wrong becomes one line.

    Beyond the header, the file is only checked if ``whole``.
    """
    head = file.read(PREFIX)
    kind = kind_of(head)
    if kind is None:
        if not head:
            raise D2EvalError(f"{path}: is empty; replace the file")
        known = ", ".join(READERS)
        raise D2EvalError(
            f"{path}: is not an image that can be read ({known}); replace or convert the file"
        )
    try:
        file.seek(0)
        # A TIFF's header may lie anywhere, and Pillow warns where it is cut short
        odd = check_whole(kind, file.read()) if whole or kind == "TIFF" else None
        file.seek(0)
        with READERS[kind](file) as image:
            width, height = image.size
            if width * height > LIMITS.image_pixels:
                raise D2EvalError(
                    f"{path}: is {width}x{height}, more than {LIMITS.image_pixels} pixels; make "
                    f"it smaller, or set {PIXELS_VARIABLE} higher if memory allows"
                )
            yield _Opened(image, kind, odd)
    except UnreadableError as error:
        raise D2EvalError(f"{path}: isn't read: {error}") from error
    except _DAMAGE as error:
        reason = reason_of(error)
        if isinstance(error, SyntaxError) and "unknown" in reason:
            raise D2EvalError(f"{path}: isn't read ({reason}); write 8-bit RGB or grey") from error
        raise D2EvalError(f"{path}: broken image ({reason}); replace the file") from error


class FileState(NamedTuple):
    """What changes when a file does."""

    size: int  # bytes
    inode: int
    mtime_ns: int
    ctime_ns: int  # copies keep the time of the content, but not this one

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Of a file that is there."""
        found = path.stat()
        return cls(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def is_settled(self) -> bool:
        """Whether a change from now on gets another time; file systems tick in up to 2 s."""
        return max(self.mtime_ns, self.ctime_ns) < time.time_ns() - TICK_NS


@dataclass(frozen=True)
class ImageFile:
    """The bytes of an image file and their SHA-256, read once for both hashing and decoding.

    ``state`` is that of the file before it was read; None where a later change may not show in it.
    """

    path: Path
    data: bytes
    sha256: str
    state: FileState | None = None

    def decode(self) -> RgbImage:
        """(H, W, 3) uint8 RGB; grey is repeated, alpha dropped, more than 8 bits scaled.

        An image that may have been read wrongly gets a note: one that is dark for its bits, has
        hardly any contrast, is the first of several in its file, or has odd compressed data.

        Raises:
            D2EvalError: no image, one that is cut short, damaged or too large, or one whose
                samples could mean anything.
        """
        with _opened(self.path, io.BytesIO(self.data)) as found:
            pixels = to_rgb(found.image, found.kind)
            bits = bits_of(found.image, found.kind, self.data)
        for words in (found.odd, describe_doubt(pixels, bits > 8)):
            if words is not None:
                note_once(f"{self.path}: {words}")
        return pixels


def load_image_file(path: Path) -> ImageFile:
    """Reads the bytes of ``path``.

    Raises:
        D2EvalError: the file is missing or can't be read.
    """
    require_file(path)
    state = FileState.of(path)
    settled = state.is_settled
    data = read_bytes(path)
    return ImageFile(path, data, hashlib.sha256(data).hexdigest(), state if settled else None)


def read_image(path: Path) -> RgbImage:
    """`load_image_file` and `ImageFile.decode` in one."""
    return load_image_file(path).decode()


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone.

    Raises:
        D2EvalError: the header can't be read, or is that of an image that is too large.
    """
    with open_bytes(path) as file, _opened(path, file, whole=False) as found:
        return found.image.size


def read_samples(path: Path, remedy: str) -> npt.NDArray[np.integer]:
    """(H, W) samples of a grey image as its file holds them, of 16 bits or more.

    ``remedy`` ends the message where it is another kind of image.

    Raises:
        D2EvalError: as `ImageFile.decode`, or it is no such image.
    """
    with open_bytes(path) as file, _opened(path, file) as found:
        if not found.image.mode.startswith("I"):
            raise D2EvalError(f"{path}: is not a 16-bit grey image {remedy}")
        return np.asarray(found.image)
