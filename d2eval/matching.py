"""Mutual nearest neighbours by dot product, in row blocks."""

import numpy as np
import numpy.typing as npt
import torch

Matches = npt.NDArray[np.int32]

VERSION = 1  # raise it when a change of the code changes the matches
BLOCK_BYTES = 64 * 1024 * 1024


def mutual_nearest_neighbors(
    descriptors_1: npt.NDArray[np.float32],
    descriptors_2: npt.NDArray[np.float32],
    device: str = "cpu",
    block_bytes: int = BLOCK_BYTES,
) -> Matches:
    """Pairs that are each other's nearest neighbour; no ratio and no distance test.

    The similarity is the dot product of L2-normalised descriptors. It is computed once, block by
    block of rows, and serves both directions, so memory doesn't grow with N1. Of equal neighbours
    the one of lower index counts.

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
    rows = max(1, block_bytes // (4 * n2))
    first = torch.from_numpy(descriptors_1).to(device)
    second = torch.from_numpy(descriptors_2).to(device)
    nearest_12 = torch.empty(n1, dtype=torch.int64, device=device)
    best_21 = torch.full((n2,), -torch.inf, device=device)
    nearest_21 = torch.zeros(n2, dtype=torch.int64, device=device)
    buffer = torch.empty((min(rows, n1), n2), device=device)
    for start in range(0, n1, rows):
        block = first[start : start + rows]
        similarity = torch.mm(block, second.T, out=buffer[: len(block)])
        nearest_12[start : start + rows] = similarity.argmax(dim=1)
        values, indices = similarity.max(dim=0)
        better = values > best_21
        best_21 = torch.where(better, values, best_21)
        nearest_21 = torch.where(better, indices + start, nearest_21)
    ids = torch.arange(n1, device=device)
    mutual = nearest_21[nearest_12] == ids
    matches = torch.stack([ids[mutual], nearest_12[mutual]], dim=1)
    return matches.cpu().numpy().astype(np.int32)
