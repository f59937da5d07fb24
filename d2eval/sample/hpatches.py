"""The embedded set in the layout of HPatches sequences: planes that a camera looks at.

Each sequence takes one photo for a plane. A ``v_`` sequence sees it from six places, under
homographies that are exact because they are how the images are made; an ``i_`` sequence sees it
from one place in six lights, under the identity. As in HPatches, difficulty grows from image 2
to 6.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import Float32Array
from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.images.decoding import ImageFile
from d2eval.foundation.images.photometry import Lamp, Lighting, Shadow, from_srgb8, photograph
from d2eval.foundation.terminal.progress import progress
from d2eval.sample.photos import build_sample, encoded, load_photo

Float64Array = npt.NDArray[np.float64]

GENERATOR_VERSION = 1  # to be raised when the same recipe gives other images
IMAGE_SIZE = (320, 240)
FOCAL_PX = 1.2 * IMAGE_SIZE[0]  # a normal lens, 45 degrees across
SUPERSAMPLING = 3
PIL_FORMATS = {".ppm": "PPM", ".png": "PNG", ".jpg": "JPEG"}


@dataclass(frozen=True)
class View:
    """Where a camera stands before a photo that hangs on a plane."""

    center: tuple[float, float]  # pixel of the photo that the optical axis meets
    # photo pixels across the image at that point's distance; half of it is twice as near
    width: float
    tilt_deg: float = 0.0  # angle between the optical axis and the plane's normal
    # turns the axis of the tilt; at 0 the camera looks from below (the top of the photo recedes),
    # at 90 its right side recedes
    azimuth_deg: float = 0.0
    roll_deg: float = 0.0  # turns the camera about its optical axis


@dataclass(frozen=True)
class Sequence:
    """A recipe: the photo, the file format, and the view and light of each of the six images."""

    name: str
    photo: str
    suffix: str
    shots: tuple[tuple[View, Lighting], ...]


def _viewpoints(*views: View) -> tuple[tuple[View, Lighting], ...]:
    return tuple((view, Lighting()) for view in views)


def _lights(view: View, *lights: Lighting) -> tuple[tuple[View, Lighting], ...]:
    return tuple((view, light) for light in lights)


SEQUENCES = (
    Sequence(
        "i_chelsea", "chelsea", ".ppm",
        _lights(
            View((225.0, 149.5), 396.0),
            Lighting(),
            Lighting(balance=(0.88, 0.98, 1.15), stops=-0.5),  # an overcast sky
            Lighting(shadow=Shadow(20.0, 0.0, 1.8, (0.12, 0.13, 0.16)), stops=0.8, vignette=0.3),
            Lighting(
                shadow=Shadow(205.0, 0.05, 0.08, (0.16, 0.19, 0.26)), stops=0.6,
                balance=(1.1, 1.0, 0.9), blur=0.5,
            ),  # low sun past the edge of a wall
            Lighting(stops=1.5, gamma=0.85, blur=0.5, vignette=0.4),  # exposed for the shade
            Lighting(
                ambient=(0.55, 0.8, 1.35), stops=-2.3, blur=0.8, vignette=0.5, sensor_gain=6.0
            ),  # dusk
        ),
    ),
    Sequence(
        "i_coffee", "coffee", ".jpg",
        _lights(
            View((299.5, 199.5), 526.0),
            Lighting(),
            Lighting(stops=0.6, balance=(1.05, 1.0, 0.92)),
            Lighting(gamma=1.35, stops=-0.5, vignette=0.5),
            Lighting(
                ambient=(0.14, 0.13, 0.12), lamp=Lamp((-0.9, -0.2), 0.7, (1.3, 1.5, 1.9)),
                blur=0.5, sensor_gain=2.0,
            ),  # a window on the left
            Lighting(stops=-2.3, balance=(0.9, 1.0, 1.2), blur=0.6, sensor_gain=4.0),
            Lighting(
                ambient=(0.05, 0.05, 0.06), lamp=Lamp((0.45, 0.3), 0.35, (3.0, 2.2, 1.2)),
                blur=0.8, vignette=0.4, sensor_gain=6.0,
            ),  # one bulb at night
        ),
    ),
    Sequence(
        "v_astronaut", "astronaut", ".ppm",
        _viewpoints(
            View((256.0, 200.0), 490.0),
            View((236.0, 225.0), 440.0, tilt_deg=14.0, azimuth_deg=80.0, roll_deg=3.0),
            View((290.0, 255.0), 390.0, tilt_deg=25.0, azimuth_deg=-70.0, roll_deg=-6.0),
            View((250.0, 290.0), 340.0, tilt_deg=35.0, azimuth_deg=10.0, roll_deg=8.0),
            View((160.0, 180.0), 270.0, tilt_deg=43.0, azimuth_deg=100.0, roll_deg=-10.0),
            View((345.0, 320.0), 285.0, tilt_deg=50.0, azimuth_deg=-20.0, roll_deg=15.0),
        ),
    ),
    Sequence(
        "v_gravel", "gravel", ".png",
        _viewpoints(
            View((256.0, 256.0), 300.0),
            View((265.0, 250.0), 330.0, tilt_deg=10.0, azimuth_deg=30.0, roll_deg=-5.0),
            View((270.0, 240.0), 370.0, tilt_deg=20.0, azimuth_deg=-120.0, roll_deg=8.0),
            View((240.0, 262.0), 220.0, tilt_deg=30.0, azimuth_deg=60.0, roll_deg=-12.0),
            View((235.0, 180.0), 285.0, tilt_deg=40.0, azimuth_deg=180.0, roll_deg=20.0),
            View((310.0, 350.0), 270.0, tilt_deg=48.0, azimuth_deg=-20.0, roll_deg=25.0),
        ),
    ),
)  # fmt: skip


def make_hpatches_sample(cache: Path) -> Path:
    """Renders the set on first use; the same recipe gives the same bytes.

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    photos = {sequence.photo: load_photo(sequence.photo) for sequence in SEQUENCES}
    recipe = (GENERATOR_VERSION, IMAGE_SIZE, FOCAL_PX, SUPERSAMPLING, SEQUENCES)

    def build(folder: Path) -> None:
        for index, sequence in enumerate(progress(SEQUENCES, "rendering the sample")):
            _write_sequence(folder / sequence.name, sequence, photos[sequence.photo], index)

    return build_sample(cache, "hpatches", recipe, photos.values(), build)


def image_from_photo(view: View) -> Float64Array:
    """(3, 3) homography from pixels of the photo to pixels of the image, both from pixel centres.

    It is K [r1 r2 t] of a pinhole camera whose x and y agree with the photo's when it looks at it
    frontally, after moving the origin of the plane to ``view.center``.
    """
    tilt, azimuth, roll = np.deg2rad([view.tilt_deg, view.azimuth_deg, view.roll_deg])
    rotation = _turn(roll) @ _turn(azimuth) @ _lean(tilt) @ _turn(-azimuth)
    distance = FOCAL_PX * view.width / IMAGE_SIZE[0]
    from_plane = np.column_stack([rotation[:, 0], rotation[:, 1], [0.0, 0.0, distance]])
    x, y = view.center
    to_plane = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
    cx, cy = (IMAGE_SIZE[0] - 1) / 2, (IMAGE_SIZE[1] - 1) / 2
    intrinsics = np.array([[FOCAL_PX, 0.0, cx], [0.0, FOCAL_PX, cy], [0.0, 0.0, 1.0]])
    return intrinsics @ from_plane @ to_plane


def _turn(angle: float) -> Float64Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _lean(angle: float) -> Float64Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])


def render(photo: Float32Array, view: View) -> Float32Array:
    """(H, W, 3) view of a photo, both in linear light, without aliasing or with little.

    Each pixel is the mean of a grid of samples inside it.
    """
    # Sample u of the fine grid lies at pixel (u + 1/2) / n - 1/2, as both count from the centre of
    # their first cell.
    n = SUPERSAMPLING
    width, height = IMAGE_SIZE
    shift = 0.5 / n - 0.5
    image_from_fine = np.array([[1 / n, 0.0, shift], [0.0, 1 / n, shift], [0.0, 0.0, 1.0]])
    fine = cv2.warpPerspective(
        photo,
        np.linalg.inv(image_from_photo(view)) @ image_from_fine,
        (width * n, height * n),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return fine.reshape(height, n, width, n, 3).mean(axis=(1, 3), dtype=np.float32)


def _write_sequence(folder: Path, sequence: Sequence, photo: ImageFile, index: int) -> None:
    linear = from_srgb8(photo.decode())
    photo_from_first = np.linalg.inv(image_from_photo(sequence.shots[0][0]))
    for k, (view, lighting) in enumerate(sequence.shots, start=1):
        rng = np.random.default_rng([index, k])
        image = photograph(render(linear, view), lighting, rng)
        write_bytes(folder / f"{k}{sequence.suffix}", encoded(image, PIL_FORMATS[sequence.suffix]))
        if k > 1:
            homography = image_from_photo(view) @ photo_from_first
            write_text(folder / f"H_1_{k}", _homography_text(homography / homography[2, 2]))


def _homography_text(homography: Float64Array) -> str:
    # Twelve decimals are exact to 1e-7 px and turn the rounding errors of an identity into zeros;
    # adding zero turns minus zero into zero.
    rows = np.round(homography, 12) + 0.0
    return "".join(" ".join(f"{value:.12g}" for value in row) + "\n" for row in rows)
