"""Images from disk as RGB bytes, strictly: a file that is cut short is an error, never half grey.

Pillow decodes, as in the authors' extractor; EXIF orientation is ignored, as all three benchmarks
demand. OpenCV is not used here because it returns a truncated JPEG as if it were whole.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from d2eval.errors import D2EvalError

RgbImage = npt.NDArray[np.uint8]

SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm")


@dataclass(frozen=True)
class ImageFile:
    """The bytes of an image file and their SHA-256, read once for both hashing and decoding."""

    path: Path
    data: bytes
    sha256: str

    def decode(self) -> RgbImage:
        """(H, W, 3) uint8 RGB; grey is repeated, alpha dropped, 16 bits cut to the high byte.

        Raises:
            D2EvalError: no image, or one that is cut short.
        """
        try:
            with Image.open(io.BytesIO(self.data)) as image:
                if image.mode.startswith("I"):  # 16-bit grey
                    deep = np.asarray(image).astype(np.int64)
                    return np.repeat((deep >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
                return np.array(image.convert("RGB"))
        except UnidentifiedImageError as error:
            what = "is empty" if not self.data else "is not an image that can be read"
            raise D2EvalError(f"{self.path}: {what}; replace the file") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise D2EvalError(f"{self.path}: broken image ({error}); replace the file") from error


def load_image_file(path: Path) -> ImageFile:
    """Reads the bytes of ``path``.

    Raises:
        D2EvalError: the file is missing or can't be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise D2EvalError(f"{path}: can't be read ({error.strerror})") from error
    return ImageFile(path, data, hashlib.sha256(data).hexdigest())


def read_image(path: Path) -> RgbImage:
    """`load_image_file` and `ImageFile.decode` in one."""
    return load_image_file(path).decode()


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone.

    Raises:
        D2EvalError: the header can't be read.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise D2EvalError(f"{path}: not an image that can be read; replace the file") from error
