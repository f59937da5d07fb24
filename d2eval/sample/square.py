"""A market square: houses, a stall and a poster stand whose fronts are painted with photos."""

from collections.abc import Mapping

from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import Color
from d2eval.sample.scene import Scene
from d2eval.sample.walls import Paint, Wall, name_photos, paint_walls

SKY: Color = (0.42, 0.55, 0.75)

# x is east, y north; the cameras stand in the south. Fronts of houses look south.
WALLS = (
    # the house on the left stands out by 2.5 m, the one on the right by 1.8 m
    Wall(
        (-6.0, 7.5, 4.2), (3.8, 0.0, 0.0), (0.0, 0.0, -4.2),
        Paint("coffee", (130, 0, 492, 400), "gravel", (0, 0, 362, 400)),
    ),
    Wall(
        (-2.2, 7.5, 4.2), (0.0, 2.5, 0.0), (0.0, 0.0, -4.2),
        Paint("chelsea", (110, 0, 288, 300), "gravel", (330, 200, 508, 500), mirrored=True),
    ),
    Wall(
        (-2.2, 10.0, 4.6), (4.6, 0.0, 0.0), (0.0, 0.0, -4.6),
        Paint("astronaut", (0, 0, 512, 512), "gravel", (60, 60, 460, 460), mirrored=True),
    ),
    Wall(
        (2.4, 10.0, 4.0), (0.0, -1.8, 0.0), (0.0, 0.0, -4.0),
        Paint("coffee", (300, 0, 480, 400), "gravel", (20, 100, 200, 500), mirrored=True),
    ),
    Wall(
        (2.4, 8.2, 4.0), (3.6, 0.0, 0.0), (0.0, 0.0, -4.0),
        Paint("camera", (20, 0, 481, 512), "gravel", (100, 0, 469, 410), tint=(1.0, 0.86, 0.6)),
    ),
    # a stall (front, west, east, top) and a poster stand set askew
    Wall(
        (0.5, 5.8, 1.5), (2.1, 0.0, 0.0), (0.0, 0.0, -1.5),
        Paint("chelsea", (30, 0, 450, 300), "gravel", (200, 30, 500, 244)),
    ),
    Wall(
        (0.5, 7.0, 1.5), (0.0, -1.2, 0.0), (0.0, 0.0, -1.5),
        Paint("brick", (0, 0, 200, 250), "gravel", (40, 260, 240, 510), tint=(1.0, 0.5, 0.35)),
    ),
    Wall(
        (2.6, 5.8, 1.5), (0.0, 1.2, 0.0), (0.0, 0.0, -1.5),
        Paint("brick", (300, 200, 500, 450), "gravel", (300, 10, 500, 260), tint=(1.0, 0.5, 0.35)),
    ),
    Wall(
        (0.5, 7.0, 1.5), (2.1, 0.0, 0.0), (0.0, -1.2, 0.0),
        Paint("brick", (20, 260, 300, 420), "gravel", (30, 330, 310, 490)),
    ),
    Wall(
        (-2.3, 5.6, 2.0), (1.5, 0.5, 0.0), (0.0, 0.0, -1.7),
        Paint("camera", (60, 20, 420, 410), "gravel", (150, 90, 330, 285), mirrored=True),
    ),
    # the pavement, in four slabs
    Wall(
        (-6.0, 10.0, 0.0), (6.0, 0.0, 0.0), (0.0, -5.0, 0.0),
        Paint("gravel", (0, 0, 512, 427), "camera", (0, 0, 512, 427)),
    ),
    Wall(
        (0.0, 10.0, 0.0), (6.0, 0.0, 0.0), (0.0, -5.0, 0.0),
        Paint("brick", (0, 0, 512, 427), "coffee", (0, 0, 480, 400), tint=(1.0, 0.7, 0.55)),
    ),
    Wall(
        (-6.0, 5.0, 0.0), (6.0, 0.0, 0.0), (0.0, -5.0, 0.0),
        Paint("brick", (0, 85, 512, 512), "chelsea", (0, 0, 360, 300), mirrored=True),
    ),
    Wall(
        (0.0, 5.0, 0.0), (6.0, 0.0, 0.0), (0.0, -5.0, 0.0),
        Paint("gravel", (0, 85, 512, 512), "astronaut", (0, 85, 512, 512), mirrored=True),
    ),
)  # fmt: skip

PHOTOS = name_photos(WALLS)


def make_square(photos: Mapping[str, RgbImage]) -> Scene:
    """The scene."""
    return Scene(paint_walls(WALLS, photos), SKY)
