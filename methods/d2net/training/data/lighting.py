"""Random light and camera: the photometric changes of day and night, seasons and sensors."""

import cv2
import numpy as np

from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import (
    Color,
    Lamp,
    Lighting,
    Shadow,
    from_srgb8,
    photograph,
)

NIGHT = 0.25  # share of images lit by a lamp in the dark
SHADED = 0.5  # share of the others with a shadow
COMPRESSED = 0.5  # share stored as JPEG once more


def _color(rng: np.random.Generator, spread: float) -> Color:
    """Gains of the channels around one, of the given deviation in powers of e."""
    red, green, blue = np.exp(rng.normal(0.0, spread, 3))
    return float(red), float(green), float(blue)


def random_lighting(rng: np.random.Generator, strength: float = 1.0) -> Lighting:
    """One light and one exposure, by day or at night.

    Args:
        rng: random numbers.
        strength: 1 for light from noon to a lamp at night; smaller for rarer nights and milder
            changes by day, down to almost none at 0.
    """
    night = rng.random() < NIGHT * strength
    shadow = lamp = None
    ambient = _color(rng, 0.08 * strength)
    if night:
        dim = rng.uniform(0.05, 0.4)
        ambient = (ambient[0] * dim * 0.8, ambient[1] * dim * 0.9, ambient[2] * dim * 1.2)
        x, y = rng.uniform(-0.8, 0.8, 2)
        bright = rng.uniform(0.5, 2.5)
        color = (bright, bright * rng.uniform(0.6, 1.0), bright * rng.uniform(0.3, 0.9))
        lamp = Lamp((float(x), float(y)), rng.uniform(0.3, 1.0), color)
    elif rng.random() < SHADED * strength:
        dark = 1 - strength * rng.uniform(0.4, 0.85)
        penumbra = float(np.exp(rng.uniform(np.log(0.03), np.log(1.5))))
        shadow = Shadow(
            rng.uniform(0, 360), rng.uniform(-0.5, 0.5), penumbra, (dark, dark * 1.05, dark * 1.2)
        )
    stops = rng.uniform(-1.5, 0.5) if night else strength * rng.uniform(-2.0, 1.2)
    gain = np.exp(strength * rng.uniform(0.0, np.log(8.0 if night else 3.0)))
    return Lighting(
        ambient=ambient,
        shadow=shadow,
        lamp=lamp,
        stops=stops,
        balance=_color(rng, 0.08 * strength),
        gamma=float(np.exp(rng.normal(0.0, 0.2 * strength))),
        blur=strength * rng.uniform(0.0, 1.0),
        vignette=strength * rng.uniform(0.0, 0.5),
        sensor_gain=float(gain),
    )


def relight(image: RgbImage, rng: np.random.Generator, strength: float = 1.0) -> RgbImage:
    """Another picture of what ``image`` shows, (H, W, 3) uint8 RGB, as if taken at another time.

    Args:
        image: the scene under white light.
        rng: random numbers.
        strength: see `random_lighting`.
    """
    picture = photograph(from_srgb8(image), random_lighting(rng, strength), rng)
    if rng.random() < COMPRESSED * strength:
        quality = int(rng.integers(30, 96))
        _, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        picture = np.ascontiguousarray(decoded[:, :, ::-1])
    return picture
