"""Images with depth and pose, and where a point of one is in another.

Points are (x, y) pixels with the origin at the centre of the top-left pixel, as everywhere in
training. Intrinsics are COLMAP's: their origin is the corner of that pixel, half a pixel further
up and left. Depth is z of the camera's frame in the unit of the poses; 0 is unknown.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.foundation.images.decoding import RgbImage
from methods.d2net.training.data.pairs import (
    CROP,
    STRIDE,
    BoolArray,
    FloatArray,
    TrainingPair,
    cell_centers,
    correspondences,
)

DEPTH_TOLERANCE = 0.05  # between a point's depth and the map's, in the unit of the poses
PIXEL_CENTER = 0.5  # of the first pixel, in COLMAP's coordinates

DepthMap = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PosedView:
    """What a camera saw, and how far away.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32, z in the camera's frame; 0 where it is not known.
        intrinsics: (3, 3) of a pinhole camera without distortion, COLMAP's pixels.
        cam_from_world: (4, 4) rigid.
    """

    image: RgbImage
    depth: DepthMap
    intrinsics: FloatArray
    cam_from_world: FloatArray

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def crop(self, center: FloatArray) -> "PosedView":
        """The 256x256 pixels around a point, moved so that they stay inside the image.

        An image that is smaller is padded on the right and below by black pixels of unknown depth,
        so that no correspondence lies there.

        Args:
            center: (x, y) in pixels.
        """
        # D2-Net's code (lib/dataset.py) takes the pixel that holds the point and 128 before it.
        nearest = np.floor(center + PIXEL_CENTER).astype(np.int64)
        height, width = self.size
        left = int(np.clip(nearest[0] - CROP // 2, 0, max(width - CROP, 0)))
        top = int(np.clip(nearest[1] - CROP // 2, 0, max(height - CROP, 0)))
        box = (slice(top, top + CROP), slice(left, left + CROP))
        image, depth = self.image[box], self.depth[box]
        missing = ((0, CROP - image.shape[0]), (0, CROP - image.shape[1]))
        moved = self.intrinsics.copy()
        moved[:2, 2] -= (left, top)
        return PosedView(
            np.pad(image, (*missing, (0, 0))), np.pad(depth, missing), moved, self.cam_from_world
        )


def sample_depth(depth: DepthMap, points: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Depth between pixels, bilinear, where it is known at all of the pixels around.

    Args:
        depth: (H, W), 0 where it is not known.
        points: (N, 2) pixels; may lie outside or be NaN.

    Returns:
        (N,) depths, 0 where not known, and (N,) which are known.
    """
    height, width = depth.shape
    known = np.asarray((points >= 0).all(axis=1) & (points <= (width - 1, height - 1)).all(axis=1))
    x, y = np.where(known[:, None], points, 0.0).T
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.ceil(x).astype(np.int64), np.ceil(y).astype(np.int64)
    corners = depth[[top, top, bottom, bottom], [left, right, left, right]].astype(np.float64)
    known &= (corners > 0).all(axis=0)
    across, down = x - left, y - top
    upper = corners[0] * (1 - across) + corners[1] * across
    lower = corners[2] * (1 - across) + corners[3] * across
    return np.where(known, upper * (1 - down) + lower * down, 0.0), known


def unproject(view: PosedView, points: FloatArray) -> tuple[FloatArray, BoolArray]:
    """(N, 3) places in the world of (N, 2) pixels, and (N,) whether their depth is known."""
    depth, known = sample_depth(view.depth, points)
    pixels = np.column_stack([points + PIXEL_CENTER, np.ones(len(points))])
    local = (pixels @ np.linalg.inv(view.intrinsics).T) * depth[:, None]
    rotation, translation = view.cam_from_world[:3, :3], view.cam_from_world[:3, 3]
    return (local - translation) @ rotation, known


def project(view: PosedView, places: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N, 2) pixels of (N, 3) places in the world, NaN behind the camera, and their (N,) z."""
    rotation, translation = view.cam_from_world[:3, :3], view.cam_from_world[:3, 3]
    local = places @ rotation.T + translation
    depth = local[:, 2]
    before = depth > 0
    image = (local / np.where(before, depth, np.nan)[:, None]) @ view.intrinsics.T
    return image[:, :2] - PIXEL_CENTER, depth


def seen_at(view: PosedView, places: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Where (N, 3) places of the world are in a view.

    A place is seen if it is before the camera and its depth differs from the map's by less than
    0.05 (D2-Net's training code, ``lib/loss.py``: an absolute difference).

    Returns:
        (N, 2) pixels and (N,) which are seen.
    """
    points, depth = project(view, places)
    measured, known = sample_depth(view.depth, points)
    return points, known & (np.abs(depth - measured) < DEPTH_TOLERANCE)


def warp(first: PosedView, second: PosedView, points: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Where (N, 2) pixels of one view are in another, and (N,) which are seen there."""
    places, known = unproject(first, points)
    moved, seen = seen_at(second, places)
    return moved, known & seen


def crop_pair(
    name: str, views: tuple[PosedView, PosedView], centers: tuple[FloatArray, FloatArray]
) -> TrainingPair | None:
    """The crops around a point that both views show, and their correspondences.

    Args:
        name: of the pair.
        views: both.
        centers: (x, y) of the point in each.

    Returns:
        The pair; None if it has fewer than 128 correspondences.
    """
    first, second = (view.crop(center) for view, center in zip(views, centers, strict=True))
    cells = correspondences(lambda points: warp(first, second, points), first.size, second.size)
    return None if cells is None else TrainingPair(name, first.image, second.image, *cells)


def shared_point(
    first: PosedView, second: PosedView, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray] | None:
    """A random cell's centre of the first image that the second shows, and where; None: none."""
    height, width = first.size
    cells = np.indices((height // STRIDE, width // STRIDE), np.int64).reshape(2, -1).T
    points = cell_centers(cells)
    moved, seen = warp(first, second, points)
    found = np.flatnonzero(seen)
    if not len(found):
        return None
    chosen = rng.choice(found)
    return points[chosen], moved[chosen]
