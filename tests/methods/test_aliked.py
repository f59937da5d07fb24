"""ALIKED's detection, which is the authors' and not kornia's, against a slow plain one."""

import numpy as np
import pytest
import torch

from d2eval.contracts.method import Runtime
from methods.modern.aliked import RADIUS, TEMPERATURE, Aliked, AlikedConfig, suppressed


def slow_maxima(scores: np.ndarray, left: np.ndarray) -> set[tuple[int, int]]:
    """Those of the pixels ``left`` that no other of them within the radius exceeds."""
    found = set()
    for y, x in zip(*np.nonzero(left), strict=True):
        near = np.s_[max(y - RADIUS, 0) : y + RADIUS + 1, max(x - RADIUS, 0) : x + RADIUS + 1]
        if scores[y, x] == np.where(left[near], scores[near], 0).max():
            found.add((int(y), int(x)))
    return found


def slow_suppressed(scores: np.ndarray) -> set[tuple[int, int]]:
    left, found = np.ones(scores.shape, bool), set()
    for _ in range(3):
        found |= slow_maxima(scores, left)
        left[:] = True
        for y, x in found:
            left[max(y - RADIUS, 0) : y + RADIUS + 1, max(x - RADIUS, 0) : x + RADIUS + 1] = False
    height, width = scores.shape
    return {
        (y, x) for y, x in found if RADIUS <= y < height - RADIUS and RADIUS <= x < width - RADIUS
    }


@pytest.mark.parametrize("levels", [60, 10_000])  # with many equal scores, and with hardly any
def test_what_a_keypoint_suppresses_suppresses_nothing(levels):
    scores = np.random.default_rng(levels).integers(1, levels, (23, 31)) / np.float32(levels)
    found = {tuple(cell) for cell in suppressed(torch.from_numpy(scores)).nonzero().tolist()}
    assert found == slow_suppressed(scores)
    once = slow_maxima(scores, np.ones(scores.shape, bool))
    assert len(found - once) > 3


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Its sides are no multiples of the network's 32 pixels."""
    blurred = np.random.default_rng(1).integers(0, 256, (11, 14, 3), np.uint8)
    return np.ascontiguousarray(blurred.repeat(8, 0).repeat(8, 1)[:81, :107])


def test_keypoints_are_the_means_around_maxima(image):
    pytest.importorskip("kornia")
    method = Aliked(AlikedConfig(), Runtime())
    found = method.extract(image)
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        scores = method._network.extract_dense_map(pixels)[1][0, 0].numpy()
    cells = sorted(cell for cell in slow_suppressed(scores) if scores[cell] > 0.2)
    assert len(found) == len(cells) > 20
    for (y, x), keypoint in zip(cells, found.keypoints, strict=True):
        around = scores[y - RADIUS : y + RADIUS + 1, x - RADIUS : x + RADIUS + 1].astype(float)
        weights = np.exp(around / TEMPERATURE)
        steps = np.arange(-RADIUS, RADIUS + 1)
        mean = [(weights.sum(k) * steps).sum() / weights.sum() for k in range(2)]
        np.testing.assert_allclose(keypoint, (x + mean[0], y + mean[1]), atol=1e-3)


def test_the_strongest_are_kept_and_a_threshold_that_none_passes_gives_way(image):
    pytest.importorskip("kornia")
    every = Aliked(AlikedConfig(), Runtime()).extract(image)
    few = Aliked(AlikedConfig(num_features=9), Runtime()).extract(image)
    kept = {tuple(point) for point in every.keypoints.tolist()}
    assert len(few) == 9
    assert {tuple(point) for point in few.keypoints.tolist()} < kept
    assert len(Aliked(AlikedConfig(threshold=0.9999), Runtime()).extract(image)) > 0
