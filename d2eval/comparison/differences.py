"""Paired differences of two runs, with intervals and tests."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.bootstrap import FEWEST, Clustered, FloatArray, percentile_interval, sign_test
from d2eval.metrics.intervals import mcnemar_test, paired_interval
from d2eval.runs.items import Key, Measure, RunItems, Series

LEVEL = 0.05  # a difference is shown where the p-value is at most this


@dataclass(frozen=True)
class Difference:
    """How two runs differ in one measure of one subset."""

    subset: str  # of the benchmark
    measure: Measure  # what is compared
    items: int  # that both have
    clusters: int  # that these are of
    first: float  # the first run's number of the shared items
    second: float  # likewise
    # lower end of the 95 % interval of second minus first; NaN where clusters are too few
    low: float
    high: float  # upper end
    p_value: float  # of there being no difference; NaN likewise
    wins_first: int  # items of which the first's number is better
    wins_second: int  # likewise
    # over seeds, the standard deviations of both numbers and of their difference; None with one
    # seed
    spread: tuple[float, float, float] | None

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def is_tested(self) -> bool:
        """Whether there are clusters enough."""
        return not math.isnan(self.p_value)

    @property
    def better(self) -> int | None:
        """0 or 1 where the data show that the first or second is better, None otherwise.

        The test and the interval must agree.
        """
        if not (self.p_value <= LEVEL and (self.low > 0 or self.high < 0)):
            return None
        return int((self.difference > 0) != self.measure.lower)


@dataclass(frozen=True)
class Extreme:
    """A cluster, or an item by itself, and the mean or AUC of its ranked numbers."""

    name: str  # of it
    first: float  # the first run's number; infinite where a query has no pose
    second: float  # likewise

    @property
    def difference(self) -> float:
        """Second minus first; zero where neither has a pose."""
        return 0.0 if self.first == self.second else self.second - self.first

    @property
    def is_finite(self) -> bool:
        """Whether both have a number."""
        return math.isfinite(self.difference)


@dataclass(frozen=True)
class Comparison:
    """What is to say of two runs."""

    first: RunItems  # the run that the other is compared with
    second: RunItems  # the other
    differences: Sequence[Difference]  # in each subset and measure that both have
    extremes: Sequence[Extreme]  # clusters in the order of how much they differ


def compare(first: RunItems, second: RunItems, seed: int = 0) -> Comparison:
    """Compares two runs on the items that both have.

    Args:
        first: the run that the other is compared with.
        second: the other.
        seed: of the bootstrap's draws.

    Raises:
        D2EvalError: they don't compare, or share no item.
    """
    for what in {**first.alike, **second.alike}:
        said, heard = (run.alike.get(what, "not said") for run in (first, second))
        if said != heard:
            raise D2EvalError(
                f"{first.run.label} and {second.run.label} don't compare: their {what} is {said} "
                f"and {heard}"
            )
    others = {(s.subset, s.measure.name, s.measure.threshold): s for s in second.series}
    differences = []
    for own in first.series:
        other = others.get((own.subset, own.measure.name, own.measure.threshold))
        shared = _shared(own, other) if other else []
        if other and shared:
            differences.append(_difference(own, other, shared, first, seed))
    if not differences:
        raise D2EvalError(
            f"{first.run.label} and {second.run.label} share no {first.item}: nothing to compare"
        )
    return Comparison(first, second, differences, _extremes(first, second))


def _shared(first: Series, second: Series) -> list[Key]:
    return [
        key
        for key, value in first.values.items()
        if key in second.values and not math.isnan(value) and not math.isnan(second.values[key])
    ]


def _difference(
    own: Series, other: Series, shared: Sequence[Key], runs: RunItems, seed: int
) -> Difference:
    measure, statistic = own.measure, own.measure.statistic
    first, second = (np.array([s.values[key] for key in shared]) for s in (own, other))
    clustered = Clustered.of([runs.clusters[key] for key in shared])
    interval, p_value = (math.nan, math.nan), math.nan
    if measure.hits and clustered.count == len(shared):
        both, neither = ((first == second) & (first == hit) for hit in (1.0, 0.0))
        alone = int((first > second).sum()), int((first < second).sum())
        interval = paired_interval(int(both.sum()), *alone, int(neither.sum()))
        p_value = mcnemar_test(*alone)
    elif clustered.count >= FEWEST:
        drawn = [clustered.resampled(v, statistic, seed) for v in (first, second)]
        interval = percentile_interval(drawn[1] - drawn[0], clustered.count)
        parts = statistic.parts(second) - statistic.parts(first)
        p_value = sign_test(clustered.sums(parts), seed)
    less = measure.each_lower
    low, high = (measure.scale * end for end in interval)
    return Difference(
        subset=own.subset,
        measure=measure,
        items=len(shared),
        clusters=clustered.count,
        first=measure.scale * statistic.of(first),
        second=measure.scale * statistic.of(second),
        low=low,
        high=high,
        p_value=p_value,
        wins_first=int(((first < second) if less else (first > second)).sum()),
        wins_second=int(((first > second) if less else (first < second)).sum()),
        spread=_spread(measure, shared, first, second) if len(runs.seeds) > 1 else None,
    )


def _spread(
    measure: Measure, shared: Sequence[Key], first: FloatArray, second: FloatArray
) -> tuple[float, float, float] | None:
    seeds = np.array([key[-1] for key in shared])
    found = [
        [measure.scale * measure.statistic.of(values[seeds == seed]) for values in (first, second)]
        for seed in dict.fromkeys(seeds)
    ]
    if len(found) < 2:
        return None
    columns = [*zip(*found, strict=True), [b - a for a, b in found]]
    one, other, apart = (statistics.stdev(column) for column in columns)
    return one, other, apart


def _extremes(first: RunItems, second: RunItems) -> list[Extreme]:
    """What is said of the ranked numbers of each cluster, those first that differ most."""
    own, other = first.ranked, second.ranked
    found: dict[str, list[Key]] = {}
    for key in _shared(own, other):
        found.setdefault(first.clusters[key], []).append(key)
    measure = own.measure
    extremes = [
        Extreme(
            name,
            *(
                measure.scale * measure.statistic.of(np.array([each.values[key] for key in keys]))
                for each in (own, other)
            ),
        )
        for name, keys in found.items()
    ]
    return sorted(extremes, key=lambda extreme: -abs(extreme.difference))
