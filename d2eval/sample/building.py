"""A building of two floors, each with a frame of its own: its rooms, and who looked at them."""

from d2eval.foundation.images.photometry import Color, Lighting
from d2eval.sample.rooms import Box, Floor, Query, Station
from d2eval.sample.scene import Camera
from d2eval.sample.walls import Paint, Wall

Crop = tuple[int, int, int, int]

FOCAL_PER_LONG_SIDE = 28 / 36  # of queries, the benchmark's rule
TILES, TILE = 2, 256  # the grounds' photos are cut into a grid


def _query_camera(width: int, height: int) -> Camera:
    # The rule's principal point is (W/2, H/2) counted from the first pixel's centre, which lies
    # half a pixel inside of COLMAP's corner.
    focal = FOCAL_PER_LONG_SIDE * max(width, height)
    return Camera(width, height, focal, width / 2 + 0.5, height / 2 + 0.5)


def _paint(
    photo: str, crop: Crop, ground: int, mirrored: bool = False, tint: Color = (1.0, 1.0, 1.0)
) -> Paint:
    """A photo on one of eight grounds: four tiles of gravel, four of brick."""
    grain, tile = ("gravel", "brick")[ground // TILES**2], ground % TILES**2
    left, top = tile % TILES * TILE, tile // TILES * TILE
    return Paint(photo, crop, grain, (left, top, left + TILE, top + TILE), mirrored, tint)


_PHONE = _query_camera(480, 360)
_UPRIGHT = _query_camera(360, 480)
_WHOLE, _LOW = (0, 0, 512, 512), (0, 128, 512, 512)
_OAK, _CLAY, _CREAM = (1.0, 0.72, 0.5), (1.0, 0.55, 0.4), (1.0, 0.92, 0.75)
_MOSS, _SLATE = (0.7, 0.9, 0.6), (0.65, 0.8, 1.0)

_HALL = (
    Box(
        (0.0, 0.0, 0.0), (7.0, 5.5, 2.8),
        south=(_paint("coffee", (0, 0, 480, 390), 0), _paint("astronaut", (0, 102, 512, 512), 1)),
        east=(
            _paint("chelsea", (130, 0, 430, 300), 2, True),
            _paint("camera", (0, 0, 512, 500), 3, True, _CREAM),
        ),
        north=(
            _paint("chelsea", (60, 0, 435, 300), 4),
            _paint("camera", (0, 90, 512, 500), 5, False, _OAK),
        ),
        west=(
            _paint("astronaut", (0, 0, 512, 512), 6, True),
            _paint("coffee", (190, 0, 590, 400), 7, True),
        ),
        bottom=(
            Paint("brick", _WHOLE, "coffee", (0, 0, 400, 400), False, _CLAY),
            Paint("gravel", _WHOLE, "astronaut", _WHOLE, True),
        ),
        top=(
            Paint("gravel", _WHOLE, "chelsea", (0, 0, 300, 300), False, _CREAM),
            Paint("brick", _WHOLE, "camera", _WHOLE, True),
        ),
    ),
    Box(  # pillar
        (3.3, 2.5, 0.0), (3.9, 3.1, 2.8),
        south=(_paint("astronaut", (200, 0, 310, 512), 4),),
        east=(_paint("coffee", (60, 0, 146, 400), 2),),
        north=(_paint("brick", (0, 0, 110, 512), 0, False, _MOSS),),
        west=(_paint("camera", (180, 0, 290, 512), 1, False, _SLATE),),
    ),
    Box(  # counter
        (0.9, 3.9, 0.0), (2.7, 4.6, 1.0),
        south=(_paint("chelsea", (150, 60, 450, 226), 6, True),),
        east=(_paint("gravel", (0, 0, 190, 270), 4, False, _MOSS),),
        north=(_paint("coffee", (200, 200, 560, 400), 1),),
        west=(_paint("gravel", (300, 200, 490, 470), 5, False, _OAK),),
        top=(_paint("brick", (40, 60, 400, 200), 3, False, _CREAM),),
    ),
    Box(  # crate
        (5.1, 0.9, 0.0), (6.0, 1.7, 0.8),
        south=(_paint("camera", (250, 300, 500, 510), 7, True),),
        east=(_paint("brick", (260, 10, 480, 230), 2, False, _OAK),),
        north=(_paint("astronaut", (250, 250, 500, 470), 3),),
        west=(_paint("coffee", (20, 210, 240, 400), 0, True),),
        top=(_paint("gravel", (80, 250, 330, 470), 6, False, _CLAY),),
    ),
)  # fmt: skip
_OFFICES = (
    Box(  # the first office, whose east side is the partition
        (0.0, 0.0, 0.0), (5.0, 5.0, 2.8),
        south=(
            _paint("camera", (30, 20, 400, 434), 4, True, _SLATE),
            _paint("chelsea", (0, 0, 280, 300), 0),
        ),
        north=(
            _paint("coffee", (210, 0, 580, 400), 1),
            _paint("astronaut", (110, 40, 512, 490), 2, True),
        ),
        west=(
            _paint("chelsea", (171, 0, 451, 300), 7, True),
            _paint("camera", (112, 60, 512, 508), 5),
        ),
        bottom=(
            Paint("gravel", _WHOLE, "camera", _WHOLE, True, _OAK),
            Paint("brick", _WHOLE, "astronaut", _WHOLE, True, _SLATE),
        ),
        top=(
            Paint("brick", _LOW, "chelsea", (150, 0, 451, 300), False, _CREAM),
            Paint("gravel", _LOW, "coffee", (200, 0, 600, 400), True),
        ),
    ),
    Box(  # the second
        (5.0, 0.0, 0.0), (9.0, 5.0, 2.8),
        south=(_paint("astronaut", (0, 0, 512, 358), 3),),
        east=(
            _paint("coffee", (0, 20, 340, 400), 5, True),
            _paint("chelsea", (60, 20, 310, 300), 1, False, _MOSS),
        ),
        north=(_paint("camera", (0, 150, 512, 508), 6, False, _CLAY),),
        bottom=(Paint("brick", _WHOLE, "gravel", _WHOLE, True, _CLAY),),
        top=(Paint("gravel", _WHOLE, "brick", _WHOLE, True, _CREAM),),
    ),
    Box(  # bookcase
        (0.0, 2.0, 0.0), (0.5, 3.4, 2.0),
        south=(_paint("brick", (20, 20, 120, 420), 0, False, _OAK),),
        east=(_paint("coffee", (300, 0, 580, 400), 6),),
        north=(_paint("brick", (300, 20, 400, 420), 2, False, _OAK),),
        top=(_paint("gravel", (0, 0, 100, 280), 4, False, _OAK),),
    ),
    Box(  # desk
        (2.2, 3.6, 0.0), (3.8, 4.4, 0.8),
        south=(_paint("astronaut", (0, 330, 340, 500), 5),),
        east=(_paint("gravel", (330, 10, 490, 170), 7, False, _CLAY),),
        west=(_paint("brick", (200, 300, 360, 460), 1),),
        top=(_paint("camera", (300, 300, 510, 405), 0, False, _CREAM),),
    ),
    Box(  # cabinet in the second office
        (7.6, 0.4, 0.0), (8.5, 1.2, 1.3),
        east=(_paint("brick", (120, 100, 290, 376), 4, False, _MOSS),),
        north=(_paint("chelsea", (200, 0, 400, 289), 3, True, _CREAM),),
        west=(_paint("coffee", (430, 0, 590, 260), 7, True),),
        top=(_paint("gravel", (200, 200, 380, 360), 2),),
    ),
)  # fmt: skip

FLOORS = (
    Floor(
        "DUC1",
        _HALL,
        walls=(  # a board on a stand
            Wall(
                (4.6, 4.4, 1.9), (1.2, -0.5, 0.0), (0.0, 0.0, -1.6),
                _paint("coffee", (100, 30, 390, 388), 3, True, _MOSS),
            ),
        ),
        panes=(  # a window in the west wall, a screen on the east one
            Wall(
                (0.01, 2.3, 2.3), (0.0, -1.5, 0.0), (0.0, 0.0, -1.3),
                _paint("gravel", (20, 200, 320, 460), 5, False, _SLATE),
            ),
            Wall(
                (6.99, 3.6, 2.0), (0.0, -1.4, 0.0), (0.0, 0.0, -0.9),
                _paint("camera", (150, 60, 430, 240), 2),
            ),
        ),
        stations=(
            Station((1.7, 1.7, 1.60), 20.0, ((0, 0), (60, 0), (120, 0), (180, 0), (300, -30))),
            Station((5.3, 2.9, 1.65), 145.0, ((0, 0), (60, 0), (120, 0), (180, 0), (300, 0))),
            Station((3.2, 4.3, 1.55), 260.0, ((0, 0), (60, -30), (120, 0), (300, 0), (0, 30))),
        ),
        queries=(
            Query(
                "IMG_0731.JPG", _PHONE, (2.4, 1.2, 1.5), (1.6, 5.5, 1.4), 2.0,
                Lighting(stops=0.3, balance=(1.05, 1.0, 0.94), blur=0.4),
            ),
            Query(
                "IMG_0734.JPG", _PHONE, (4.7, 3.4, 1.7), (6.6, 0.2, 1.2), -3.0,
                Lighting(stops=-0.4, balance=(0.96, 1.0, 1.06)),
            ),
            Query(
                "IMG_0738.JPG", _UPRIGHT, (2.2, 2.6, 1.6), (0.0, 1.7, 1.4), 1.5,
                Lighting(stops=-0.2, gamma=1.1),
            ),
            Query(
                "IMG_0742.JPG", _PHONE, (2.9, 3.7, 1.6), (1.9, 0.0, 1.3), -1.0,
                Lighting(stops=0.2, vignette=0.2, sensor_gain=2.0),
            ),
        ),
    ),
    Floor(
        "DUC2",
        _OFFICES,
        walls=(  # the partition, south and north of the doorway and above it
            Wall(
                (5.0, 0.0, 2.8), (0.0, 1.8, 0.0), (0.0, 0.0, -2.8),
                _paint("astronaut", (60, 0, 360, 467), 6),
            ),
            Wall(
                (5.0, 3.2, 2.8), (0.0, 1.8, 0.0), (0.0, 0.0, -2.8),
                _paint("coffee", (20, 0, 277, 400), 4, True, _CREAM),
            ),
            Wall(
                (5.0, 1.8, 2.8), (0.0, 1.4, 0.0), (0.0, 0.0, -0.7),
                _paint("gravel", (100, 100, 380, 240), 0, False, _CLAY),
            ),
        ),
        panes=(  # a window in the south wall, another in the second office's north wall
            Wall(
                (1.4, 0.01, 2.2), (1.6, 0.0, 0.0), (0.0, 0.0, -1.2),
                _paint("gravel", (10, 10, 410, 310), 1, False, _MOSS),
            ),
            Wall(
                (6.2, 4.99, 2.2), (1.6, 0.0, 0.0), (0.0, 0.0, -1.3),
                _paint("chelsea", (80, 60, 368, 294), 5, True, _SLATE),
            ),
        ),
        stations=(
            Station((1.6, 1.5, 1.60), 75.0, ((0, 0), (60, 0), (120, 0), (300, 0), (300, -30))),
            Station((3.7, 2.7, 1.65), 190.0, ((0, 0), (60, 0), (180, 0), (240, 0), (300, 30))),
            Station((6.9, 2.6, 1.55), 310.0, ((0, 0), (60, 0), (120, 0), (240, 0), (300, 0))),
        ),
        queries=(
            Query(
                "IMG_0803.JPG", _PHONE, (2.1, 0.9, 1.5), (2.4, 5.0, 1.4), -2.0,
                Lighting(stops=-0.3, balance=(1.04, 1.0, 0.95)),
            ),
            Query(
                "IMG_0807.JPG", _PHONE, (3.1, 3.1, 1.6), (0.0, 2.3, 1.3), 3.0,
                Lighting(stops=0.3, blur=0.4),
            ),
            Query(
                "IMG_0812.JPG", _UPRIGHT, (6.3, 3.2, 1.6), (8.4, 0.9, 1.2), -1.5,
                Lighting(stops=0.2, balance=(0.95, 1.0, 1.05), sensor_gain=2.0),
            ),
            Query(
                "IMG_0815.JPG", _PHONE, (2.9, 2.3, 1.7), (6.6, 2.9, 1.3), 2.0,
                Lighting(stops=-0.2, gamma=1.1, vignette=0.2),
            ),
        ),
    ),
)  # fmt: skip
