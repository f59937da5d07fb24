"""Light and camera, as pure functions of images in linear light.

An image here is (H, W, 3) float32 RGB in linear light: 0 is black and 1 where the sensor
saturates. Values above 1 are kept until `to_srgb8` clips them, so the order of the steps is that
of the world: light falls on the scene, the lens blurs and darkens its corners, the sensor exposes
and adds noise, the camera renders colour and tone. Places in the image are in units of half its
diagonal, origin at the centre, x right, y down, so that a setting means the same at every size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from d2eval.foundation.images.decoding import RgbImage

Float32Array = npt.NDArray[np.float32]
Color = tuple[float, float, float]

WHITE: Color = (1.0, 1.0, 1.0)

# Noise of a small daylight sensor at base gain: about one and a half grey levels in mid-tones.
READ_NOISE = 3e-4
SHOT_NOISE = 1.5e-4


@dataclass(frozen=True)
class Shadow:
    """A straight shadow edge, or with a wide penumbra a gradient."""

    direction_deg: float  # from the light into the shade; 0 is right, 90 is down
    offset: float  # of the edge from the centre along the direction
    penumbra: float  # width of the transition
    color: Color  # what is left of the light in the shade; bluish under an open sky


@dataclass(frozen=True)
class Lamp:
    """A small lamp before the scene, taken as a plane."""

    position: tuple[float, float]  # (x, y) of the point it is nearest to, where it is brightest
    height: float  # its distance from the plane; a low lamp makes a small, steep pool of light
    color: Color  # what it adds at its brightest, in units of the ambient light's white


@dataclass(frozen=True)
class Lighting:
    """One light and one exposure of a scene; the default leaves it as it is but for the noise."""

    ambient: Color = WHITE  # the light that falls evenly
    shadow: Shadow | None = None  # takes from the ambient light
    lamp: Lamp | None = None  # adds to it
    stops: float = 0.0  # exposure, in powers of two
    balance: Color = WHITE  # gain of the camera's channels: white balance that misses
    gamma: float = 1.0  # tone curve; above 1 darkens mid-tones
    blur: float = 0.0  # sigma of the lens and the hand, in pixels
    vignette: float = 0.0  # see `vignette`
    sensor_gain: float = 1.0  # see `add_sensor_noise`


def from_srgb8(image: RgbImage) -> Float32Array:
    """Decodes sRGB bytes to linear light (IEC 61966-2-1)."""
    codes = np.arange(256) / 255.0
    linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[image]


def to_srgb8(image: Float32Array) -> RgbImage:
    """Clips to [0, 1] and encodes as sRGB bytes."""
    linear = np.clip(image, 0.0, 1.0)
    codes = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(codes * 255.0).astype(np.uint8)


def _places(image: Float32Array) -> tuple[Float32Array, Float32Array]:
    height, width = image.shape[:2]
    unit = np.hypot(width, height) / 2
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / unit
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / unit
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


def scale_channels(image: Float32Array, color: Color) -> Float32Array:
    """Multiplies each channel: the colour of the light, or a white balance."""
    return image * np.array(color, np.float32)


def cast_shadow(image: Float32Array, shadow: Shadow) -> Float32Array:
    """Multiplies the shaded side by the shadow's colour."""
    x, y = _places(image)
    angle = np.deg2rad(shadow.direction_deg)
    depth = (np.cos(angle) * x + np.sin(angle) * y - shadow.offset) / shadow.penumbra
    step = np.clip(depth + 0.5, 0.0, 1.0)
    shade = (step * step * (3 - 2 * step))[..., None]
    return (image * (1 + shade * (np.array(shadow.color) - 1))).astype(np.float32)


def add_lamp(lit: Float32Array, scene: Float32Array, lamp: Lamp) -> Float32Array:
    """Adds a lamp's light on ``scene`` (the scene under white light) to ``lit``.

    The light on a plane falls off with the square of the distance and with the angle at which it
    arrives: (1 + r^2 / h^2)^-3/2 at r from the nearest point.
    """
    x, y = _places(scene)
    squared = (x - lamp.position[0]) ** 2 + (y - lamp.position[1]) ** 2
    falloff = (1 + squared / lamp.height**2) ** -1.5
    return (lit + scene * falloff[..., None] * np.array(lamp.color)).astype(np.float32)


def vignette(image: Float32Array, strength: float) -> Float32Array:
    """Darkens towards the corners by the cosine-fourth law.

    ``strength`` is the squared tangent of the view angle at the corner: 0 for none, 1 for a 90
    degree lens, whose corners get a quarter of the light.
    """
    x, y = _places(image)
    falloff = (1 + strength * (x**2 + y**2)) ** -2
    return image * falloff[..., None].astype(np.float32)


def blur(image: Float32Array, sigma: float) -> Float32Array:
    """Gaussian blur; sigma in pixels, 0 for none."""
    if sigma == 0:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def expose(image: Float32Array, stops: float) -> Float32Array:
    """Multiplies by 2^stops."""
    return image * np.float32(2.0**stops)


def add_sensor_noise(
    image: Float32Array, rng: np.random.Generator, gain: float = 1.0
) -> Float32Array:
    """Adds photon noise, whose variance grows with the light, and read noise.

    ``gain`` is the sensor's ISO over its base ISO: the image took a gain-th of the light and was
    amplified.
    """
    variance = (READ_NOISE * gain) ** 2 + SHOT_NOISE * gain * np.maximum(image, 0.0)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return (image + np.sqrt(variance) * noise).astype(np.float32)


def apply_gamma(image: Float32Array, gamma: float) -> Float32Array:
    """Raises to ``gamma``; what lies under 0 after the noise becomes 0."""
    return np.maximum(image, 0.0) ** np.float32(gamma)


def photograph(scene: Float32Array, lighting: Lighting, rng: np.random.Generator) -> RgbImage:
    """Lights ``scene`` (as seen under white light) and takes its picture."""
    lit = scale_channels(scene, lighting.ambient)
    if lighting.shadow is not None:
        lit = cast_shadow(lit, lighting.shadow)
    if lighting.lamp is not None:
        lit = add_lamp(lit, scene, lighting.lamp)
    seen = vignette(blur(lit, lighting.blur), lighting.vignette)
    exposed = expose(seen, lighting.stops)
    developed = scale_channels(
        add_sensor_noise(exposed, rng, lighting.sensor_gain), lighting.balance
    )
    return to_srgb8(apply_gamma(developed, lighting.gamma))
