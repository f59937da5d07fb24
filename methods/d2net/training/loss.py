"""The extended triplet margin ranking loss (D2-Net paper, section 4.1)."""

import torch
from torch.nn import functional

MARGIN = 1.0
SAFE_RADIUS = 4  # cells; nearer ones are no negatives
EXCLUDED = 10.0  # added to squared distances, which are at most 4, of what is no negative


def _hardest_negative(
    descriptors: torch.Tensor, others: torch.Tensor, cells: torch.Tensor, width: int
) -> torch.Tensor:
    """(N,) least squared distance to a cell further than the safe radius from ``cells``.

    Args:
        descriptors: (N, C) of one image.
        others: (h w, C) of all cells of the other image.
        cells: (N, 2) (row, column) in the other image.
        width: w.
    """
    distance = 2 - 2 * descriptors @ others.T
    index = torch.arange(len(others), device=cells.device)
    rows = (cells[:, :1] - index // width).abs()
    columns = (cells[:, 1:] - index % width).abs()
    near = torch.maximum(rows, columns) <= SAFE_RADIUS
    return (distance + EXCLUDED * near).amin(dim=1)


def pair_loss(
    features_1: torch.Tensor,
    features_2: torch.Tensor,
    scores_1: torch.Tensor,
    scores_2: torch.Tensor,
    cells_1: torch.Tensor,
    cells_2: torch.Tensor,
) -> torch.Tensor:
    """Loss of one pair, the mean over correspondences weighted by both scores.

    Each correspondence gives max(0, 1 + p - n): p is the squared distance of its L2-normalised
    descriptors, n the least squared distance from either to a cell of the other image at a
    Chebyshev distance of more than 4 cells from its counterpart.

    Args:
        features_1: (C, h, w) dense features, not normalised.
        features_2: of the other image, whose size may be another.
        scores_1: (h, w) soft detection scores.
        scores_2: of the other image.
        cells_1: (N, 2) int64 (row, column) of corresponding cells, N of 1 or more.
        cells_2: in the other image.
    """
    channels, _, width_1 = features_1.shape
    width_2 = features_2.shape[2]
    all_1 = functional.normalize(features_1.reshape(channels, -1), dim=0).T
    all_2 = functional.normalize(features_2.reshape(channels, -1), dim=0).T
    index_1 = cells_1[:, 0] * width_1 + cells_1[:, 1]
    index_2 = cells_2[:, 0] * width_2 + cells_2[:, 1]
    # Of all_1[index_1], several threads would sum the gradients in the order in which they come.
    descriptors_1, descriptors_2 = all_1.index_select(0, index_1), all_2.index_select(0, index_2)
    positive = 2 - 2 * (descriptors_1 * descriptors_2).sum(dim=1)
    negative = torch.minimum(
        _hardest_negative(descriptors_1, all_2, cells_2, width_2),
        _hardest_negative(descriptors_2, all_1, cells_1, width_1),
    )
    weight = scores_1.flatten().index_select(0, index_1)
    weight = weight * scores_2.flatten().index_select(0, index_2)
    total = weight.sum()
    terms = functional.relu(MARGIN + positive - negative)
    return (weight * terms).sum() / torch.where(total == 0, torch.ones_like(total), total)
