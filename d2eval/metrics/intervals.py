"""Intervals of shares."""

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
