"""The loss of a pair: against loops over all cells, numerical gradients, and by hand."""

import numpy as np
import pytest
import torch

from methods.d2net.soft_detection import soft_scores
from methods.d2net.training.loss import pair_loss

RADIUS = 4
MARGIN = 1


def slow_terms(features_1, features_2, cells_1, cells_2):
    """max(0, 1 + p - min(n1, n2)) of each correspondence, cell by cell, from the definition."""

    def descriptors(features):
        _, height, width = features.shape
        cells = [(i, j) for i in range(height) for j in range(width)]
        return {(i, j): features[:, i, j] / features[:, i, j].norm() for i, j in cells}

    def distance(one, other):
        return ((one - other) ** 2).sum()

    def hardest(descriptor, others, counterpart):
        i, j = counterpart
        return min(
            distance(descriptor, other)
            for (row, column), other in others.items()
            if abs(row - i) > RADIUS or abs(column - j) > RADIUS
        )

    all_1, all_2 = descriptors(features_1), descriptors(features_2)
    terms = []
    for cell_1, cell_2 in zip(cells_1.tolist(), cells_2.tolist(), strict=True):
        one, two = all_1[tuple(cell_1)], all_2[tuple(cell_2)]
        negative = min(hardest(one, all_2, cell_2), hardest(two, all_1, cell_1))
        terms.append(max(MARGIN + distance(one, two) - negative, torch.zeros_like(negative)))
    return terms


def slow_loss(features_1, features_2, scores_1, scores_2, cells_1, cells_2):
    total, weights = 0, 0
    terms = slow_terms(features_1, features_2, cells_1, cells_2)
    for term, one, two in zip(terms, cells_1.tolist(), cells_2.tolist(), strict=True):
        weight = scores_1[tuple(one)] * scores_2[tuple(two)]
        total, weights = total + weight * term, weights + weight
    return total / weights


def random_pair(seed, channels=5, size_1=(12, 11), size_2=(13, 12), count=20):
    """Maps, scores and cells; half of the correspondences look alike."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(channels, *size)) for size in (size_1, size_2)]
    scores = [rng.uniform(0, 1, size) for size in (size_1, size_2)]
    first = rng.permutation(size_1[0] * size_1[1])[:count]
    cells_1 = np.stack(np.unravel_index(first, size_1), axis=1)
    cells_2 = np.stack([rng.integers(0, length, count) for length in size_2], axis=1)
    for one, two in zip(cells_1[::2], cells_2[::2], strict=True):
        noise = 0.1 * rng.normal(size=channels)
        features[1][:, two[0], two[1]] = 3 * features[0][:, one[0], one[1]] + noise
    maps = [torch.from_numpy(part).requires_grad_() for part in (*features, *scores)]
    return maps, [torch.from_numpy(cells) for cells in (cells_1, cells_2)]


@pytest.mark.parametrize(("seed", "channels"), [(0, 5), (1, 5), (2, 5), (3, 48)])
def test_value_and_gradients_are_those_of_loops(seed, channels):
    maps, cells = random_pair(seed, channels)
    expected = slow_loss(*maps, *cells)
    found = pair_loss(*maps, *cells)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    wanted = torch.autograd.grad(expected, maps)
    for ours, theirs in zip(torch.autograd.grad(found, maps), wanted, strict=True):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_random_pairs_of_many_channels_are_partly_beyond_the_margin():
    maps, cells = random_pair(3, channels=48)
    zero = [float(term.detach()) == 0 for term in slow_terms(*maps[:2], *cells)]
    assert 2 < sum(zero) < len(zero) - 2


def test_numerical_gradients():
    maps, cells = random_pair(0, 4, (7, 6), (6, 8), count=9)
    assert torch.autograd.gradcheck(lambda *maps: pair_loss(*maps, *cells), maps)


@pytest.mark.slow
def test_numerical_gradients_with_soft_detection():
    maps, cells = random_pair(2, 3, (7, 6), (6, 8), count=9)

    def loss(one, two):
        return pair_loss(one, two, soft_scores(one[None])[0], soft_scores(two[None])[0], *cells)

    assert torch.autograd.gradcheck(loss, maps[:2])


def row_of(background, placed, length=12):
    """(2, 1, length) features: ``background`` but for what is placed at some columns."""
    features = torch.tensor(background, dtype=torch.float64)[:, None, None].repeat(1, 1, length)
    for column, descriptor in placed.items():
        features[:, 0, column] = torch.tensor(descriptor, dtype=torch.float64)
    return features


def ones(features):
    return torch.ones(features.shape[1:], dtype=torch.float64)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("tenth", "expected"), [((-8, -6), 0.6), ((3, 4), 1.32)])
def test_the_hardest_negative_lies_just_beyond_the_radius(tenth, expected, upright):
    # Cell 5 of image 1, (1, 0), corresponds to cell 2 of image 2, (0.8, 0.6): p = 0.4.
    # Image 2: cell 6, 4 cells off, would be at distance 0; cell 7, 5 cells off, is at 0.8.
    # Image 1: cell 1, 4 cells off, would be at distance 0; cell 10, 5 cells off, is at 4 or 0.08.
    first = row_of((-8, -6), {5: (2, 0), 1: (8, 6), 10: tenth})
    second = row_of((-1, 0), {2: (4, 3), 6: (5, 0), 7: (0.06, 0.08)})
    cells_1, cells_2 = torch.tensor([[0, 5]]), torch.tensor([[0, 2]])
    if upright:
        first, second = first.mT, second.mT
        cells_1, cells_2 = cells_1.flip(1), cells_2.flip(1)
    found = pair_loss(first, second, ones(first), ones(second), cells_1, cells_2)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("in_second", [False, True])
def test_negatives_are_the_cells_beyond_a_square(in_second):
    # A copy of the descriptor, at distance 0, counts where it is more than 4 rows or columns off.
    counterpart = (5, 6)
    for row in range(12):
        for column in range(13):
            if (row, column) == counterpart:
                continue
            plain = torch.tensor([0.0, 0, 1])[:, None, None].repeat(1, 12, 13)
            copied = plain.clone()
            for features in (plain, copied):
                features[:, 5, 6] = torch.tensor([1.0, 0, 0])
            copied[:, row, column] = torch.tensor([1.0, 0, 0])
            maps = (plain, copied) if in_second else (copied, plain)
            cells = torch.tensor([counterpart])
            found = pair_loss(*maps, torch.ones(12, 13), torch.ones(12, 13), cells, cells)
            beyond = max(abs(row - 5), abs(column - 6)) > 4
            # p = 0; the background is at distance 2, beyond the margin.
            assert float(found) == (1 if beyond else 0), (row, column)


def two_correspondences():
    """Terms of 1 and 0.44, by hand; each pair's cells are orthogonal to the other's."""
    features = [-torch.ones(4, 1, 30, dtype=torch.float64) for _ in range(2)]
    for number, column, descriptor in (
        (0, 3, (1, 0, 0, 0)),
        (1, 4, (0, 1, 0, 0)),  # p = 2, n = 2
        (0, 20, (0, 0, 1, 0)),
        (1, 24, (0, 0, 0.28, 0.96)),  # p = 1.44, n = 2
    ):
        features[number][:, 0, column] = torch.tensor(descriptor, dtype=torch.float64)
    return features, torch.tensor([[0, 3], [0, 20]]), torch.tensor([[0, 4], [0, 24]])


def test_correspondences_weigh_as_the_product_of_their_scores():
    features, cells_1, cells_2 = two_correspondences()
    scores = [torch.full((1, 30), 0.7, dtype=torch.float64) for _ in range(2)]
    scores[0][0, 3], scores[1][0, 4] = 0.5, 0.2
    scores[0][0, 20], scores[1][0, 24] = 0.3, 1.0
    found = pair_loss(*features, *scores, cells_1, cells_2)
    assert float(found) == pytest.approx((0.1 * 1 + 0.3 * 0.44) / 0.4)
    scores[1][0, 4] = 0
    assert float(pair_loss(*features, *scores, cells_1, cells_2)) == pytest.approx(0.44)


def test_nothing_detected_costs_nothing():
    features, cells_1, cells_2 = two_correspondences()
    maps = [*features, *(torch.zeros(1, 30, dtype=torch.float64) for _ in range(2))]
    for part in maps:
        part.requires_grad_()
    loss = pair_loss(*maps, cells_1, cells_2)
    assert float(loss.detach()) == 0
    for gradient in torch.autograd.grad(loss, maps):
        assert gradient.isfinite().all()


def test_a_negative_beyond_the_margin_costs_nothing():
    # p = 0.4 and n = 2 in both images.
    first, second = row_of((0, -1), {5: (1, 0)}), row_of((0, -1), {2: (0.8, 0.6)})
    second[:, 0, 7:] = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    maps = [first, second, ones(first), ones(second)]
    for part in maps:
        part.requires_grad_()
    loss = pair_loss(*maps, torch.tensor([[0, 5]]), torch.tensor([[0, 2]]))
    assert float(loss.detach()) == 0
    for gradient in torch.autograd.grad(loss, maps):
        assert (gradient == 0).all()


def test_maps_without_a_cell_beyond_the_radius():
    maps, cells = random_pair(0, 5, (3, 5), (5, 4), count=8)
    loss = pair_loss(*maps, *cells)
    assert float(loss.detach()) == 0
    for gradient in torch.autograd.grad(loss, maps):
        assert gradient.isfinite().all()


def test_negatives_of_one_image_alone():
    # Image 1 has three cells, so that the only negatives are those of image 2: n = 0.8.
    first = row_of((1, 0), {}, length=3)
    second = row_of((-1, 0), {2: (4, 3), 6: (5, 0), 7: (0.06, 0.08)})
    cells = torch.tensor([[0, 1]]), torch.tensor([[0, 2]])
    found = pair_loss(first, second, ones(first), ones(second), *cells)
    assert float(found) == pytest.approx(0.6)


def test_lengths_of_features_do_not_matter():
    maps, cells = random_pair(4)
    longer = [maps[0] * torch.rand(12, 11), maps[1] * 1000, *maps[2:]]
    torch.testing.assert_close(pair_loss(*longer, *cells), pair_loss(*maps, *cells))


@pytest.mark.slow
def test_several_threads_sum_gradients_in_one_order():
    """Many correspondences share a cell, as where one image shows what the other does larger.

    PyTorch divides sums of more than 32768 values among threads; where these race, two of three
    repetitions or more give other digits.
    """
    rng = np.random.default_rng(0)
    maps = [torch.from_numpy(rng.normal(size=(512, 14, 14)).astype(np.float32)) for _ in range(2)]
    scores = [torch.from_numpy(rng.uniform(0, 1, (14, 14)).astype(np.float32)) for _ in range(2)]
    cells = [torch.from_numpy(rng.integers(0, 4, (300, 2))) for _ in range(2)]

    def gradients():
        learned = [part.clone().requires_grad_() for part in maps]
        pair_loss(*learned, *scores, *cells).backward()
        return [part.grad for part in learned]

    torch.set_num_threads(2)  # `one_thread` sets it back
    first = gradients()
    for _ in range(5):
        assert all(map(torch.equal, gradients(), first))
