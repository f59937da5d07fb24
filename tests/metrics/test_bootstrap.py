import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from d2eval.metrics import bootstrap
from d2eval.metrics.bootstrap import (
    FEWEST,
    RESAMPLES,
    Clustered,
    Statistic,
    percentile_interval,
    sign_test,
    student_quantile,
)
from d2eval.metrics.homography import error_auc

MEAN = Statistic()


def some_items(clusters: int, seed: int = 0):
    """Clusters of 1 to 5 items each, alike within."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, clusters)
    names = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    values = np.repeat(rng.normal(size=clusters), sizes) + 0.1 * rng.normal(size=sizes.sum())
    return Clustered.of(names), values


def test_resampled_means_are_distributed_as_scipy_s():
    clustered, values = some_items(20)
    groups = [values[clustered.index == i] for i in range(clustered.count)]

    def mean(chosen):
        return np.concatenate([groups[i] for i in chosen]).mean()

    theirs = scipy.stats.bootstrap(
        (np.arange(20),), mean, vectorized=False, n_resamples=2000, method="percentile", rng=1
    )
    ours = np.quantile(clustered.resampled(values, MEAN, 0), [0.025, 0.975])
    assert len(clustered.resampled(values, MEAN, 0)) == RESAMPLES
    width = ours[1] - ours[0]
    assert ours == pytest.approx(list(theirs.confidence_interval), abs=0.06 * width)


@pytest.mark.parametrize("most", [100, 2**22])  # numbers at once
def test_an_area_is_that_of_the_drawn_errors(most, monkeypatch):
    monkeypatch.setattr(bootstrap, "_MOST", most)
    rng = np.random.default_rng(0)
    errors = np.r_[rng.exponential(3, 24), math.inf]
    clustered = Clustered.of([str(i // 5) for i in range(25)])
    for threshold in (1.0, 3.0, 5.0):
        statistic = Statistic(threshold)
        assert statistic.of(errors) == pytest.approx(error_auc(errors, threshold))
        found = clustered.resampled(errors, statistic, 3)
        drawn = np.random.default_rng(3).integers(0, 5, (RESAMPLES, 5))
        for i in (0, 4321, RESAMPLES - 1):
            own = np.concatenate([errors[clustered.index == c] for c in drawn[i]])
            assert found[i] == pytest.approx(error_auc(own, threshold))


def test_a_known_interval():
    """Of the percentiles at n = 10: Student's 2.262 * sqrt(10 / 9) is the normal's 99.14 %."""
    low, high = percentile_interval(np.arange(10_001, dtype=float), 10)
    assert (low, high) == pytest.approx((85.5, 9914.5), abs=0.5)


def test_student_s_quantile_is_scipy_s():
    for freedom in (5, 6, 10, 107):
        expected = scipy.stats.t.ppf(0.975, freedom)
        assert student_quantile(freedom) == pytest.approx(expected, abs=0.003)


def test_too_few_clusters_have_no_interval():
    clustered, values = some_items(FEWEST - 1)
    assert np.isnan(clustered.interval(values, MEAN)).all()
    clustered, values = some_items(FEWEST)
    low, high = clustered.interval(values, MEAN)
    assert low < MEAN.of(values) < high


def test_signs_by_hand():
    # Of 2^6 ways, all plus and all minus reach the sum of six ones.
    assert sign_test(np.ones(6), 0) == 2 / 64
    # Of 8 sums of +-1, +-2, +-3, these reach 4: 6, 4, -4 and -6.
    assert sign_test(np.array([-1.0, 2.0, 3.0]), 0) == 4 / 8
    assert sign_test(np.array([0.0, 0.0]), 0) == 1.0
    # What does not differ counts for nothing.
    assert sign_test(np.array([1.0] * 6 + [0.0] * 50), 0) == 2 / 64


def test_memory_is_bounded_whatever_the_number_of_clusters(monkeypatch):
    monkeypatch.setattr(bootstrap, "_MOST", 2**16)
    clustered, values = some_items(500)
    expected = sign_test(values[:500], 0)
    tracemalloc.start()
    clustered.interval(values, MEAN)
    assert sign_test(values[:500], 0) == expected
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**16  # bytes; of all draws at once they are 8 * 5e6


def test_signs_in_blocks_are_those_of_one():
    differences = np.random.default_rng(2).normal(0.1, 1, 30)
    signs = 1.0 - 2.0 * np.random.default_rng(5).integers(0, 2, (RESAMPLES, 30), np.int8)
    reached = (np.abs(signs @ differences) >= abs(differences.sum())).sum()
    assert sign_test(differences, 5) == (reached + 1) / (RESAMPLES + 1)


def test_drawn_signs_are_near_scipy_s_permutations():
    differences = np.random.default_rng(2).normal(0.35, 1, 30)
    theirs = scipy.stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=9999, rng=1,
    ).pvalue  # fmt: skip
    assert sign_test(differences, 0) == pytest.approx(theirs, abs=0.02)
