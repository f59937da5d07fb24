"""Homographies of matched points by the estimators that papers use, and their error in corners."""

from dataclasses import dataclass, field

import numpy as np

from d2eval.metrics.homography import FloatArray, check_homography, project
from d2eval.metrics.robust import check_estimator

MIN_MATCHES = 4


@dataclass(frozen=True)
class HomographyRansac:
    """How a homography is estimated; the numbers are in the benchmark file.

    Attributes:
        name: "opencv" or "poselib".
        thresholds_px: of an inlier; of several, the one of best results counts.
        per_side_px: thresholds are of images whose second's shorter side is so long; 0: as is.
        options: what else its library takes, by its own names; what isn't named has its default.
    """

    name: str
    thresholds_px: list
    per_side_px: int
    options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_estimator(self.name, self.thresholds_px, self.options, ["opencv", "poselib"])

    def estimate(
        self, points_0: FloatArray, points_1: FloatArray, threshold_px: float, seed: int
    ) -> tuple[FloatArray, int] | None:
        """The homography of matched points (N, 2), and its inliers; None if there is none."""
        if len(points_0) < MIN_MATCHES:
            return None
        estimate = self._opencv if self.name == "opencv" else self._poselib
        found, inliers = estimate(points_0, points_1, threshold_px, seed)
        if found is None or inliers < MIN_MATCHES or check_homography(found) is not None:
            return None
        return found, inliers

    def _opencv(
        self, points_0: FloatArray, points_1: FloatArray, threshold_px: float, seed: int
    ) -> tuple[FloatArray | None, int]:
        import cv2

        options = {"method": "RANSAC", **self.options}
        if "prob" in options:
            options["confidence"] = options.pop("prob")
        options["method"] = getattr(cv2, options["method"])
        try:
            found, mask = cv2.findHomography(
                points_0, points_1, ransacReprojThreshold=threshold_px, **options
            )
        except cv2.error:  # points that no model can be made from
            return None, 0
        return (None, 0) if found is None else (np.asarray(found), int(np.count_nonzero(mask)))

    def _poselib(
        self, points_0: FloatArray, points_1: FloatArray, threshold_px: float, seed: int
    ) -> tuple[FloatArray | None, int]:
        import poselib

        ransac = {**self.options, "max_reproj_error": threshold_px, "seed": seed}
        found, info = poselib.estimate_homography(points_0, points_1, ransac)
        return np.asarray(found, np.float64), int(np.count_nonzero(info["inliers"]))


def mean_corner_error(
    estimated: FloatArray, true: FloatArray, right: float, bottom: float
) -> float:
    """Mean distance of the corners (0, 0) to (right, bottom) of an image under two homographies."""
    points = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)
    error = np.linalg.norm(project(estimated, points) - project(true, points), axis=1).mean()
    return float(error) if np.isfinite(error) else float("inf")
