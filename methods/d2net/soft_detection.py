"""Soft detection: how much each cell is a keypoint, differentiably."""

import torch
from torch.nn import functional

NEIGHBORHOOD = 3  # cells, both sides


def soft_scores(features: torch.Tensor) -> torch.Tensor:
    """Soft detection scores of dense features (D2-Net paper, equations 4 to 7).

    With r the features after a ReLU: alpha compares exp(r) with its sum over the 3x3 cells around
    in the same channel, beta compares r with the cell's strongest channel, and the score is the
    largest alpha beta over the channels, normalised to a sum of one over the image. As in the
    authors' training code, r is divided by the image's maximum inside exp, and cells beyond the
    border count as exp(0).

    Args:
        features: (B, C, h, w) without a last ReLU.

    Returns:
        (B, h, w). A cell whose channels are all zero scores 0; an image of such cells scores 0
        everywhere.
    """
    rectified = functional.relu(features)
    largest = rectified.amax(dim=(1, 2, 3), keepdim=True)
    exponentials = torch.exp(rectified / _not_zero(largest))
    margin = NEIGHBORHOOD // 2
    padded = functional.pad(exponentials, [margin] * 4, value=1.0)
    alpha = exponentials / (NEIGHBORHOOD**2 * functional.avg_pool2d(padded, NEIGHBORHOOD, stride=1))
    beta = rectified / _not_zero(rectified.amax(dim=1, keepdim=True))
    scores = (alpha * beta).amax(dim=1)
    return scores / _not_zero(scores.sum(dim=(1, 2), keepdim=True))


def _not_zero(divisor: torch.Tensor) -> torch.Tensor:
    # Where it is zero the dividend is too; one keeps the quotient 0 and its gradient finite.
    return torch.where(divisor == 0, torch.ones_like(divisor), divisor)
