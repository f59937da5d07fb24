"""Poses from sparse features, one for each cutout: InLoc's Sparse PE and Direct PE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.homographies import (
    HomographySettings,
    IndexArray,
    frames,
    homography_groups,
)
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.p3p import P3PSettings, PoseEstimate, estimate_pose
from d2eval.inloc.protocol import InlocBenchmark


@dataclass(frozen=True, eq=False)
class Query:
    """An image that is localized, and what is known of its cutouts by their names."""

    name: str  # of the image
    features: Features  # of the image
    camera: pycolmap.Camera  # counts pixels from the centre of the top-left one, as keypoints do
    retrieved: Sequence[Retrieved]  # its cutouts, best first
    load: Callable[[str], Features]  # gives the features of a cutout
    match: Callable[[str], Matches]  # gives the matches of the query's features with a cutout's
    # gives (H, W, 3) coordinates of a cutout's pixels in the frame of its floor
    xyz: Callable[[str], npt.NDArray[np.float64]]


def verify(
    query: Features, cutout: Features, matches: Matches, settings: HomographySettings
) -> list[IndexArray]:
    """Groups of ``matches`` that a homography each explains; see `homography_groups`.

    Features are ellipses where the method gives affine shapes, else discs of their scales, turned
    by their orientations where they have any (radians).

    InLoc_demo hands the scales of D2-Net over as they are extracted, from the query in a size of
    its own: not multiplied by its resize factor, as the keypoints are. First hypotheses are off by
    that factor. Whether scales here are, is the method's choice; D2-Net's are not. ``matches`` are
    (M, 2) indices into the two.

    Returns:
        One rising array of rows of ``matches`` for each homography.
    """
    sides = []
    for features, indices in ((query, matches[:, 0]), (cutout, matches[:, 1])):
        ellipses = features.affine_shapes
        if ellipses is None:
            shapes = frames(len(features), features.scales, features.orientations)
        else:
            shapes = ellipses.astype(np.float64)
        sides.append((features.keypoints[indices], shapes[indices]))
    return homography_groups(*sides[0], *sides[1], settings)


def placed(
    query: Features,
    cutout: Features,
    matches: Matches,
    xyz: npt.NDArray[np.floating],
    keypoints: str,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]:
    """Pixels of matches in the query, and where their depth is (bilinear, in all four neighbours).

    ``matches`` are (M, 2) indices into the two; ``xyz`` are (H, W, 3) coordinates of the cutout's
    pixels in the frame of its floor; ``keypoints`` is `P3PSettings.keypoints`.

    Source of "inloc_demo": custom_demo of the D2-Net authors reads keypoints from files as they
    are, and parfor_sparsePE and parfor_originalPE hand them to interp2, which counts from 1.

    Returns:
        (M, 2) pixels as the camera takes them, and (M, 3) points, NaN without depth.
    """
    sides = query.keypoints, cutout.keypoints
    if keypoints == "inloc_demo":
        sides = query.own_keypoints(), cutout.own_keypoints() - 1
    return sides[0][matches[:, 0]], interpolate_xyz(xyz, sides[1][matches[:, 1]], "bilinear")


def locate(
    query: Query,
    cutout: Features,
    matches: Matches,
    xyz: npt.NDArray[np.floating],
    settings: P3PSettings,
    seed: int,
) -> PoseEstimate:
    """The pose by the matches that have depth; ``matches`` and ``xyz`` as of `placed`.

    Returns:
        The estimate, whose inliers are a mask of the matches with depth.
    """
    pixels, points = placed(query.features, cutout, matches, xyz, settings.keypoints)
    known = ~np.isnan(points).any(axis=1)
    return estimate_pose(pixels[known], points[known], query.camera, settings, seed)


def sparse_candidates(query: Query, benchmark: InlocBenchmark, seed: int) -> list[Candidate]:
    """Sparse PE: cutouts ranked by verified matches, each of the best with a pose from them.

    The score is the retrieval's plus the number of verified matches; equal ones keep the order of
    the retrieval.

    The seed is that of every pose by itself, so that the order of cutouts doesn't matter.

    Source: InLoc_demo, ht_top100_sparsePE_localization, parfor_sparseGV and parfor_sparsePE.

    Returns:
        The candidates by falling score.
    """
    settings = HomographySettings(**benchmark.strategy("sparse"))
    p3p, limits = P3PSettings(**benchmark.strategy("p3p")), benchmark.retrieval
    verified: list[tuple[Retrieved, Matches, list[IndexArray]]] = []
    for item in query.retrieved[: limits.candidates]:
        cutout, matches = query.load(item.cutout), query.match(item.cutout)
        verified.append((item, matches, verify(query.features, cutout, matches, settings)))
    scores = [item.score + sum(map(len, groups)) for item, _, groups in verified]
    candidates = []
    for index in np.argsort(-np.array(scores), kind="stable")[: limits.posed]:
        item, matches, groups = verified[index]
        kept = np.concatenate([*groups, np.zeros(0, np.int64)])
        cutout, xyz = query.load(item.cutout), query.xyz(item.cutout)
        found = locate(query, cutout, matches[kept], xyz, p3p, seed)
        candidates.append(
            Candidate(
                query.name, item.cutout, item.score, len(matches), len(kept), len(groups),
                len(found.inliers), found.count, found.pose, scores[index], float("nan"),
            )
        )  # fmt: skip
    return candidates


def direct_candidates(query: Query, benchmark: InlocBenchmark, seed: int) -> list[Candidate]:
    """Direct PE: a pose for each of the best retrieved cutouts from matches that nothing verified.

    The seed is that of every pose by itself, so that the order of cutouts doesn't matter.

    Source: InLoc_demo, ht_top100_sparsePE_localization and parfor_originalPE, which takes the
    matches of at_sparseransac, empty for images of few features.

    Returns:
        The candidates in the order of the retrieval, which is their score.
    """
    least = benchmark.strategy("direct")["min_features"]  # images of fewer are not matched
    p3p = P3PSettings(**benchmark.strategy("p3p"))
    candidates = []
    for item in query.retrieved[: benchmark.retrieval.posed]:
        cutout = query.load(item.cutout)
        matches = np.zeros((0, 2), np.int32)
        if min(len(query.features), len(cutout)) >= least:
            matches = query.match(item.cutout)
        found = locate(query, cutout, matches, query.xyz(item.cutout), p3p, seed)
        candidates.append(
            Candidate(
                query.name, item.cutout, item.score, len(matches), 0, 0,
                len(found.inliers), found.count, found.pose, item.score, float("nan"),
            )
        )  # fmt: skip
    return candidates
