"""Matches by nearest neighbours: what matchers are made of."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from d2eval.foundation.arrays.nearest import FloatArray, Nearest

Matches = npt.NDArray[np.int32]  # (M, 2) indices into two sets of features

VERSION = 2  # raise it when a change here, or in foundation.arrays.nearest, changes the matches


def mutual_pairs(there: "Nearest", back: "Nearest") -> Matches:
    """(M, 2) int32 pairs that are each other's nearest neighbour, by rising first index."""
    ids = np.arange(len(there.index), dtype=np.int32)
    mutual = back.index[there.index] == ids
    return np.stack([ids[mutual], there.index[mutual]], axis=1)


def squared_distances(similarity: "FloatArray") -> "FloatArray":
    """Squared Euclidean distances of L2-normalised descriptors by their dot product."""
    return np.maximum(2 - 2 * similarity, np.float32(0))


def mutual_nearest_neighbors(
    descriptors_1: "FloatArray", descriptors_2: "FloatArray", device: str = "cpu"
) -> Matches:
    """Pairs that are each other's nearest neighbour; no ratio and no distance test.

    Of equal neighbours the one of lower index counts.

    Source: D2-Net's HPatches notebook (similarity matrix, argmax both ways).

    Args:
        descriptors_1: (N1, D), L2-normalised.
        descriptors_2: (N2, D), L2-normalised.
        device: a torch device.

    Returns:
        (M, 2) int32 indices into the two sets, by rising first index.
    """
    if len(descriptors_1) == 0 or len(descriptors_2) == 0:
        return np.zeros((0, 2), np.int32)
    from d2eval.foundation.arrays.nearest import nearest_neighbors  # PyTorch takes seconds

    return mutual_pairs(*nearest_neighbors(descriptors_1, descriptors_2, device))
