"""Camera poses by P3P in a RANSAC with local optimisation, inliers by an angle."""

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.inloc.poses.local_optimisation import SAMPLE, best_solution
from d2eval.inloc.poses.samples import draw_samples
from d2eval.inloc.protocol import check_choices

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class P3PSettings:
    """How a pose is estimated."""

    threshold_deg: float  # an inlier's largest angle between its ray and the direction to its point
    max_iterations: int  # RANSAC's
    confidence: float  # that a sample of inliers was among them
    max_refinements: int  # of every sample's pose, as long as it doesn't lose inliers
    # of a solution: its "own", or that of the "first" solution of its sample, about its own centre
    # (P3PSolver)
    rotation: str
    # of features: "center" takes them and depth where they are; "inloc_demo" takes the numbers of a
    # method's own files, and depth where these lie if the first pixel's centre is (1, 1), as
    # interp2 has it
    keypoints: str

    def __post_init__(self) -> None:
        check_choices(self, rotation=("own", "first"), keypoints=("center", "inloc_demo"))


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """A pose and what supports it."""

    pose: pycolmap.Rigid3d | None  # cam_from_world, or None
    inliers: BoolArray  # (M,) of the correspondences; all False without a pose

    @property
    def count(self) -> int:
        """Number of inliers."""
        return int(np.count_nonzero(self.inliers))


def _iterations(inliers: int, n: int, confidence: float) -> float:
    """How many samples there must be so that one is of inliers alone; often infinitely many."""
    share = math.prod((inliers - k) / (n - k) for k in range(SAMPLE))
    if share < sys.float_info.epsilon:  # 1 - share would be 1; the demo's limit too
        return math.inf
    return 1.0 if share > confidence else math.log(1 - confidence) / math.log(1 - share)


def _solutions(
    rays: FloatArray, points: FloatArray, rotation: str
) -> tuple[FloatArray, FloatArray] | None:
    """Rotations (K, 3, 3) and translations (K, 3) of a sample's solutions of P3P, if there are any.

    The demo's solver finds them by the ratio of the second point's distance to the first one's, a
    root of a polynomial; MATLAB gives roots from the largest down. "first" has that order, too.
    """
    import poselib

    found = poselib.p3p(rays, points)
    if not found:
        return None
    rotations = np.array([solution.R for solution in found])
    translations = np.array([solution.t for solution in found])
    if rotation == "own":
        return rotations, translations
    away = np.linalg.norm(points[:2] @ rotations.swapaxes(1, 2) + translations[:, None], axis=2)
    order = np.argsort(-away[:, 1] / away[:, 0], kind="stable")
    centers = -(rotations.swapaxes(1, 2) @ translations[:, :, None])[order]
    first = rotations[order[0]]
    return np.repeat(first[None], len(found), axis=0), -(first @ centers)[:, :, 0]


def estimate_pose(
    points_2d: npt.NDArray[np.floating],
    points_3d: npt.NDArray[np.floating],
    camera: pycolmap.Camera,
    settings: P3PSettings,
    seed: int,
) -> PoseEstimate:
    """The pose that most correspondences agree with, within an angle.

    Every sample's best P3P solution is refined on its inliers if those are more than three, and
    again on the new ones while they don't become fewer; of equally supported poses the last counts.

    Source: InLoc_demo, ht_lo_ransac_p3p. Its refinement (PnP_mex) minimises the sum of
    (1 - cos angle)^2 by Ceres's defaults; the same is done here, in the camera's frame and with
    three parameters for the rotation. P3P is PoseLib's. Refinement also ends when the inliers
    repeat, since another round would start where the last one ended.

    Args:
        points_2d: (M, 2) pixels, as the camera counts them.
        points_3d: (M, 3) finite, in the world's frame.
        camera: the query's.
        settings: threshold and limits.
        seed: of the samples.

    Returns:
        The estimate; without a pose for fewer than three correspondences, or if P3P has no
        solution for any sample.
    """
    n = len(points_2d)
    if n < SAMPLE:
        return PoseEstimate(None, np.zeros(n, np.bool_))
    rays = np.ones((n, 3))
    rays[:, :2] = camera.cam_from_img(points_2d.astype(np.float64))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    points = points_3d.astype(np.float64)
    by_axis_2d, by_axis_3d = np.ascontiguousarray(rays.T), np.ascontiguousarray(points.T)
    cosine = math.cos(math.radians(settings.threshold_deg))
    best, best_count, limit = PoseEstimate(None, np.zeros(n, np.bool_)), SAMPLE, math.inf
    for done, sample in enumerate(draw_samples(n, SAMPLE, settings.max_iterations, seed)):
        if done >= limit:
            break
        solutions = _solutions(rays[sample], points[sample], settings.rotation)
        if solutions is None:
            continue
        R, t, inliers, count = best_solution(
            *solutions, by_axis_2d, by_axis_3d, cosine, settings.max_refinements
        )
        if count >= best_count:
            best = PoseEstimate(pycolmap.Rigid3d(pycolmap.Rotation3d(R), t), inliers)
            best_count, limit = count, min(limit, _iterations(count, n, settings.confidence))
    return best
