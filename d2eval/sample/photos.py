"""The photos that every embedded data set is made of, and how its own are written."""

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.files.folders import build_once
from d2eval.foundation.images.decoding import ImageFile, RgbImage, load_image_file

JPEG_QUALITY = 95


def load_photo(name: str) -> ImageFile:
    """Reads ``benchmarks/sample/photos/<name>.jpg``; its terms are in SOURCES.md beside it.

    Raises:
        D2EvalError: no such photo, or it can't be read.
    """
    folder = bundled("benchmarks") / "sample" / "photos"
    return load_image_file(folder / f"{name}.jpg")


def encoded(image: RgbImage, kind: str = "JPEG") -> bytes:
    """An image as a file of one of Pillow's formats."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=JPEG_QUALITY)
    return buffer.getvalue()


def build_sample(
    cache: Path,
    name: str,
    recipe: object,
    photos: Iterable[ImageFile],
    build: Callable[[Path], None],
) -> Path:
    """The folder ``sample/<name>-<hash>`` in the cache, which ``build`` fills on first use.

    The hash is that of the ``repr`` of the recipe, and of the photos.

    Raises:
        D2EvalError: it can't be written.
    """
    decisive = "\n".join([repr(recipe), *(photo.sha256 for photo in photos)])
    digest = hashlib.sha256(decisive.encode()).hexdigest()[:12]
    return build_once(cache / "sample" / f"{name}-{digest}", build)
