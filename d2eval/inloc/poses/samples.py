"""Samples of a RANSAC."""

import numpy as np
import numpy.typing as npt


def draw_samples(n: int, size: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """(count, size) indices below n, all different in a row, every set equally likely."""
    drawn = np.random.default_rng(seed).integers(0, n - np.arange(size), (count, size))
    for k in range(1, size):
        for taken in np.sort(drawn[:, :k], axis=1).T:
            drawn[:, k] += drawn[:, k] >= taken
    return drawn
