"""Dense pose verification: how much a query resembles the scan as seen from a pose.

Source: InLoc_demo, parfor_densePV and image_normalization.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.inloc.data.dataset import ScanPoints
from d2eval.inloc.verification.dense_sift import DenseSiftSettings, dense_sift, root_sift
from d2eval.inloc.verification.render import RenderedView, render

RgbImage = npt.NDArray[np.uint8]

GREY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)  # MATLAB's rgb2gray


@dataclass(frozen=True)
class DensePVSettings(DenseSiftSettings):
    """How poses are verified."""

    scale: int  # queries are compared at 1 / scale of their size


@dataclass(frozen=True, eq=False)
class Verification:
    """How good a pose is."""

    score: float  # higher is better, 0 the worst
    view: RenderedView | None  # what was compared with the query; None without a pose


def _grey(rgb: RgbImage) -> npt.NDArray[np.float64]:
    """(H, W) whole numbers, halves up, as rgb2gray gives for bytes."""
    return np.floor(rgb.astype(np.float64) @ np.asarray(GREY_WEIGHTS) + 0.5)


def _normalize(
    grey: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32] | None:
    """Mean 0 and deviation 1 over the valid pixels, 0 elsewhere; None of a single grey.

    The demo fills the holes of the rendered view first, but its normalisation then sets them to 0,
    the mean, in both images, so whatever they were filled with has no effect.
    """
    known = grey[valid]
    deviation = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    if deviation == 0:
        return None
    normal = np.zeros(grey.shape, np.float32)
    normal[valid] = (known - known.mean()) / deviation
    return normal


def descriptor_distances(
    query: RgbImage, view: RenderedView, settings: DensePVSettings
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """How much a query and a rendered view differ, from place to place.

    Both are normalised on the pixels that the view has; their dense RootSIFT descriptors are
    compared whose middle pixel the view has. ``query`` is (H, W, 3) uint8, at the view's size.

    Returns:
        (N, 2) x and y of the middle pixels, and (N,) distances; none where one of the images is of
        a single grey.
    """
    valid = view.valid
    images = [_normalize(_grey(rgb), valid) for rgb in (query, view.rgb)]
    if images[0] is None or images[1] is None:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    ours, theirs = (dense_sift(image, settings) for image in images if image is not None)
    compared = valid[ours.centers[:, 1], ours.centers[:, 0]]
    first, second = (root_sift(side.descriptors[compared]) for side in (ours, theirs))
    return ours.centers[compared], np.sqrt(np.square(first - second).sum(axis=1))


def pv_score(query: RgbImage, view: RenderedView, settings: DensePVSettings) -> float:
    """How much a query and a rendered view resemble each other.

    The score is 1 / the median of the `descriptor_distances`; infinite where that is 0.

    Returns:
        0 where nothing can be compared: no descriptor lies on a pixel of the view, or one of the
        images is of a single grey (the demo has NaN there, which its ranking puts first).
    """
    _, distances = descriptor_distances(query, view, settings)
    if not len(distances):
        return 0.0
    median = float(np.median(distances))
    return 1 / median if median > 0 else math.inf


def verify_pose(
    query: RgbImage,
    scan: ScanPoints,
    K: npt.NDArray[np.float64],
    pose: pycolmap.Rigid3d | None,
    settings: DensePVSettings,
    device: str = "cpu",
) -> Verification:
    """Renders a whole scan from a pose and scores the view.

    Args:
        query: (H, W, 3) uint8, the query at 1 / ``settings.scale``, by `imresize.shrink`.
        scan: of the cutout that the pose is from.
        K: (3, 3) of the small query, by `render.scaled_intrinsics`.
        pose: cam_from_world in the frame of the floor; None and NaN score 0.
        settings: of the protocol.
        device: a torch device, for rendering.
    """
    if pose is None:
        return Verification(0.0, None)
    height, width = query.shape[:2]
    view = render(scan.xyz, scan.rgb, K, pose, (width, height), device)
    return Verification(pv_score(query, view, settings), view)
