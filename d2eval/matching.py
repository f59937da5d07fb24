"""Mutual nearest neighbours by dot product, in blocks of the similarity matrix."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import torch

Matches = npt.NDArray[np.int32]

VERSION = 1  # raise it when a change of the code changes the matches
BLOCK_BYTES = 32 * 1024 * 1024
BLOCK_COLUMNS = 4096


@numba.njit(nogil=True, cache=True, fastmath=True)
def _update(similarity, row, column, best_12, nearest_12, best_21, nearest_21):  # type: ignore[no-untyped-def]
    """Takes in one block, whose first element is [row, column] of the whole matrix.

    One pass over a line that lies in the cache serves both directions. Of equal values the first
    counts, as blocks come in order. The loops are written so that they become vector code.
    """
    rows, columns = similarity.shape
    best_there, nearest_there = best_21[column : column + columns], nearest_21[column:]
    for i in range(rows):
        line = similarity[i]
        best = line[0]
        for j in range(columns):
            best = max(best, line[j])
        index = np.int32(row + i)
        for j in range(columns):
            value, before = line[j], best_there[j]
            nearest_there[j] = index if value > before else nearest_there[j]
            best_there[j] = value if value > before else before
        if best > best_12[row + i]:
            best_12[row + i] = best
            for j in range(columns):
                if line[j] == best:
                    nearest_12[row + i] = column + j
                    break


@dataclass(frozen=True)
class _Nearest:
    """Best similarity and index of the nearest neighbour, for both sets."""

    best_12: torch.Tensor
    nearest_12: torch.Tensor
    best_21: torch.Tensor
    nearest_21: torch.Tensor

    def take(self, similarity: torch.Tensor, row: int, column: int) -> None:
        """Takes in one block of similarities."""
        if similarity.device.type == "cpu":
            _update(
                similarity.numpy(), row, column, self.best_12.numpy(), self.nearest_12.numpy(),
                self.best_21.numpy(), self.nearest_21.numpy(),
            )  # fmt: skip
            return
        for dim, start, best, nearest in (
            (1, column, self.best_12[row:], self.nearest_12[row:]),
            (0, row, self.best_21[column:], self.nearest_21[column:]),
        ):
            values, indices = similarity.max(dim=dim)
            best, nearest = best[: len(values)], nearest[: len(values)]
            better = values > best
            nearest.copy_(torch.where(better, indices.int() + start, nearest))
            best.copy_(torch.where(better, values, best))


def mutual_nearest_neighbors(
    descriptors_1: npt.NDArray[np.float32],
    descriptors_2: npt.NDArray[np.float32],
    device: str = "cpu",
    block_bytes: int = BLOCK_BYTES,
) -> Matches:
    """Pairs that are each other's nearest neighbour; no ratio and no distance test.

    The similarity is the dot product of L2-normalised descriptors. It is computed once, block by
    block, and serves both directions, so memory beside the descriptors doesn't grow with them. Of
    equal neighbours the one of lower index counts.

    Source: D2-Net's HPatches notebook (similarity matrix, argmax both ways).

    Args:
        descriptors_1: (N1, D), L2-normalised.
        descriptors_2: (N2, D), L2-normalised.
        device: a torch device.
        block_bytes: the most bytes of similarities held at a time.

    Returns:
        (M, 2) int32 indices into the two sets, by rising first index.
    """
    n1, n2 = len(descriptors_1), len(descriptors_2)
    if n1 == 0 or n2 == 0:
        return np.zeros((0, 2), np.int32)
    columns = max(1, min(n2, BLOCK_COLUMNS, block_bytes // 4))
    rows = max(1, min(n1, block_bytes // (4 * columns)))
    first = torch.from_numpy(descriptors_1).to(device)
    second = torch.from_numpy(descriptors_2).to(device)
    found = _Nearest(
        torch.full((n1,), -torch.inf, device=device),
        torch.zeros(n1, dtype=torch.int32, device=device),
        torch.full((n2,), -torch.inf, device=device),
        torch.zeros(n2, dtype=torch.int32, device=device),
    )
    buffer = torch.empty(rows * columns, device=device)
    for row in range(0, n1, rows):
        block_1 = first[row : row + rows]
        for column in range(0, n2, columns):
            block_2 = second[column : column + columns]
            out = buffer[: len(block_1) * len(block_2)].view(len(block_1), len(block_2))
            found.take(torch.mm(block_1, block_2.T, out=out), row, column)
    ids = torch.arange(n1, dtype=torch.int32, device=device)
    mutual = found.nearest_21[found.nearest_12.long()] == ids
    matches = torch.stack([ids[mutual], found.nearest_12[mutual]], dim=1)
    return matches.cpu().numpy()
