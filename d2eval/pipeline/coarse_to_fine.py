"""Matches of two images' dense maps, coarse to fine, by mutual nearest neighbours."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from d2eval.contracts.maps import Maps
from d2eval.contracts.matching import Matches, mutual_nearest_neighbors

IndexArray = npt.NDArray[np.int64]

BLOCK_BYTES = 32 * 2**20  # of the gathered descriptors of one side


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


def coarse_matches(first: Maps, other: Maps, device: str = "cpu") -> Matches:
    """(M, 2) coarse cells, row * columns + column, that are each other's nearest neighbour."""
    sides = [maps.coarse.reshape(-1, maps.coarse.shape[2]) for maps in (first, other)]
    return mutual_nearest_neighbors(sides[0], sides[1], device)


def fine_matches(first: Maps, other: Maps, coarse: Matches, device: str = "cpu") -> Matches:
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
    for maps, matched in ((first, coarse[:, 0]), (other, coarse[:, 1])):
        fine = maps.fine.reshape(-1, maps.fine.shape[2])
        sides.append(torch.from_numpy(fine).to(device))
        near = _neighborhoods(matched, maps.coarse.shape[:2], maps.fine.shape[:2])
        cells.append(torch.from_numpy(near).to(device))
    largest = max(near.shape[1] for near in cells)
    step = max(BLOCK_BYTES // (4 * max(largest, 1) * first.fine.shape[2]), 1)
    found = [np.zeros((0, 2), np.int32)]
    for begin in range(0, len(coarse), step):
        one, two = (near[begin : begin + step] for near in cells)
        # Index -1 takes the last cell's descriptor, which the mask leaves out again.
        block, i, j = _mutual_in_blocks(sides[0][one], sides[1][two], one >= 0, two >= 0)
        pairs = [one.cpu().numpy()[block, i], two.cpu().numpy()[block, j]]
        found.append(np.stack(pairs, axis=1).astype(np.int32))
    return np.unique(np.concatenate(found), axis=0)
