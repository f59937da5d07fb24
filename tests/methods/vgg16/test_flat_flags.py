"""Which outputs are known to be equal, against a comparison window by window."""

import numpy as np
import pytest
import torch

from methods.vgg16.flat import LEFT, UP, equal_neighbours, propagate


def labels(height: int, width: int, seed: int) -> torch.Tensor:
    """(H, W, 1) of large constant rectangles."""
    generator = np.random.default_rng(seed)
    image = np.ones((height, width, 1), np.float32)
    for value in range(2, 6):
        top, left = generator.integers(0, height), generator.integers(0, width)
        tall, wide = generator.integers(1, height + 1), generator.integers(1, width + 1)
        image[top : top + tall, left : left + wide] = value
    return torch.from_numpy(image)


@pytest.mark.parametrize("seed", range(4))
def test_equal_neighbours(seed):
    image = labels(15, 18, seed)
    flags = equal_neighbours(image, None)
    for i in range(15):
        for j in range(18):
            left = j > 0 and bool((image[i, j] == image[i, j - 1]).all())
            up = i > 0 and bool((image[i, j] == image[i - 1, j]).all())
            assert flags[i, j] == LEFT * left + UP * up
    assert np.array_equal(equal_neighbours(image[6:], image[5]), flags[6:])


@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, 1), (5, 1, 2), (2, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("seed", range(4))
def test_propagation_is_the_comparison_of_what_two_windows_see(kernel, stride, padding, seed):
    image = labels(21, 26, seed)
    found = propagate(equal_neighbours(image, None), kernel, stride, padding)
    padded = np.pad(image[:, :, 0].numpy(), padding)  # 0 is no label
    for axis, bit in ((1, LEFT), (0, UP)):
        values, flags = (padded, found) if axis == 1 else (padded.T, found.T)
        rows, columns = ((n - kernel) // stride + 1 for n in values.shape)
        assert flags.shape == (rows, columns)
        for i in range(rows):
            for j in range(columns):
                part = values[i * stride : i * stride + kernel]
                both = part[:, (j - 1) * stride : j * stride + kernel] if j else None
                same = both is not None and bool((both == both[:, :1]).all())
                assert bool(flags[i, j] & bit) == same, (axis, i, j)
