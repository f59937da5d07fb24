"""Decoded images of any depth as 8 bits per channel, scaled by what their format says.

Of 16 bits the high byte stays, in grey and in colour, as OpenCV has it. Colours of a PPM are the
exception: Pillow rounds them to the nearest of 256 values, so that they may be one higher.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from d2eval.foundation.images.formats import Kind

RgbImage = npt.NDArray[np.uint8]

# Pillow's modes of 8 bits or fewer per channel, to which it brings colours of 16 itself.
PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
STRIP_PIXELS = 2**20  # that are turned at a time, so that no second copy of an image is held
ROUNDING = 1e-6  # by which a float may lie outside
LITTLE_CONTRAST, DARK = 16, 64  # of 256 values
SPARSE = 16  # each so many rows and columns are looked at first
BITS, WHITE_IS_ZERO, PHOTOMETRIC, SIGN, LEAST, MOST = 258, 0, 262, 339, 340, 341  # TIFF's tags

PNG_BITS_AT = 24  # in its header


class UnreadableError(ValueError):
    """Whole, but of a kind that isn't read; the message ends with what to do."""


@dataclass(frozen=True)
class _Scale:
    """What black and white are in the samples of a grey image."""

    black: float
    white: float
    integers: bool

    def apply(self, samples: npt.NDArray[np.generic]) -> RgbImage:
        """(H, W) uint8; of integers the high byte of as many bits as the range has."""
        if self.integers:
            values, low, high = samples.astype(np.int64), int(self.black), int(self.white)
            if high < low:
                values, low, high = -values, -low, -high
            return ((values - low) * 256 // (high - low + 1)).clip(0, 255).astype(np.uint8)
        shares = (samples.astype(np.float64) - self.black) / (self.white - self.black)
        if not ((shares >= -ROUNDING) & (shares <= 1 + ROUNDING)).all():
            raise UnreadableError(
                f"floats that are not all in {min(self.black, self.white):g}.."
                f"{max(self.black, self.white):g}; scale them to 0..1, or write 8 bits"
            )
        return np.rint(shares * 255).clip(0, 255).astype(np.uint8)


def to_rgb(image: ImageFile.ImageFile, kind: Kind) -> RgbImage:
    """(H, W, 3) uint8 of an opened file; grey is repeated, alpha dropped.

    Raises:
        UnreadableError: nothing says which of its samples are black and white.
    """
    scale = _scale_of(image, kind)
    image.load()
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip: Image.Image = image.crop((0, top, width, bottom))
        if scale is not None:
            pixels[top:bottom] = scale.apply(np.asarray(strip))[..., None]
            continue
        if strip.mode == "La":  # grey that is multiplied by its alpha
            strip = strip.convert("LA")
        pixels[top:bottom] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _scale_of(image: ImageFile.ImageFile, kind: Kind) -> _Scale | None:
    """How samples of more than 8 bits are scaled; None where Pillow gives 8."""
    tags = getattr(image, "tag_v2", {})
    least, most = (_number(tags.get(tag)) for tag in (LEAST, MOST))
    told = least is not None or most is not None
    bits, signed = int(max(_numbers(tags.get(BITS, 8)))), 2 in _numbers(tags.get(SIGN, 1))
    if image.mode in (*PLAIN, "La"):
        if signed:
            raise UnreadableError("signed samples; write unsigned ones")
        if told and bits > 8 and (least or 0, most) != (0, 2**bits - 1):
            raise UnreadableError("colours of 16 bits with a range of their own; write 8 bits")
        return None
    if image.mode == "F":
        black, white = least if least is not None else 0.0, most if most is not None else 1.0
    elif image.mode.startswith("I"):
        if kind != "TIFF":
            bits = 16  # of PNG's samples, and to which Pillow scales PPM's
        elif not told and (bits > 16 or signed):
            raise UnreadableError(
                f"whole numbers of {bits} bits without SMaxSampleValue, which says what is white; "
                "write 8 or 16 bits"
            )
        black, white = least or 0, most if most is not None else 2**bits - 1
    else:
        raise UnreadableError(f"mode {image.mode}; write 8-bit RGB")
    if not black < white:
        raise UnreadableError(f"samples from {black:g} to {white:g}; mend SMinSampleValue")
    if kind == "TIFF" and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        black, white = white, black
    return _Scale(black, white, image.mode != "F")


def _numbers(value: object) -> tuple[float, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(float(v) for v in values if isinstance(v, int | float)) or (0.0,)


def _number(value: object) -> float | None:
    """The number of a tag that has one for each channel, which must be the same."""
    if value is None:
        return None
    values = set(_numbers(value))
    if len(values) > 1:
        raise UnreadableError("channels of different ranges; write 8 bits")
    return values.pop()


def bits_of(image: ImageFile.ImageFile, kind: Kind, data: bytes) -> int:
    """How many bits a channel of an opened file has."""
    if kind == "PNG":
        return data[PNG_BITS_AT]
    return int(max(_numbers(getattr(image, "tag_v2", {}).get(BITS, 8))))


def describe_doubt(pixels: RgbImage, deep: bool) -> str | None:
    """What makes a decoded image look as if it were read wrongly, or None.

    ``deep`` says that its file has more than 8 bits per channel.
    """
    sparse = pixels[::SPARSE, ::SPARSE]
    dark = deep and sparse.max(initial=0) < DARK and pixels.max(initial=0) < DARK
    if dark:
        return (
            f"is dark: none of its values is above {pixels.max(initial=0)} of 255; if its samples "
            "have fewer bits than its file, scale them"
        )
    if _contrast(sparse) >= LITTLE_CONTRAST or (found := _contrast(pixels)) >= LITTLE_CONTRAST:
        return None
    if found == 0:
        return "has no contrast: all pixels are equal"
    return f"has hardly any contrast: values differ by {found} of 255"


def _contrast(pixels: RgbImage) -> int:
    """The largest difference of two values of one channel."""
    if not pixels.size:
        return 0
    high, low = pixels.max(axis=0).max(axis=0), pixels.min(axis=0).min(axis=0)  # rows first: faster
    return int((high.astype(int) - low).max())
