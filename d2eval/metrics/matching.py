"""How right matches and keypoints are under a known homography."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from d2eval.metrics.homography import FloatArray, project


def match_errors(
    points_1: npt.NDArray[np.floating], points_k: npt.NDArray[np.floating], homography: FloatArray
) -> FloatArray:
    """(M,) distances in pixels of image k between H x_1 and its match x_k: one direction only."""
    errors = np.linalg.norm(points_k - project(homography, points_1), axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)


def mean_matching_accuracy(errors: FloatArray, threshold: float) -> float:
    """Share of matches with error <= threshold; 0 when there is no match."""
    return float((errors <= threshold).mean()) if len(errors) else 0.0


def repeatability(points_1: FloatArray, points_k: FloatArray, threshold: float) -> float:
    """Share of points with a point of the other image within ``threshold``; 0 without points.

    Both sets lie in image k and in the part that both images show. Source: DeTone et al.,
    SuperPoint (CVPRW 2018), appendix B.
    """
    if not len(points_1) or not len(points_k):
        return 0.0
    near_k = np.asarray(cKDTree(points_k).query(points_1)[0]) <= threshold
    near_1 = np.asarray(cKDTree(points_1).query(points_k)[0]) <= threshold
    return float((near_k.sum() + near_1.sum()) / (len(points_1) + len(points_k)))
