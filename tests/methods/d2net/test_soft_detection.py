"""Soft detection scores: against loops over cells, by hand, and where nothing is detected."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.d2net.soft_detection import soft_scores


def random_features(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def slow_scores(features):
    """(C, h, w) to (h, w), cell by cell, from the definition."""
    channels, height, width = features.shape
    zero = torch.zeros((), dtype=features.dtype)
    cells = [(i, j) for i in range(height) for j in range(width)]
    r = {(k, i, j): max(features[k, i, j], zero) for k in range(channels) for i, j in cells}
    largest = max(r.values())

    def exponential(k, i, j):
        beyond = (k, i, j) not in r
        return torch.ones_like(zero) if beyond else torch.exp(r[k, i, j] / largest)

    def score(i, j):
        products = []
        strongest = max(r[k, i, j] for k in range(channels))
        for k in range(channels):
            around = sum(exponential(k, i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1))
            alpha = exponential(k, i, j) / around
            products.append(alpha * r[k, i, j] / strongest)
        return max(products)

    scores = torch.stack([score(i, j) for i, j in cells]).reshape(height, width)
    return scores / scores.sum()


@pytest.mark.parametrize(("seed", "size"), [(0, (5, 6)), (1, (5, 6)), (2, (1, 7)), (3, (3, 2))])
def test_values_and_gradients_are_those_of_loops(seed, size):
    features = random_features(seed, 4, *size)
    features[0] = features[0].abs()  # 0 / 0 is not defined
    features.requires_grad_()
    expected, found = slow_scores(features), soft_scores(features[None])[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    toward = random_features(seed + 10, *size)
    (wanted,) = torch.autograd.grad((expected * toward).sum(), features)
    (gradient,) = torch.autograd.grad((found * toward).sum(), features)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-13)


def test_two_cells_by_hand():
    # m = 4; alpha of channel 0 is exp(2/4) or exp(1/4) over both and seven cells beyond the border,
    # beta is 1 and 1/4; channel 1 has exp(0) and exp(4/4), beta 0 and 1.
    features = torch.tensor([[[2.0, 1.0]], [[-3.0, 4.0]]], dtype=torch.float64)
    around = math.exp(0.5) + math.exp(0.25) + 7
    left = math.exp(0.5) / around
    right = max(math.exp(0.25) / around / 4, math.e / (1 + math.e + 7))
    expected = [left / (left + right), right / (left + right)]
    assert soft_scores(features[None])[0, 0].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_weaker_channel_that_peaks_may_decide():
    # Channel 0 is flat at 1; channel 1 peaks at 0.9 in the middle of zeros: 0.9 exp(0.9) over
    # exp(0.9) + 8 is more than exp(1) over 9 exp(1).
    features = torch.ones(2, 5, 5, dtype=torch.float64)
    features[1] = 0
    features[1, 2, 2] = 0.9
    scores = soft_scores(features[None])[0]
    expected = 0.9 * math.exp(0.9) / (math.exp(0.9) + 8) / (1 / 9)
    assert float(scores[2, 2] / scores[1, 2]) == pytest.approx(expected)
    assert expected > 1.5


def test_a_single_cell_scores_one():
    assert soft_scores(torch.tensor([2.0, 1.0])[None, :, None, None]).tolist() == [[[1.0]]]


def test_scores_sum_to_one():
    features = 50 * random_features(0, 3, 16, 11, 9).float()
    sums = soft_scores(features).sum(dim=(1, 2))
    assert sums.tolist() == pytest.approx([1] * 3, abs=1e-5)


def test_cells_without_a_positive_channel_score_zero():
    features = random_features(1, 1, 3, 4, 5)
    features[:, 0] = features[:, 0].abs()
    features[0, :, 1, 2] = 0
    features[0, :, 3, 0] = -torch.tensor([1.0, 2, 3])
    features.requires_grad_()
    scores = soft_scores(features)
    zero = torch.zeros(4, 5, dtype=torch.bool)
    zero[1, 2] = zero[3, 0] = True
    assert ((scores[0] == 0) == zero).all()
    assert float(scores.sum().detach()) == pytest.approx(1)
    (gradient,) = torch.autograd.grad((scores * random_features(2, 4, 5)).sum(), features)
    assert gradient.isfinite().all()
    assert (gradient[0, :, 3, 0] == 0).all()


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_an_image_without_a_positive_channel_scores_zero(value):
    features = torch.stack([torch.full((3, 4, 5), value), random_features(3, 3, 4, 5).float()])
    features.requires_grad_()
    scores = soft_scores(features)
    assert (scores[0] == 0).all()
    assert float(scores[1].sum().detach()) == pytest.approx(1)
    (gradient,) = torch.autograd.grad((scores * scores).sum(), features)
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() > 0


def test_images_of_a_batch_are_apart():
    features = random_features(4, 3, 5, 6, 7) * torch.tensor([0.01, 1, 100])[:, None, None, None]
    together = soft_scores(features)
    for number, image in enumerate(features):
        torch.testing.assert_close(soft_scores(image[None])[0], together[number])


def test_numerical_gradients():
    features = random_features(0, 2, 3, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(soft_scores, features)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.floats(-40, 40))
@settings(max_examples=30, deadline=None)
def test_scores_do_not_depend_on_the_features_scale(seed, height, width, power):
    features = random_features(seed, 1, 3, height, width)
    torch.testing.assert_close(
        soft_scores(features * 2**power), soft_scores(features), rtol=1e-9, atol=1e-12
    )
