"""A pose of a query from one database cutout, or from several together, and what it rests on."""

from dataclasses import dataclass

import pycolmap


@dataclass(frozen=True)
class Candidate:
    """One cutout's answer to a query."""

    query: str  # name of the query
    cutout: str  # name of the cutout; of a pose from several, the first in the ranking
    retrieval: float  # score of the retrieval
    matches: int  # tentative matches of the pair
    verified: int  # those that a homography supports
    homographies: int  # how many were found
    points: int  # matches with depth, which the pose is estimated from
    inliers: int  # of the pose
    pose: pycolmap.Rigid3d | None  # cam_from_world in the frame of the cutout's floor, or None
    score: float  # what the cutouts of a query are ranked by before their poses are verified
    pv_score: float  # of the pose verification; NaN where there was none
