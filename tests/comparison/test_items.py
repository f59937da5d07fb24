"""Which pairs a user asks for: by name, or the best, the worst, the differing."""

import math

import pytest

from d2eval.comparison.items import differing_items, extreme_items, named_items
from d2eval.evaluation.pairs import PairsBenchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.bootstrap import Statistic
from d2eval.runs.items import Measure, RunItems, Series
from d2eval.runs.measured import Run, RunPlace

VALUES = {
    "a": {("v_a", "2"): 0.5, ("v_a", "3"): 0.1, ("v_b", "2"): 0.1, ("v_b", "3"): math.nan},
    "b": {("v_a", "2"): math.inf, ("v_a", "3"): 0.4, ("v_c", "2"): 0.0, ("v_b", "2"): 0.1},
    "none": {},
}


class Planned(PairsBenchmark):
    """Runs that are in memory."""

    name, lower, statistic = "planned", False, Statistic()
    load = check = sample = score = None  # type: ignore[assignment]

    def items_of(self, folder, label):
        run = Run(label, "rootsift", "", "complete", "none needed", stand_in=False)
        values = VALUES[label]
        clusters = {key: key[0] for key in values}
        ranked = Series(
            "overall", Measure("mma", lower=self.lower, statistic=self.statistic), values
        )
        return RunItems(run, {}, "pair", "sequence", clusters, [], ranked, {})


Planned.__abstractmethods__ = frozenset()


def place(label, tmp_path):
    return RunPlace(label, tmp_path)


def test_worst_best_and_differing(tmp_path):
    own, (a, b) = Planned(), [place(label, tmp_path) for label in "ab"]
    assert extreme_items(own, a, 2, worst=True) == ["v_a/3", "v_b/2"]  # NaN is neither
    assert extreme_items(own, a, 1, worst=False) == ["v_a/2"]
    assert differing_items(own, a, b, 5) == ["v_a/2", "v_a/3", "v_b/2"]
    own.lower = True
    assert_of_errors(own, b)
    own.lower, own.statistic = False, Statistic(5.0)  # an AUC's items are errors, too
    assert_of_errors(own, b)


def assert_of_errors(own, b):
    assert extreme_items(own, b, 2, worst=True) == ["v_a/2", "v_a/3"]  # the infinite error first
    assert extreme_items(own, b, 1, worst=False) == ["v_c/2"]


def test_names_and_mistakes(tmp_path):
    own, (a, none) = Planned(), [place(label, tmp_path) for label in ("a", "none")]
    assert named_items(own, a, ["v_b/2", "3", "v_b/2"]) == ["v_b/2", "v_a/3", "v_b/3"]
    with pytest.raises(D2EvalError, match=r"v_x/2: a has no such pair .* such as v_"):
        named_items(own, a, ["v_x/2"])
    with pytest.raises(D2EvalError, match="none: nothing ranks"):
        extreme_items(own, none, 1, worst=True)
    with pytest.raises(D2EvalError, match="none: nothing ranks"):
        differing_items(own, a, none, 1)
