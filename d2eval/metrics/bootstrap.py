"""Intervals and tests of numbers whose items come in clusters, such as image pairs of sequences.

Units of one cluster are alike: whole clusters are drawn, never single items.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from d2eval.metrics.intervals import WILSON_Z

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 10_000
# Of fewer clusters, all lie on one side of zero in more than 5 % of cases without a difference.
FEWEST = 6
_ENUMERATED = 13  # up to so many clusters, all ways to change their signs are gone through
_BLOCK = 2_000  # resamples at once
_MOST = 2**22  # numbers at once, which bounds memory, and of draws that are kept for next time


@dataclass(frozen=True)
class Statistic:
    """What is said of many items at once."""

    # None: their mean. Otherwise the items are errors, and it is the area under recall over error
    # up to here, divided by it, as `d2eval.metrics.homography.error_auc`
    auc_at: float | None = None

    def parts(self, values: FloatArray) -> FloatArray:
        """What each item adds to the sum that the statistic is the mean of."""
        if self.auc_at is None:
            return values
        return np.maximum(0.0, 1.0 - values / self.auc_at)

    def ends(self, values: FloatArray) -> FloatArray:
        """Of errors, the largest below the end adds half of itself, since recall rises linearly."""
        if self.auc_at is None:
            return np.zeros(len(values))
        return np.where(values < self.auc_at, values / self.auc_at / 2, 0.0)

    def of(self, values: FloatArray) -> float:
        """The statistic; NaN of nothing."""
        if not len(values):
            return math.nan
        return (math.fsum(self.parts(values)) + float(self.ends(values).max())) / len(values)


@dataclass(frozen=True)
class Clustered:
    """Which cluster each item is of."""

    index: npt.NDArray[np.intp]  # of each item's cluster, from 0
    count: int  # of clusters

    @classmethod
    def of(cls, names: Sequence[str]) -> "Clustered":
        """Units by the names of their clusters."""
        known = {name: index for index, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([known[name] for name in names], np.intp), len(known))

    def sums(self, values: FloatArray) -> FloatArray:
        """The sum of each cluster."""
        return np.bincount(self.index, values, self.count).astype(np.float64)

    def resampled(self, values: FloatArray, statistic: Statistic, seed: int) -> FloatArray:
        """The statistic in each of `RESAMPLES` draws of as many clusters, with replacement."""
        sums, sizes = self.sums(statistic.parts(values)), self.sums(np.ones(len(values)))
        largest = np.zeros(self.count)
        np.maximum.at(largest, self.index, statistic.ends(values))
        found = []
        for drawn in _draws(self.count, seed):
            end = np.where(drawn > 0, largest, 0.0).max(axis=1) if largest.any() else 0.0
            found.append((drawn @ sums + end) / (drawn @ sizes))
        return np.concatenate(found)

    def interval(
        self, values: FloatArray, statistic: Statistic, seed: int = 0
    ) -> tuple[float, float]:
        """The 95 % interval of the statistic; NaN of fewer than `FEWEST` clusters."""
        if self.count < FEWEST:
            return math.nan, math.nan
        return percentile_interval(self.resampled(values, statistic, seed), self.count)


def _draws(clusters: int, seed: int) -> Iterable[FloatArray]:
    """How often each cluster is drawn: blocks (resamples, clusters) of all `RESAMPLES`."""
    few = RESAMPLES * clusters <= _MOST
    return _kept_draws(clusters, seed) if few else _drawn(clusters, seed)


@lru_cache(4)
def _kept_draws(clusters: int, seed: int) -> Sequence[FloatArray]:
    return list(_drawn(clusters, seed))


def _drawn(clusters: int, seed: int) -> Iterator[FloatArray]:
    random = np.random.default_rng(seed)
    for count in _blocks(clusters):
        rows = random.integers(0, clusters, (count, clusters))
        rows += clusters * np.arange(count)[:, None]
        counts = np.bincount(rows.ravel(), minlength=clusters * count)
        yield counts.reshape(count, clusters).astype(np.float64)


def _blocks(width: int) -> Iterator[int]:
    """How many of all `RESAMPLES` are taken at once, each of so many numbers."""
    left = RESAMPLES
    while left:
        # by fours, of which NumPy makes one random number where they are bytes
        count = min(left, _BLOCK, max(_MOST // width // 4 * 4, 4))
        yield count
        left -= count


def percentile_interval(resampled: FloatArray, clusters: int) -> tuple[float, float]:
    """The 95 % interval of a bootstrap.

    Plain percentiles are too narrow where clusters are few; these are as far out as Student's
    interval is. Source: Hesterberg, What teachers should know about the bootstrap (2015),
    section 5.3, expanded percentiles.
    """
    wider = math.sqrt(clusters / (clusters - 1)) * student_quantile(clusters - 1)
    tail = NormalDist().cdf(-wider)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def student_quantile(freedom: int) -> float:
    """Student's quantile of 97.5 %, within 0.003 from 5 degrees of freedom on.

    Source: Abramowitz and Stegun, Handbook of mathematical functions, 26.7.5.
    """
    z = WILSON_Z
    return (
        z
        + (z**3 + z) / 4 / freedom
        + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3
    )


def sign_test(differences: FloatArray, seed: int) -> float:
    """How often differences of clusters would come out so large if each were of either sign.

    Exact for few clusters, from `RESAMPLES` draws otherwise. Clusters without a difference count
    for nothing.

    Args:
        differences: the sum of each cluster.
        seed: of the draws.

    Returns:
        The two-sided p-value.
    """
    own = differences[differences != 0]
    if not len(own):
        return 1.0
    reached = abs(own.sum()) * (1 - 1e-9)
    if len(own) <= _ENUMERATED:
        changed = (np.arange(2 ** len(own))[:, None] >> np.arange(len(own))) & 1
        return float((np.abs((1.0 - 2.0 * changed) @ own) >= reached).mean())
    random = np.random.default_rng(seed)
    sums = (
        (1.0 - 2.0 * random.integers(0, 2, (rows, len(own)), np.int8)) @ own
        for rows in _blocks(len(own))
    )
    count = sum(int((np.abs(own_sums) >= reached).sum()) for own_sums in sums)
    return (count + 1) / (RESAMPLES + 1)  # what was observed is one of the cases, too
