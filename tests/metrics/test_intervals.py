"""Shares of the same trials, by hand and by published examples."""

import pytest
import scipy.stats

from d2eval.metrics.intervals import mcnemar_test, paired_interval


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (0, 5, 0.0625),  # 2 / 2^5
        (0, 6, 0.03125),  # 2 / 2^6
        (7, 1, 0.0703125),  # 2 * (1 + 8) / 2^8
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(first, second, p):
    assert mcnemar_test(first, second) == p == mcnemar_test(second, first)


def test_mcnemar_is_the_binomial_test():
    for first, second in ((12, 25), (40, 61), (2, 9)):
        expected = scipy.stats.binomtest(first, first + second).pvalue
        assert mcnemar_test(first, second) == pytest.approx(expected)


def test_published_examples_of_paired_intervals():
    # Newcombe (1998), table III: 36 both, 12 and 2 alone, none neither.
    assert paired_interval(36, 2, 12, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    # Fagerland, Lydersen and Laake (2014): airway hyper-responsiveness, 1, 1, 7 and 12.
    assert paired_interval(1, 1, 7, 12) == pytest.approx((0.026, 0.507), abs=5e-4)


def test_paired_intervals_at_the_ends():
    assert paired_interval(0, 0, 0, 0) == (-1, 1)
    low, high = paired_interval(10, 0, 0, 0)
    assert low == -high < 0  # ten of ten twice don't show that both are the same
    low, high = paired_interval(0, 10, 0, 0)
    assert -1 <= low < high < -0.4
    assert paired_interval(4, 3, 1, 2) == pytest.approx(
        tuple(-end for end in paired_interval(4, 1, 3, 2)[::-1])
    )
