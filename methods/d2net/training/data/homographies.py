"""Training pairs from plain photos: each is a plane that two cameras look at."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import walk
from d2eval.foundation.images.decoding import RgbImage, read_image, read_image_size
from d2eval.metrics.homography import inside, project
from methods.d2net.training.data.lighting import relight
from methods.d2net.training.data.pairs import (
    CROP,
    BoolArray,
    FloatArray,
    PairSource,
    TrainingPair,
    correspondences,
    hash_of_files,
)
from methods.d2net.training.data.views import Views

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm")
FOCAL = 1.2  # of a camera, in widths of its image: 45 degrees across
SUPERSAMPLING = 2
HELD_OUT = 10  # every tenth photo is for validation
LEAST_SIDE = 64  # pixels of a photo
TRIES = 20  # to find a view that lies in the photo for the most part


def view_homography(
    center: tuple[float, float],
    width: float,
    size: tuple[int, int],
    tilt: float = 0.0,
    azimuth: float = 0.0,
    roll: float = 0.0,
) -> FloatArray:
    """The homography from a photo on a plane to a camera that looks at it.

    Args:
        center: photo point (x, y) on the optical axis.
        width: photo pixels across the image, measured at that point's distance.
        size: (width, height) of the camera's image in pixels.
        tilt: angle between the optical axis and the plane's normal, in radians.
        azimuth: direction of the axis, in the plane, that the plane is tilted about, in radians.
        roll: turn about the optical axis, in radians.

    Returns:
        (3, 3), pixels (x, y, 1) to pixels, origin at the centre of the top-left pixel.
    """
    axis = tilt * np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    rotation = cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0] @ cv2.Rodrigues(axis)[0]
    focal = FOCAL * size[0]
    camera = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])
    # A photo point (u, v) is at (u - cx, v - cy, 0); the camera stands FOCAL widths before it.
    plane = np.stack(
        [
            rotation[:, 0],
            rotation[:, 1],
            np.array([0, 0, FOCAL * width]) - rotation[:, :2] @ np.array(center),
        ],
        axis=1,
    )
    homography = camera @ plane
    return np.asarray(homography / homography[2, 2], np.float64)


def take_picture(photo: RgbImage, homography: FloatArray, size: tuple[int, int]) -> RgbImage:
    """What a camera of ``size`` (width, height) sees of ``photo``; black beside it."""
    fine = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    offset = (SUPERSAMPLING - 1) / 2  # pixel x of the image is at SUPERSAMPLING x + offset
    finer = np.diag([SUPERSAMPLING, SUPERSAMPLING, 1.0])
    finer[:2, 2] = offset
    seen = cv2.warpPerspective(photo, finer @ homography, fine, flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.uint8)


def read_photo(path: Path) -> RgbImage:
    """Reads a photo, shrunk where its shorter side has more pixels than a picture samples.

    Raises:
        D2EvalError: it can't be read.
    """
    photo = read_image(path)
    scale = CROP * SUPERSAMPLING / min(photo.shape[:2])
    if scale >= 1:
        return photo
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


def photos_in(folder: Path) -> list[Path]:
    """The photos under ``folder``, sorted by their path.

    Raises:
        D2EvalError: there is no such folder or no photo in it.
    """
    if not folder.is_dir():
        raise D2EvalError(f"{folder}: no such folder; give a folder of photos")
    found = [path for path in walk(folder) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise D2EvalError(f"{folder}: holds no photos ({', '.join(SUFFIXES)}); give another folder")
    return found


def split_photos(photos: list[Path], held_out: bool) -> list[Path]:
    """Every tenth photo for validation, the others for training.

    Raises:
        D2EvalError: there are fewer than two photos.
    """
    if len(photos) < 2:
        raise D2EvalError(f"{photos[0]}: is the only photo; training needs at least two")
    return [p for n, p in enumerate(photos) if (n % HELD_OUT == 0) == held_out]


class HomographyPairs(PairSource):
    """Two 256x256 views of a photo with exact correspondences.

    The first camera looks straight at a part of the photo; the second is nearer or further,
    turned and tilted. Each view has a light and camera of its own.
    """

    def __init__(self, photos: list[Path], views: Views | None = None) -> None:
        """Takes the photos.

        Args:
            photos: files.
            views: how they are seen; None: by the defaults.

        Raises:
            D2EvalError: a photo is tiny or no photo.
        """
        for path in photos:
            if min(read_image_size(path)) < LEAST_SIDE:
                raise D2EvalError(f"{path}: is smaller than {LEAST_SIDE} pixels; remove it")
        self._photos = photos
        self._views = views or Views()

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return len(self._photos) * self._views.per_photo

    def describe(self) -> dict[str, Any]:
        """How many photos, views of each, and a hash of the files."""
        return {
            "photos": len(self._photos),
            "views": self._views.per_photo,
            "files": hash_of_files(self._photos),
        }

    def draw(self, index: int, rng: np.random.Generator) -> TrainingPair | None:
        """Two views of photo ``index``, modulo the number of photos.

        Raises:
            D2EvalError: the photo can't be read.
        """
        path = self._photos[index % len(self._photos)]
        photo = read_photo(path)
        first, second = self._homographies(photo, rng)
        pictures = [take_picture(photo, h, (CROP, CROP)) for h in (first, second)]
        if self._views.light:
            pictures = [relight(picture, rng, self._views.light) for picture in pictures]
        back = np.asarray(np.linalg.inv(first), np.float64)
        forth = second @ back
        photo_size = (photo.shape[1], photo.shape[0])

        def warp(points: FloatArray) -> tuple[FloatArray, BoolArray]:
            return project(forth, points), inside(project(back, points), photo_size)

        cells = correspondences(warp, (CROP, CROP), (CROP, CROP))
        if cells is None:
            return None
        return TrainingPair(path.name, pictures[0], pictures[1], *cells)

    def _homographies(
        self, photo: RgbImage, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Homographies from the photo to both crops."""
        height, width = photo.shape[:2]
        limits = self._views
        across = min(height, width) * rng.uniform(*limits.width)
        center = [
            rng.uniform((across - 1) / 2, length - 1 - (across - 1) / 2)
            for length in (width, height)
        ]
        first = view_homography((center[0], center[1]), across, (CROP, CROP))
        second = first
        for _ in range(TRIES):
            shift = rng.uniform(-limits.shift, limits.shift, 2) * across
            second = view_homography(
                (center[0] + shift[0], center[1] + shift[1]),
                across * 2 ** rng.uniform(-limits.zoom, limits.zoom),
                (CROP, CROP),
                tilt=np.deg2rad(rng.uniform(0, limits.tilt_deg)),
                azimuth=rng.uniform(0, 2 * np.pi),
                roll=np.deg2rad(rng.normal(0, limits.roll_deg)),
            )
            if self._visible(second, (width, height)) >= limits.visible:
                break
        return first, second

    @staticmethod
    def _visible(homography: FloatArray, photo_size: tuple[int, int]) -> float:
        """Share of a crop in which the photo is seen."""
        grid = np.stack(np.meshgrid(*[np.linspace(0, CROP - 1, 16)] * 2), axis=-1).reshape(-1, 2)
        back = np.asarray(np.linalg.inv(homography), np.float64)
        return float(inside(project(back, grid), photo_size).mean())
