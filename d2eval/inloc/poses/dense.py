"""Dense matches of a query and a cutout, coarse to fine: the matching of InLoc's Dense PE."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from d2eval.contracts.maps import Maps
from d2eval.contracts.matching import Matches, mutual_nearest_neighbors
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.poses.demo_ransac import demo_inliers
from d2eval.metrics.homography import HomographyEstimator, project

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

CELL_POINTS = ("center", "inloc_demo")
RANSACS = ("poselib", "inloc_demo")
BLOCK_BYTES = 32 * 2**20  # of the gathered descriptors of one side


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
        for name, choices in (("cell_point", CELL_POINTS), ("ransac", RANSACS)):
            if getattr(self, name) not in choices:
                raise D2EvalError(
                    f"{name} {getattr(self, name)!r} is not known; use {' or '.join(choices)}"
                )


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


def _first_fine(coarse: int, fine: int) -> IndexArray:
    """(coarse + 1,) where the fine cells of each coarse one begin, in one direction.

    A fine cell belongs to the coarse one whose share of the side holds its centre; where the fine
    side is odd, one coarse cell has three. Source: at_dense_hashtable (imresize, nearest).
    """
    owner = (2 * np.arange(fine) + 1) * coarse // (2 * fine)
    return np.searchsorted(owner, np.arange(coarse + 1))


def _neighborhoods(
    cells: npt.NDArray[np.integer], coarse: tuple[int, int], fine: tuple[int, int]
) -> IndexArray:
    """The fine cells of coarse cells and of their neighbours.

    Args:
        cells: (M,) coarse indices.
        coarse: (rows, columns) of the coarse map.
        fine: (rows, columns) of the fine map.

    Returns:
        (M, K) fine indices, rising; -1 fills rows of fewer.
    """
    lines = []
    for cell, count, fine_count in zip(
        np.divmod(cells.astype(np.int64), coarse[1]), coarse, fine, strict=True
    ):
        first = _first_fine(count, fine_count)
        begin, end = first[np.maximum(cell - 1, 0)], first[np.minimum(cell + 2, count)]
        line = begin[:, None] + np.arange((end - begin).max(initial=0))
        lines.append(np.where(line < end[:, None], line, -1))
    rows, columns = lines[0][:, :, None], lines[1][:, None, :]
    found = np.where((rows < 0) | (columns < 0), -1, rows * fine[1] + columns)
    return np.asarray(found.reshape(len(cells), rows.shape[1] * columns.shape[2]))


def _mutual_in_blocks(
    first: torch.Tensor, second: torch.Tensor, inside_1: torch.Tensor, inside_2: torch.Tensor
) -> Iterator[IndexArray]:
    """Mutual nearest neighbours of each of B pairs of sets: block, index in first, in second.

    Args:
        first: (B, K, D) descriptors.
        second: (B, L, D) descriptors.
        inside_1: (B, K) which of them count.
        inside_2: (B, L) the same.
    """
    similarity = torch.bmm(first, second.transpose(1, 2))
    similarity.masked_fill_(~inside_1[:, :, None], -torch.inf)
    similarity.masked_fill_(~inside_2[:, None, :], -torch.inf)
    nearest_12, nearest_21 = similarity.argmax(dim=2), similarity.argmax(dim=1)
    ids = torch.arange(first.shape[1], device=first.device)
    mutual = (nearest_21.gather(1, nearest_12) == ids) & inside_1
    block, index = torch.nonzero(mutual, as_tuple=True)
    for part in (block, index, nearest_12[block, index]):
        yield part.cpu().numpy()


def coarse_matches(query: Maps, cutout: Maps, device: str = "cpu") -> Matches:
    """(M, 2) coarse cells, row * columns + column, that are each other's nearest neighbour."""
    sides = [maps.coarse.reshape(-1, maps.coarse.shape[2]) for maps in (query, cutout)]
    return mutual_nearest_neighbors(sides[0], sides[1], device)


def fine_matches(query: Maps, cutout: Maps, coarse: Matches, device: str = "cpu") -> Matches:
    """Matches of fine cells near matched coarse ones.

    Around each coarse match, the fine cells of 3x3 coarse cells in one image are matched with those
    in the other: mutual nearest neighbours among themselves. Pairs that several coarse matches give
    count once.

    ``coarse`` are (M, 2) coarse cells.

    Source: InLoc_demo, at_coarse2fine_matching, and the first lines of at_denseransac.

    Returns:
        (N, 2) fine cells, row * columns + column, sorted.
    """
    sides, cells = [], []
    for maps, matched in ((query, coarse[:, 0]), (cutout, coarse[:, 1])):
        fine = maps.fine.reshape(-1, maps.fine.shape[2])
        sides.append(torch.from_numpy(fine).to(device))
        near = _neighborhoods(matched, maps.coarse.shape[:2], maps.fine.shape[:2])
        cells.append(torch.from_numpy(near).to(device))
    largest = max(near.shape[1] for near in cells)
    step = max(BLOCK_BYTES // (4 * max(largest, 1) * query.fine.shape[2]), 1)
    found = [np.zeros((0, 2), np.int32)]
    for begin in range(0, len(coarse), step):
        one, two = (near[begin : begin + step] for near in cells)
        # Index -1 takes the last cell's descriptor, which the mask leaves out again.
        block, i, j = _mutual_in_blocks(sides[0][one], sides[1][two], one >= 0, two >= 0)
        pairs = [one.cpu().numpy()[block, i], two.cpu().numpy()[block, j]]
        found.append(np.stack(pairs, axis=1).astype(np.int32))
    return np.unique(np.concatenate(found), axis=0)


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
