"""Planar geometry: projection by a homography, its estimation, and what it is off by."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError

FloatArray = npt.NDArray[np.float64]

MAX_CONDITION = 1e12  # of a homography in pixels; beyond it float64 can't invert it


def check_homography(matrix: npt.NDArray[np.float64]) -> str | None:
    """What is wrong with a 3x3 homography, or None."""
    if matrix.shape != (3, 3):
        return f"holds {'x'.join(map(str, matrix.shape))} numbers, not 3x3"
    if not np.isfinite(matrix).all():
        return "holds NaN or infinite values"
    if np.linalg.cond(matrix) > MAX_CONDITION:
        return "is singular"
    return None


def project(homography: FloatArray, points: npt.NDArray[np.floating]) -> FloatArray:
    """Maps points (N, 2) in pixels; those on the line at infinity become inf or NaN."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return mapped[:, :2] / mapped[:, 2:]


def inside(points: FloatArray, image_size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which points (N, 2) lie in an image of (width, height), origin at a pixel's centre."""
    with np.errstate(invalid="ignore"):
        fits = (points >= -0.5) & (points <= np.array(image_size) - 0.5)
    return np.asarray(fits.all(axis=1))


def corners(image_size: tuple[int, int]) -> FloatArray:
    """(4, 2) centres of the corner pixels of an image of (width, height)."""
    right, bottom = image_size[0] - 1, image_size[1] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


def corner_error(
    estimated: FloatArray | None, true: FloatArray, image_size: tuple[int, int]
) -> float:
    """Mean distance in pixels of image 1's corners under two homographies; inf without one.

    Source: DeTone et al., SuperPoint (CVPRW 2018), section 6.
    """
    if estimated is None:
        return float("inf")
    points = corners(image_size)
    error = np.linalg.norm(project(estimated, points) - project(true, points), axis=1).mean()
    return float(error) if np.isfinite(error) else float("inf")


@dataclass(frozen=True)
class HomographyEstimator:
    """How a homography is estimated from matches; the numbers are in the benchmark file.

    Attributes:
        estimator: "poselib" (LO-RANSAC).
        threshold_px: reprojection error of an inlier.
        confidence: RANSAC's.
        min_iterations, max_iterations: RANSAC's.
    """

    estimator: str
    threshold_px: float
    confidence: float
    min_iterations: int
    max_iterations: int

    def __post_init__(self) -> None:
        if self.estimator != "poselib":
            raise D2EvalError(f"homography estimator {self.estimator!r} is not known; use poselib")

    def estimate(
        self, points_1: npt.NDArray[np.floating], points_2: npt.NDArray[np.floating], seed: int
    ) -> FloatArray | None:
        """The homography of matched points, (N, 2) each in pixels, or None if there is none."""
        import poselib

        if len(points_1) < 4:
            return None
        homography, info = poselib.estimate_homography(
            points_1.astype(np.float64),
            points_2.astype(np.float64),
            {
                "max_reproj_error": self.threshold_px,
                "success_prob": self.confidence,
                "min_iterations": self.min_iterations,
                "max_iterations": self.max_iterations,
                "seed": seed,
            },
        )
        estimated = np.asarray(homography, np.float64)
        if info["num_inliers"] < 4 or check_homography(estimated) is not None:
            return None
        return estimated


def error_auc(errors: npt.ArrayLike, threshold: float) -> float:
    """Area under recall over error from 0 to ``threshold``, divided by it: 1 is perfect.

    Recall rises linearly between the sorted errors, as in SuperGlue's pose AUC (Sarlin et al.,
    CVPR 2020, and most since).
    """
    ordered = np.sort(np.asarray(errors, np.float64))
    if not len(ordered):
        return float("nan")
    recall = np.arange(1, len(ordered) + 1) / len(ordered)
    ordered, recall = np.r_[0.0, ordered], np.r_[0.0, recall]
    last = int(np.searchsorted(ordered, threshold))
    x = np.r_[ordered[:last], threshold]
    y = np.r_[recall[:last], recall[last - 1]]
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / threshold)
