"""The pose of one camera relative to another: its errors, and how it is estimated from matches.

A relative pose is [R | t], which takes points of the first camera's frame to the second's. Of
matches alone, t is known up to its length and its sign.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.robust import check_estimator

FloatArray = npt.NDArray[np.float64]

FOCALS = ("fx0", "fy0", "fx1", "fy1")


@dataclass(frozen=True, eq=False)
class CameraPair:
    """Intrinsics of two images, and the pose between them.

    Attributes:
        intrinsics: (2, 4) fx, fy, cx, cy in pixels, of the first and the second image.
        rotation: (3, 3).
        translation: (3,) in any unit.
        size_px: width and height of the images that intrinsics belong to; empty: of those at hand.
    """

    intrinsics: FloatArray
    rotation: FloatArray
    translation: FloatArray
    size_px: Sequence[int] = ()

    def scaled(self, factors: FloatArray) -> "CameraPair":
        """That of images resized by ``factors``, (2, 2): x and y of the first and the second."""
        return CameraPair(
            self.intrinsics * np.tile(factors, (1, 2)), self.rotation, self.translation
        )

    def __repr__(self) -> str:
        """All bits of its numbers, which the hash of a dataset is made of."""
        parts = (self.intrinsics, self.rotation, self.translation)
        return " ".join(np.ascontiguousarray(part, "<f8").tobytes().hex() for part in parts)


@dataclass(frozen=True, eq=False)
class RelativePose:
    """An estimated pose.

    Attributes:
        rotation: (3, 3).
        translation: (3,) of any length and either sign.
        inliers: how many matches agree with it, as its estimator counts them.
    """

    rotation: FloatArray
    translation: FloatArray
    inliers: int


def rotation_error(estimated: FloatArray, true: FloatArray) -> float:
    """The angle between two rotations (3, 3), in degrees."""
    cosine = (np.trace(estimated.T @ true) - 1) / 2
    sine = np.linalg.norm(estimated - true) / np.sqrt(8)  # of half the angle; exact near 0
    if sine < 0.1:
        return float(np.degrees(2 * np.arcsin(sine)))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def translation_error(estimated: FloatArray, true: FloatArray) -> float:
    """The angle between two translations (3,) whatever their sign, in degrees: 0 to 90.

    Infinite where the estimated one has no direction. Source: LoFTR, src/utils/metrics.py.
    """
    length = float(np.linalg.norm(estimated) * np.linalg.norm(true))
    if not length > 0 or not np.isfinite(length):
        return float("inf")
    across = np.linalg.norm(np.cross(estimated, true)) / length
    along = abs(float(estimated @ true)) / length
    return float(np.degrees(np.arctan2(across, along)))


def ideal(points: npt.NDArray[np.floating], intrinsics: FloatArray) -> FloatArray:
    """Points (N, 2) in pixels, seen at z = 1."""
    return np.asarray((points - intrinsics[2:]) / intrinsics[:2], np.float64)


def epipolar_errors(points_0: FloatArray, points_1: FloatArray, cameras: CameraPair) -> FloatArray:
    """(N,) symmetric squared distances to the epipolar lines of the true pose.

    Points (N, 2) are in pixels, distances at z = 1. Source: LoFTR, src/utils/metrics.py.
    """
    x, y, z = cameras.translation
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    essential = across @ cameras.rotation
    ones = np.ones((len(points_0), 1))
    first = np.hstack([ideal(points_0, cameras.intrinsics[0]), ones])
    second = np.hstack([ideal(points_1, cameras.intrinsics[1]), ones])
    lines_1, lines_0 = first @ essential.T, second @ essential
    residual = (second * lines_1).sum(axis=1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = residual * (
            1 / (lines_1[:, :2] ** 2).sum(axis=1) + 1 / (lines_0[:, :2] ** 2).sum(axis=1)
        )
    return np.where(np.isfinite(errors), errors, np.inf)


@dataclass(frozen=True)
class PoseEstimator:
    """How a pose is estimated from matches; the numbers are in the benchmark file.

    Attributes:
        name: "opencv", "poselib" or "pycolmap".
        thresholds_px: of an inlier; of several, the one of best results counts.
        min_matches: with fewer there is no pose.
        focal: over the mean of which of `FOCALS` OpenCV's threshold is divided; the other two
            libraries know cameras.
        options: what else its library takes, by its own names; what isn't named has its default.
    """

    name: str
    thresholds_px: list
    min_matches: int
    focal: list = field(default_factory=lambda: [*FOCALS])
    options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_estimator(self.name, self.thresholds_px, self.options, [*_ESTIMATORS])
        if not self.focal or not set(self.focal) <= set(FOCALS):
            raise D2EvalError(f"focal = {self.focal}: must be some of {', '.join(FOCALS)}")

    def estimate(
        self,
        points_0: FloatArray,
        points_1: FloatArray,
        intrinsics: FloatArray,
        threshold_px: float,
        seed: int,
    ) -> RelativePose | None:
        """The pose that matched points agree with, or None if there is none.

        Args:
            points_0: (N, 2) in pixels of the first image.
            points_1: (N, 2) in pixels of the second.
            intrinsics: (2, 4) as in `CameraPair`.
            threshold_px: of an inlier, one of its own.
            seed: of what the library draws, where it takes one.
        """
        if len(points_0) < max(self.min_matches, 5):
            return None
        found = _ESTIMATORS[self.name](self, points_0, points_1, intrinsics, threshold_px, seed)
        if found is None or not np.isfinite([*found.rotation.ravel(), *found.translation]).all():
            return None
        return found


def _opencv(
    estimator: PoseEstimator, points_0: FloatArray, points_1: FloatArray, intrinsics: FloatArray,
    threshold_px: float, seed: int,
) -> RelativePose | None:  # fmt: skip
    """As LoFTR does: in ideal coordinates; of several essential matrices the best-supported.

    OpenCV's draws have a seed of their own. Source: LoFTR, src/utils/metrics.py, estimate_pose.
    """
    import cv2

    options = {"method": "RANSAC", "prob": 0.999, "maxIters": 1000} | estimator.options
    focals = dict(zip(FOCALS, intrinsics[:, :2].ravel(), strict=True))
    threshold = threshold_px / float(np.mean([focals[name] for name in estimator.focal]))
    first, second = ideal(points_0, intrinsics[0]), ideal(points_1, intrinsics[1])
    options["method"] = getattr(cv2, options["method"])
    try:
        essential, mask = cv2.findEssentialMat(
            first, second, np.eye(3), threshold=threshold, **options
        )
    except cv2.error:  # points that no model can be made from
        return None
    if essential is None or essential.shape[0] < 3:
        return None
    best: RelativePose | None = None
    most, inliers = 0, int(np.count_nonzero(mask))
    for candidate in np.split(essential, len(essential) // 3):
        count, rotation, translation, *_ = cv2.recoverPose(
            candidate, first, second, np.eye(3), 1e9, mask=mask.copy()
        )
        if count > most:
            turned, moved = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
            best, most = RelativePose(turned, moved[:, 0], inliers), count
    return best


def _poselib(
    estimator: PoseEstimator, points_0: FloatArray, points_1: FloatArray, intrinsics: FloatArray,
    threshold_px: float, seed: int,
) -> RelativePose | None:  # fmt: skip
    import poselib

    # A pinhole needs no size, which is only that of images.
    cameras = [
        {"model": "PINHOLE", "width": int(2 * k[2]), "height": int(2 * k[3]), "params": k.tolist()}
        for k in intrinsics
    ]
    ransac = {**estimator.options, "max_epipolar_error": threshold_px, "seed": seed}
    pose, info = poselib.estimate_relative_pose(points_0, points_1, *cameras, ransac, {})
    inliers = int(np.count_nonzero(info["inliers"]))
    if inliers < 5:  # of the identity, which it gives where it found nothing
        return None
    return RelativePose(np.asarray(pose.R), np.asarray(pose.t), inliers)


def _pycolmap(
    estimator: PoseEstimator, points_0: FloatArray, points_1: FloatArray, intrinsics: FloatArray,
    threshold_px: float, seed: int,
) -> RelativePose | None:  # fmt: skip
    import pycolmap

    cameras = [
        pycolmap.Camera(
            model="PINHOLE", width=int(2 * k[2]), height=int(2 * k[3]), params=k.tolist()
        )
        for k in intrinsics
    ]
    ransac = pycolmap.RANSACOptions(
        {**estimator.options, "max_error": threshold_px, "random_seed": seed}
    )
    found = pycolmap.estimate_essential_matrix(points_0, points_1, cameras[0], cameras[1], ransac)
    if found is None:
        return None
    pose = found["cam2_from_cam1"]
    return RelativePose(pose.rotation.matrix(), np.asarray(pose.translation), found["num_inliers"])


_ESTIMATORS: Mapping[str, Callable[..., RelativePose | None]]
_ESTIMATORS = {"opencv": _opencv, "poselib": _poselib, "pycolmap": _pycolmap}
