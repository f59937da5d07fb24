"""Intervals of shares, and of the difference of two shares of the same trials."""

import math

WILSON_Z = 1.959963984540054  # the normal distribution's quantile of 97.5 %


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, within 0..1; (0, 1) without trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, WILSON_Z**2
    twice = 2 * (trials + square)
    middle = (2 * trials * share + square) / twice
    half = WILSON_Z / twice * math.sqrt(4 * trials * share * (1 - share) + square)
    low = middle - half if successes else 0.0
    return low, middle + half if successes < trials else 1.0


def mcnemar_test(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of two shares of the same trials being equal.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions
    or percentages (1947), with the binomial distribution in place of its approximation.

    Args:
        only_first: trials in which the first alone succeeded.
        only_second: likewise.
    """
    trials = only_first + only_second
    tail = sum(math.comb(trials, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**trials)


def paired_interval(
    both: int, only_first: int, only_second: int, neither: int
) -> tuple[float, float]:
    """The 95 % interval of the second share minus the first, of the same trials.

    Source: Newcombe, Improved confidence intervals for the difference between binomial proportions
    based on paired data (1998), method 10: from the Wilson intervals of both.
    """
    trials = both + only_first + only_second + neither
    if not trials:
        return -1.0, 1.0
    first, second = both + only_first, both + only_second
    (low_1, high_1), (low_2, high_2) = (wilson_interval(n, trials) for n in (first, second))
    product = first * (trials - first) * second * (trials - second)
    alike: float = both * neither - only_first * only_second
    if alike > 0:
        alike = max(alike - trials / 2, 0.0)
    phi = alike / math.sqrt(product) if product else 0.0
    share_1, share_2 = first / trials, second / trials
    below, above = share_2 - low_2, high_1 - share_1
    beyond, under = high_2 - share_2, share_1 - low_1
    down = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    up = math.sqrt(max(0.0, beyond**2 - 2 * phi * beyond * under + under**2))
    return share_2 - share_1 - down, share_2 - share_1 + up
