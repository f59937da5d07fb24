"""Poses as the hloc toolbox estimates them: one from the matches of all cutouts together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.sparse import LoadFeatures, LoadXyz, Match, Query


@dataclass(frozen=True)
class PooledSettings:
    """How a query's pose is estimated.

    Attributes:
        min_matches: cutouts of fewer are left out.
        max_error_px: reprojection error of an inlier, in a query whose long side is
            ``long_side_px``; scaled to the query's.
        long_side_px: of InLoc's queries.
        confidence: RANSAC's.
        min_iterations: RANSAC's.
        max_iterations: RANSAC's.
        min_inlier_ratio: bounds RANSAC's iterations; not a limit of the pose.
        min_inliers: below it there is no pose.
    """

    min_matches: int
    max_error_px: float
    long_side_px: int
    confidence: float
    min_iterations: int
    max_iterations: int
    min_inlier_ratio: float
    min_inliers: int


@dataclass(frozen=True)
class PooledPose:
    """A query's pose and what it rests on.

    Attributes:
        cutouts: names of those used, in the order of the retrieval.
        matches: with all of them.
        points: matches with depth.
        inliers: of the pose.
        pose: cam_from_world, or None. The frame is that of the floor, of which the cutouts should
            be; hloc doesn't tell floors apart.
    """

    cutouts: tuple[str, ...]
    matches: int
    points: int
    inliers: int
    pose: pycolmap.Rigid3d | None


def pooled_pose(
    query: Query,
    retrieved: Sequence[Retrieved],
    features: LoadFeatures,
    match: Match,
    xyz: LoadXyz,
    settings: PooledSettings,
    seed: int,
) -> PooledPose:
    """One pose by PnP from the points that mutual nearest neighbours in all cutouts lead to.

    Source: hloc at c13273b, localize_inloc, whose limit of 48 pixels doesn't know of smaller
    queries than InLoc's. Where hloc stops with an error, at a keypoint on the
    border of a cutout and for a query without matches, here the point and the pose are left out.

    Args:
        query: the query.
        retrieved: its cutouts, all of which are used.
        features: of a cutout, by its name.
        match: mutual nearest neighbours of the query and a cutout, by its name.
        xyz: (H, W, 3) coordinates of a cutout in the frame of its floor, by its name.
        settings: of the estimation.
        seed: of the estimation.
    """
    used, seen, points, count = [], [np.zeros((0, 2))], [np.zeros((0, 3))], 0
    for item in retrieved:
        matches = match(item.cutout)
        if len(matches) < settings.min_matches:
            continue
        keypoints = features(item.cutout).keypoints[matches[:, 1]]
        found = interpolate_xyz(xyz(item.cutout), keypoints, "hloc")
        known = ~np.isnan(found).any(axis=1)
        used.append(item.cutout)
        count += len(matches)
        seen.append(query.features.keypoints[matches[known, 0]].astype(np.float64))
        points.append(found[known])
    pose, inliers = _estimate(
        np.concatenate(seen), np.concatenate(points), query.camera, settings, seed
    )
    return PooledPose(tuple(used), count, sum(map(len, points)), inliers, pose)


def _estimate(
    seen: np.ndarray,
    points: np.ndarray,
    camera: pycolmap.Camera,
    settings: PooledSettings,
    seed: int,
) -> tuple[pycolmap.Rigid3d | None, int]:
    if len(seen) < settings.min_inliers:
        return None, 0
    ransac = {
        "max_error": settings.max_error_px
        * max(camera.width, camera.height)
        / settings.long_side_px,
        "confidence": settings.confidence,
        "min_num_trials": settings.min_iterations,
        "max_num_trials": settings.max_iterations,
        "min_inlier_ratio": settings.min_inlier_ratio,
        "random_seed": seed,
    }
    found = pycolmap.estimate_and_refine_absolute_pose(
        seen, points, camera, pycolmap.AbsolutePoseEstimationOptions(ransac=ransac)
    )
    if found is None or found["num_inliers"] < settings.min_inliers:
        return None, 0
    return found["cam_from_world"], int(found["num_inliers"])
