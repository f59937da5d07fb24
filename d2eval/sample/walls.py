"""Painted walls: what the rendered scenes are built of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from d2eval.contracts.features import Float32Array
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import Color, from_srgb8
from d2eval.sample.scene import Point, Rectangle

PLASTER = 0.12  # albedo where the paint is black, so that its grain shows there too
GRAIN_POWER = 0.6  # softens the grain's contrast
GRAIN_RANGE = (0.5, 1.6)  # the grain multiplies the paint by no less and no more


@dataclass(frozen=True)
class Paint:
    """What a wall's texture is made of.

    The photo alone leaves plain parts, where no feature is found, so it is painted on a rough
    ground: a crop of another photo, whose local contrast it takes.
    """

    photo: str  # name of the photo
    crop: tuple[int, int, int, int]  # left, top, right, bottom in its pixels
    grain: str  # name of the photo of the ground
    grain_crop: tuple[int, int, int, int]  # of that photo; it is stretched over the wall
    # turns the photo into another one: neither SIFT nor D2 matches mirror images
    mirrored: bool = False
    tint: Color = (1.0, 1.0, 1.0)  # colour of a grey photo


@dataclass(frozen=True)
class Wall:
    """A painted rectangle; corner and edges as in `Rectangle`."""

    corner: Point
    edge_u: Point
    edge_v: Point
    paint: Paint


def name_photos(walls: Iterable[Wall]) -> tuple[str, ...]:
    """The photos that ``walls`` are painted with, sorted."""
    return tuple(sorted({name for w in walls for name in (w.paint.photo, w.paint.grain)}))


def paint_walls(walls: Iterable[Wall], photos: Mapping[str, RgbImage]) -> tuple[Rectangle, ...]:
    """The walls with their textures."""
    linear = {name: from_srgb8(photo) for name, photo in photos.items()}
    return tuple(
        Rectangle(wall.corner, wall.edge_u, wall.edge_v, _paint(wall.paint, linear))
        for wall in walls
    )


def _paint(paint: Paint, photos: Mapping[str, Float32Array]) -> Float32Array:
    picture = _crop(photos[paint.photo], paint.crop)
    if paint.mirrored:
        picture = picture[:, ::-1]
    height, width = picture.shape[:2]
    ground = _crop(photos[paint.grain], paint.grain_crop).mean(axis=2)
    ground = cv2.resize(ground, (width, height), interpolation=cv2.INTER_LINEAR)
    grain = (ground / cv2.GaussianBlur(ground, (0, 0), 12.0)) ** GRAIN_POWER
    lit = (PLASTER + (1 - PLASTER) * picture) * np.array(paint.tint, np.float32)
    return np.asarray(lit * np.clip(grain, *GRAIN_RANGE)[..., None], np.float32)


def _crop(photo: Float32Array, box: tuple[int, int, int, int]) -> Float32Array:
    left, top, right, bottom = box
    return photo[top:bottom, left:right]
