"""Measured curves: a method's colour, whatever matched."""

from d2eval.report.threshold_curves import measured_curves
from d2eval.runs.measured import COMPLETE, Run


def test_runs_of_one_method_share_its_colour_and_those_of_another_matcher_are_dashed():
    matchers = {"aliked": "", "disk": "", "aliked-lightglue": "lightglue"}
    runs = [
        (Run(label, label.partition("-")[0], matcher, COMPLETE, "bundled", stand_in=False), {})
        for label, matcher in matchers.items()
    ]
    aliked, disk, other = measured_curves(runs)
    assert aliked.color == other.color != disk.color
    assert (aliked.line, disk.line, other.line) == ("-", "-", "--")
