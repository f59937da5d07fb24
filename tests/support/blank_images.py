"""Images of one colour in place of those of a dataset."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def make_blank(paths: Sequence[Path]) -> None:
    """Writes images of one colour over these, of the same sizes."""
    for path in paths:
        with Image.open(path) as image:
            size = image.size
        Image.new("RGB", size, (90, 90, 90)).save(path)


def assert_told(error: str, paths: Sequence[Path]) -> None:
    """What a run says of each on standard error."""
    for path in paths:
        assert f"note: {path}: has no contrast: all pixels are equal\n" in error
        assert f"note: {path}: no features\n" in error
