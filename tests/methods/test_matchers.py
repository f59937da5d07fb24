"""The shipped matchers against slow, obvious ones, and cases done by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2eval.contracts.features import Features
from d2eval.contracts.matcher import MatcherChoice, matcher_class, matches_of
from d2eval.contracts.matching import mutual_nearest_neighbors
from d2eval.contracts.method import Runtime
from d2eval.foundation.arrays import nearest


def features(descriptors) -> Features:
    descriptors = np.asarray(descriptors, np.float32)
    n = len(descriptors)
    return Features(np.ones((n, 2)), np.ones(n), descriptors, (4, 4))


def matched(name: str, first, second, **options) -> list[list[int]]:
    matcher = matcher_class(name)(MatcherChoice(name, options).config(), Runtime())
    return matches_of(matcher, features(first), features(second)).tolist()


def at(*degrees: float) -> np.ndarray:
    """Unit vectors; two at an angle a lie 2 sin(a / 2) apart."""
    turned = np.deg2rad(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1)


def random_descriptors(n: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, 4))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


# The slow ones: every distance by itself, in double precision.


def distances(first, second) -> list[list[float]]:
    return [[math.dist(map(float, one), map(float, other)) for other in second] for one in first]


def slow_nearest(row: list[float], ratio: float | None) -> int | None:
    """The nearest, if it passes the test."""
    order = sorted(range(len(row)), key=lambda j: (row[j], j))
    if ratio is not None and not (row[order[0]] <= ratio * row[order[1]] and row[order[1]] > 0):
        return None
    return order[0]


def slow(first, second, ratio=None, mutual=True, most=math.inf) -> list[list[int]]:
    rows = distances(first, second)
    columns = [list(column) for column in zip(*rows, strict=True)]
    if min(len(first), len(second)) < 2:
        ratio = None
    found = []
    for i, row in enumerate(rows):
        j = slow_nearest(row, ratio)
        if (
            j is not None
            and row[j] <= most
            and (not mutual or slow_nearest(columns[j], ratio) == i)
        ):
            found.append([i, j])
    return found


def slow_dual_softmax(first, second, temperature, threshold) -> list[list[int]]:
    rows = [
        [math.exp(float(np.dot(a.astype(float), b.astype(float))) / temperature) for b in second]
        for a in first
    ]
    columns = [sum(column) for column in zip(*rows, strict=True)]
    p = [[v / sum(row) * v / columns[j] for j, v in enumerate(row)] for row in rows]
    return [
        [i, j] for i, row in enumerate(p) for j, value in enumerate(row)
        if value > threshold and value == max(row) and value == max(other[j] for other in p)
    ]  # fmt: skip


SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_ratio_equals_the_slow_one(sizes, ratio):
    n1, n2, seed = sizes
    first, second = random_descriptors(n1, seed), random_descriptors(n2, seed + 1)
    one_way = slow(first, second, ratio, mutual=False)
    assert matched("ratio", first, second, ratio=ratio) == one_way
    assert matched("mnn_ratio", first, second, ratio=ratio) == slow(first, second, ratio)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from([0.3, 0.7, 1.2]))
def test_a_threshold_equals_the_slow_one(sizes, most):
    n1, n2, seed = sizes
    first, second = random_descriptors(n1, seed), random_descriptors(n2, seed + 1)
    assert matched("mnn", first, second, max_distance=most) == slow(first, second, most=most)
    assert matched("mnn", first, second) == slow(first, second)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from([0.02, 0.05, 0.3]), st.sampled_from([0.0, 0.01, 0.4]))
def test_dual_softmax_equals_the_slow_one(sizes, temperature, threshold):
    n1, n2, seed = sizes
    first, second = random_descriptors(n1, seed), random_descriptors(n2, seed + 1)
    options = {"temperature": temperature, "threshold": threshold}
    found = matched("dual_softmax", first, second, **options)
    assert found == slow_dual_softmax(first, second, **options)


@pytest.mark.parametrize("name", ["mnn", "ratio", "mnn_ratio", "dual_softmax"])
def test_the_size_of_a_block_does_not_matter(name, monkeypatch):
    random = np.random.default_rng(1)
    base = random.normal(size=(400, 16))
    first, second = (
        base[random.permutation(400)[:n]] + random.normal(size=(n, 16)) / 4 for n in (300, 350)
    )
    first, second = (
        (side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32)
        for side in (first, second)
    )
    whole = matched(name, first, second)
    assert 50 < len(whole) <= 300
    monkeypatch.setattr(nearest, "CPU_BLOCK_BYTES", 5000)
    assert matched(name, first, second) == whole


def test_mnn_is_what_the_paper_does():
    first, second = random_descriptors(70, 1), random_descriptors(50, 2)
    assert matched("mnn", first, second) == mutual_nearest_neighbors(first, second).tolist()


def test_thresholds_are_inclusive():
    # By hand: at 90 degrees the squared distance is 2, at 180 it is 4 = 2 * 2, exactly.
    first, second = [[1.0, 0.0]], [[-1.0, 0.0]]
    assert matched("mnn", first, second) == [[0, 0]]
    assert matched("mnn", first, second, max_distance=1.999) == []
    # Half the distance of the second: sums of (.5, .5, .5, .5) with signs, products exact.
    one, near, far = [0.5] * 4, [0.5, 0.5, 0.5, -0.5], [-0.5] * 4  # distances 1 and 2
    assert matched("mnn", [one], [near], max_distance=1.0) == [[0, 0]]
    assert matched("mnn", [one], [near], max_distance=0.999) == []
    assert matched("ratio", [one, far], [near, far], ratio=0.5) == [[0, 0], [1, 1]]
    assert matched("ratio", [one, far], [near, far], ratio=0.499) == [[1, 1]]


def test_ratio_one_way_and_mutual():
    # 0 and 50 are near 10 and 60; 12 wants 10, too, whose second nearest 12 is not far from it.
    first, second = at(0, 50, 12), at(10, 60)
    assert matched("ratio", first, second) == [[0, 0], [1, 1], [2, 0]]
    # From the second image 10 is at 2 from 12 and at 10 from 0: .2, which passes.
    assert matched("mnn_ratio", first, second) == [[1, 1], [2, 0]]
    assert matched("mnn_ratio", first, second, ratio=0.19) == []  # 60 to 50 and 12 is .22
    assert matched("mnn_ratio", first, second, ratio=0.21) == [[2, 0]]


def test_twins_fail_the_ratio_test():
    first, second = at(0, 90), at(0, 0, 90)
    assert matched("mnn", first, second) == [[0, 0], [1, 2]]
    assert matched("ratio", first, second) == [[1, 2]]
    assert matched("ratio", first, second, ratio=1.0) == [[1, 2]]  # both at distance 0
    assert matched("mnn_ratio", second, first) == [[2, 1]]


@pytest.mark.parametrize("name", ["mnn", "ratio", "mnn_ratio", "dual_softmax"])
def test_single_features_and_none(name):
    assert matched(name, at(), at(1, 2)) == matched(name, at(1), at()) == []
    assert matched(name, at(0), at(90)) == [[0, 0]]  # nothing to compare it with


def test_a_single_feature_has_no_ratio_test():
    assert matched("ratio", at(0), at(10, 11)) == [[0, 0]]
    assert matched("ratio", at(10, 11), at(0)) == [[0, 0], [1, 0]]
    assert matched("mnn_ratio", at(10, 11), at(0)) == [[0, 0]]


def test_probabilities_by_hand():
    # Dot products 1 and 0 at temperature 1: each right pair has (e / (e + 1)) squared = .534.
    square = at(0, 90)
    assert matched("dual_softmax", square, square, temperature=1.0, threshold=0.53) == [
        [0, 0], [1, 1]
    ]  # fmt: skip
    assert matched("dual_softmax", square, square, temperature=1.0, threshold=0.54) == []


def test_dual_softmax_of_equal_ones_takes_the_first():
    # Two twins share the probability of each row: a half of it times one.
    assert matched("dual_softmax", at(0, 90), at(0, 0, 90), threshold=0.49) == [[0, 0], [1, 2]]
    assert matched("dual_softmax", at(0, 90), at(0, 0, 90), threshold=0.51) == [[1, 2]]


def test_dual_softmax_at_low_temperatures_neither_over_nor_underflows():
    first, second = random_descriptors(60, 3), random_descriptors(80, 4)
    found = matched("dual_softmax", first, second, temperature=1e-4, threshold=0.99)
    assert found
    assert set(map(tuple, found)) <= set(map(tuple, slow(first, second)))
