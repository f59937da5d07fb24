"""What two runs differ in, on items made up for it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from d2eval.comparison.differences import compare
from d2eval.comparison.spread import spread_lines
from d2eval.comparison.table import comparison_table
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.bootstrap import Statistic
from d2eval.runs.items import Measure, RunItems, Series, over_seeds
from d2eval.runs.measured import Run

SCORE = Measure("score", 3.0)
HIT = Measure("localized", 0.5, 2.0, scale=100.0, hits=True)


def items(values, clusters=None, *, measure=SCORE, label="run", seed=0, protocol="own"):
    """A run whose items are numbered; those of one cluster follow one another."""
    keys = [(str(i),) for i in range(len(values))]
    names = [str(c) for c in (range(len(values)) if clusters is None else clusters)]
    series = Series("all", measure, dict(zip(keys, map(float, values), strict=True)))
    return RunItems(
        run=Run(label, "method", "", "complete", "none", False),
        manifest={"seed": seed},
        item="pair",
        cluster="sequence",
        clusters=dict(zip(keys, names, strict=True)),
        series=[series],
        ranked=series,
        alike={"protocol": protocol},
    )


def test_by_hand():
    clusters = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    first = items([0.1, 0.3] * 6, clusters)
    second = items([0.2, 0.5] * 5 + [0.1, 0.3], clusters)
    (line,) = compare(first, second).differences
    assert (line.items, line.clusters) == (12, 6)
    assert line.first == pytest.approx(0.2)
    assert line.difference == pytest.approx(0.3 * 5 / 12)
    assert (line.wins_first, line.wins_second) == (0, 10)
    assert line.p_value == 2 / 32  # of five sequences that differ
    assert line.better is None  # five of one sign come up by chance in one case of sixteen


def test_a_run_and_itself():
    (line,) = compare(items(range(9)), items(range(9))).differences
    assert (line.low, line.high, line.p_value, line.better) == (0, 0, 1, None)
    assert not line.wins_first and not line.wins_second


def test_units_of_one_run_alone_or_without_a_number_are_left_out():
    first, second = items([1.0, math.nan, *range(8)]), items(range(20))
    (line,) = compare(first, second).differences
    assert line.items == 9


def test_less_may_be_better():
    error = Measure("error", lower=True)
    first, second = items([2.0] * 10, measure=error), items([1.0] * 10, measure=error)
    (line,) = compare(first, second).differences
    assert line.better == 1 and line.wins_second == 10


def test_of_errors_the_area_is_compared():
    area = Measure("h_auc", 3.0, statistic=Statistic(3.0))
    first, second = items([2.0] * 8, measure=area), items([0.5] * 7 + [math.inf], measure=area)
    (line,) = compare(first, second).differences
    assert line.wins_second == 7 and line.wins_first == 1
    # 1 - 2/3, and the rise to the last error below 3 px
    assert line.first == pytest.approx(1 / 3 + 1 / 3 / 8)
    # 7 * 0.5 - 1/3 is reached with all signs as they are, with the last changed, and reversed
    assert line.better == 1 and line.p_value == 4 / 2**8


def test_clusters_with_a_failure_in_both_runs_differ_by_their_area():
    """The mean of their errors would be infinite in both, as if nothing differed."""
    area = Measure("h_auc", 3.0, title="AUC@3px", statistic=Statistic(3.0))
    clusters = ["a", "a", "b", "b"]
    first = items([1.5, math.inf, 9.0, 0.0], clusters, measure=area)
    second = items([9.0, math.inf, math.inf, 0.0], clusters, measure=area)
    found = compare(first, second)
    # of a: half of the errors' 1 - 1.5 / 3, and the rise to the last error
    assert [(e.name, e.first, e.second) for e in found.extremes] == [
        ("a", pytest.approx(0.25 + 0.125), 0.0), ("b", 0.5, 0.5),
    ]  # fmt: skip
    assert "Largest differences in AUC@3px:" in comparison_table("own", [found]).markdown


def test_hits_of_single_units_are_mcnemar_s():
    first = items([1] * 10 + [0] * 10, measure=HIT)
    second = items([1] * 10 + [1] * 7 + [0] * 3, measure=HIT)
    (line,) = compare(first, second).differences
    assert (line.first, line.second) == (50, 85)
    assert line.p_value == 2 / 2**7
    assert line.better == 1 and 0 < line.low < 35 < line.high


def test_seeds_pair_and_their_spread_is_said():
    levels = np.arange(12) / 100
    first = over_seeds([items(levels + 0.5 + s / 10, seed=s) for s in range(3)])
    second = over_seeds([items(levels + 0.6 + s / 5, seed=s) for s in range(3)])
    (line,) = compare(first, second).differences
    assert line.items == 36 and line.clusters == 12
    assert line.difference == pytest.approx(0.2)
    assert line.spread == pytest.approx((0.1, 0.2, 0.1))
    assert line.better == 1


def test_spread_over_seeds_by_hand():
    runs = [items([0] * 6 + [1] * n, measure=HIT, seed=n) for n in (2, 4, 6)]
    # 2 of 8, 4 of 10, 6 of 12
    assert spread_lines(runs) == ["all, localized: mean 38.33, std. 12.6, 25 to 50"]


def test_hits_over_seeds_are_resampled_by_query():
    """Three seeds of the same queries are not three times as many queries."""
    first = [items([0] * 4 + [1] * 16, measure=HIT, seed=s) for s in range(3)]
    second = [items([1] * 20, measure=HIT, seed=s) for s in range(3)]
    (line,) = compare(over_seeds(first), over_seeds(second)).differences
    assert line.clusters == 20 and line.better is None
    assert line.p_value == 2 / 2**4


def test_what_differs_most_comes_first():
    first = items([0.0, 0.0, 0.0, math.inf], ["a", "a", "b", "c"])
    second = items([0.1, 0.3, 0.5, math.inf], ["a", "a", "b", "c"])
    found = [(e.name, e.first, e.second) for e in compare(first, second).extremes]
    assert found[:2] == [("b", 0.0, 0.5), ("a", 0.0, pytest.approx(0.2))]


def test_a_run_of_a_protocol_and_one_of_none_don_t_compare():
    of_none = replace(items(range(9)), alike={})
    for pair in ((items(range(9)), of_none), (of_none, items(range(9)))):
        with pytest.raises(D2EvalError, match=r"don't compare: their protocol is .*not said"):
            compare(*pair)


def test_other_protocols_and_other_units_don_t_compare():
    with pytest.raises(D2EvalError, match="their protocol is own and other"):
        compare(items(range(9)), items(range(9), protocol="other"))
    with pytest.raises(D2EvalError, match="share no pair"):
        compare(items(range(9), measure=HIT), items(range(9)))


def shown(rng, sequences, effect, repeated):
    """How often a difference is shown between runs whose sequences differ by normal numbers."""
    count = 0
    for _ in range(repeated):
        level = np.repeat(rng.normal(size=sequences), 5)  # which sequences are hard
        apart = np.repeat(rng.normal(effect, 1, sequences), 5)
        clusters = np.repeat(np.arange(sequences), 5)
        first, second = items(level, clusters), items(level + apart, clusters)
        (line,) = compare(first, second).differences
        count += line.better is not None
    return count


def expected_power(sequences, effect):
    """Of Student's paired test, which is the best there is for normal numbers."""
    freedom, noncentral = sequences - 1, effect * math.sqrt(sequences)
    limit = scipy.stats.t.ppf(0.975, freedom)
    own = scipy.stats.nct(freedom, noncentral)
    return own.sf(limit) + own.cdf(-limit)


def check_rates(sequences, effect, repeated):
    rng = np.random.default_rng(7)
    none = shown(rng, sequences, 0.0, repeated)
    assert none <= scipy.stats.binom.ppf(0.99, repeated, 0.05)
    some = shown(rng, sequences, effect, repeated) / repeated
    slack = 2.6 * math.sqrt(0.25 / repeated)
    assert some == pytest.approx(expected_power(sequences, effect), abs=0.06 + slack)


def test_differences_are_found_at_the_rate_they_should_be():
    check_rates(sequences=7, effect=1.5, repeated=100)


@pytest.mark.slow
@pytest.mark.parametrize(("sequences", "effect"), [(7, 1.5), (20, 0.7), (108, 0.25)])
def test_differences_are_found_at_the_rate_they_should_be_in_many_cases(sequences, effect):
    check_rates(sequences, effect, repeated=400)
