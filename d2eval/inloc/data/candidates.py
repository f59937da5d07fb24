"""A pose of a query from one database cutout, or from several together, and what it rests on."""

from dataclasses import dataclass

import pycolmap


@dataclass(frozen=True)
class Candidate:
    """One cutout's answer to a query.

    Attributes:
        query: name of the query.
        cutout: name of the cutout; of a pose from several, the first in the ranking.
        retrieval: score of the retrieval.
        matches: tentative matches of the pair.
        verified: those that a homography supports.
        homographies: how many were found.
        points: matches with depth, which the pose is estimated from.
        inliers: of the pose.
        pose: cam_from_world in the frame of the cutout's floor, or None.
        score: what the cutouts of a query are ranked by before their poses are verified.
        pv_score: of the pose verification; NaN where there was none.
    """

    query: str
    cutout: str
    retrieval: float
    matches: int
    verified: int
    homographies: int
    points: int
    inliers: int
    pose: pycolmap.Rigid3d | None
    score: float
    pv_score: float
