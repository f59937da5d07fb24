"""Dense matches of a query and a cutout, verified by homographies: those of InLoc's Dense PE."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.contracts.maps import Maps
from d2eval.inloc.poses.demo_ransac import demo_inliers
from d2eval.inloc.protocol import check_choices
from d2eval.metrics.homography import HomographyEstimator, project
from d2eval.pipeline.coarse_to_fine import coarse_matches, fine_matches

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DenseSettings:
    """How matches of fine cells are verified, and where a cell lies."""

    max_homographies: int  # how many are sought, one after the other
    min_inliers: int  # a homography counts when it has MORE than so many inliers
    tolerance_cells: float  # reprojection error of an inlier in the cutout's fine map, exclusive
    confidence: float  # RANSAC's
    min_iterations: int  # RANSAC's
    max_iterations: int  # RANSAC's
    # "center" of the cell, or "inloc_demo": at_featureupsample multiplies indices that count from 1
    # by the share of the image's side that a cell has. In the cutout that is the index of a pixel,
    # counted from 1: the cell's last. In the query the camera takes the number as it is
    cell_point: str
    ransac: str  # "poselib", or "inloc_demo", see `d2eval.inloc.poses.demo_ransac`

    def __post_init__(self) -> None:
        check_choices(self, cell_point=("center", "inloc_demo"), ransac=("poselib", "inloc_demo"))


@dataclass(frozen=True, eq=False)
class DenseMatches:
    """Verified matches of two images."""

    query: FloatArray  # (N, 2) pixels in the original query
    cutout: FloatArray  # (N, 2) pixels in the original cutout
    coarse: int  # how many coarse cells were matched
    fine: int  # how many different pairs of fine cells that gave
    inliers: tuple[int, ...]  # of each homography; their sum is N, whose rows stand in this order

    def __len__(self) -> int:
        """Number of verified matches, what InLoc ranks cutouts by."""
        return len(self.query)


def _inliers(
    cells_1: FloatArray, cells_2: FloatArray, settings: DenseSettings, seed: int
) -> npt.NDArray[np.bool_]:
    """Which matches the best homography explains."""
    tolerance, confidence = settings.tolerance_cells, settings.confidence
    if settings.ransac == "inloc_demo":
        return demo_inliers(cells_1, cells_2, tolerance, confidence, settings.max_iterations, seed)
    estimator = HomographyEstimator(
        "poselib", tolerance, confidence, settings.min_iterations, settings.max_iterations
    )
    homography = estimator.estimate(cells_1, cells_2, seed)
    if homography is None:
        return np.zeros(len(cells_1), np.bool_)
    error = np.linalg.norm(project(homography, cells_1) - cells_2, axis=1)
    return np.asarray(error < tolerance)  # NaN, at infinity, is no inlier


def homography_groups(
    cells_1: FloatArray, cells_2: FloatArray, settings: DenseSettings, seed: int
) -> list[IndexArray]:
    """Groups of matches that a homography each explains.

    The inliers of the first homography leave, and the next is sought among the rest, until one has
    too few or there are enough.

    Source: InLoc_demo, at_denseransac and at_ransacH4. Its RANSAC takes the sample with most
    inliers, refined once by least squares; poselib's LO-RANSAC minimises the truncated error. An
    inlier is the same: a match whose error in image 2 is below the tolerance.

    Args:
        cells_1: (M, 2) x and y in cells of the first fine map.
        cells_2: (M, 2) in the second.
        settings: tolerance and limits.
        seed: of the sampling.

    Returns:
        One rising array of indices into the matches for each homography.
    """
    left = np.arange(len(cells_1))
    groups: list[IndexArray] = []
    while len(groups) < settings.max_homographies and len(left) > settings.min_inliers:
        inliers = _inliers(cells_1[left], cells_2[left], settings, seed)
        if inliers.sum() <= settings.min_inliers:
            break
        groups.append(left[inliers])
        left = left[~inliers]
    return groups


def match_dense(
    query: Maps, cutout: Maps, settings: DenseSettings, seed: int, device: str = "cpu"
) -> DenseMatches:
    """Verified dense matches of a query and a cutout.

    Returns:
        The matches of all homographies, in pixels of the original images; none if no homography
        has enough.
    """
    coarse = coarse_matches(query, cutout, device)
    fine = fine_matches(query, cutout, coarse, device)
    cells, points = [], []
    for maps, matched in ((query, fine[:, 0]), (cutout, fine[:, 1])):
        rows, columns = np.divmod(matched, maps.fine.shape[1])
        cells.append(np.stack([columns, rows], axis=1).astype(np.float64))
        points.append(maps.fine_points(matched))
        if settings.cell_point == "inloc_demo":
            points[-1] = (cells[-1] + 1) * np.array(maps.image_size) / maps.fine.shape[1::-1]
    if settings.cell_point == "inloc_demo":
        points[1] -= 1  # an index of MATLAB's
    groups = homography_groups(cells[0], cells[1], settings, seed)
    kept = np.concatenate([np.zeros(0, np.int64), *groups])
    return DenseMatches(
        points[0][kept], points[1][kept], len(coarse), len(fine), tuple(map(len, groups))
    )
