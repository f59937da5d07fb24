"""Poses as the hloc toolbox estimates them: one from the matches of all cutouts together."""

import math
from dataclasses import dataclass

import numpy as np
import pycolmap

from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.sparse import Query
from d2eval.inloc.protocol import InlocBenchmark


@dataclass(frozen=True)
class PooledSettings:
    """How a query's pose is estimated."""

    min_matches: int  # cutouts of fewer are left out
    # reprojection error of an inlier, in a query whose long side is ``long_side_px``; scaled to the
    # query's
    max_error_px: float
    long_side_px: int  # of InLoc's queries
    confidence: float  # RANSAC's
    min_iterations: int  # RANSAC's
    max_iterations: int  # RANSAC's
    min_inlier_ratio: float  # bounds RANSAC's iterations; not a limit of the pose
    min_inliers: int  # below it there is no pose

    def options(self, camera: pycolmap.Camera, seed: int) -> pycolmap.AbsolutePoseEstimationOptions:
        """The estimator's, for the query of a camera."""
        ransac = {
            "max_error": self.max_error_px * max(camera.width, camera.height) / self.long_side_px,
            "confidence": self.confidence,
            "min_num_trials": self.min_iterations,
            "max_num_trials": self.max_iterations,
            "min_inlier_ratio": self.min_inlier_ratio,
            "random_seed": seed,
        }
        return pycolmap.AbsolutePoseEstimationOptions(ransac=ransac)


@dataclass(frozen=True)
class PooledPose:
    """A query's pose and what it rests on."""

    cutouts: tuple[str, ...]  # names of those used, in the order of the retrieval
    matches: int  # with all of them
    points: int  # matches with depth
    inliers: int  # of the pose
    # cam_from_world, or None. The frame is that of the floor, of which the cutouts should be; hloc
    # doesn't tell floors apart
    pose: pycolmap.Rigid3d | None


def pooled_pose(query: Query, settings: PooledSettings, seed: int) -> PooledPose:
    """One pose by PnP from the points that mutual nearest neighbours in all cutouts lead to.

    Source: hloc at c13273b, localize_inloc, whose limit of 48 pixels doesn't know of smaller
    queries than InLoc's. Where hloc stops with an error, at a keypoint on the
    border of a cutout and for a query without matches, here the point and the pose are left out.
    """
    used, seen, points, count = [], [np.zeros((0, 2))], [np.zeros((0, 3))], 0
    for item in query.retrieved:
        matches = query.match(item.cutout)
        if len(matches) < settings.min_matches:
            continue
        keypoints = query.load(item.cutout).keypoints[matches[:, 1]]
        found = interpolate_xyz(query.xyz(item.cutout), keypoints, "hloc")
        known = ~np.isnan(found).any(axis=1)
        used.append(item.cutout)
        count += len(matches)
        seen.append(query.features.keypoints[matches[known, 0]].astype(np.float64))
        points.append(found[known])
    pixels, positions, best = np.concatenate(seen), np.concatenate(points), None
    if len(pixels) >= settings.min_inliers:
        best = pycolmap.estimate_and_refine_absolute_pose(
            pixels, positions, query.camera, settings.options(query.camera, seed)
        )
    if best is None or best["num_inliers"] < settings.min_inliers:
        return PooledPose(tuple(used), count, len(pixels), 0, None)
    inliers, pose = int(best["num_inliers"]), best["cam_from_world"]
    return PooledPose(tuple(used), count, len(pixels), inliers, pose)


def pooled_candidates(query: Query, benchmark: InlocBenchmark, seed: int) -> list[Candidate]:
    """The `pooled_pose` as the candidate of the first cutout that it rests on, if there is one."""
    found = pooled_pose(query, PooledSettings(**benchmark.strategy("pooled")), seed)
    return [
        Candidate(
            query.name, item.cutout, item.score, found.matches, 0, 0, found.points, found.inliers,
            found.pose, item.score, math.nan,
        )
        for item in query.retrieved
        if item.cutout in found.cutouts[:1]
    ]  # fmt: skip
