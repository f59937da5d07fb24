"""How far numbers of one evaluation spread over seeds."""

import statistics
from collections.abc import Sequence

import numpy as np

from d2eval.runs.items import RunItems


def spread_lines(runs: Sequence[RunItems]) -> list[str]:
    """A line for each subset and measure that is shown: mean, standard deviation, and range.

    The runs differ in their seed alone, and so have the same subsets and measures.
    """
    lines = []
    for own in zip(*(run.series for run in runs), strict=True):
        measure = own[0].measure
        if measure.shown and own[0].values:
            values = [
                measure.scale * measure.statistic.of(np.array([*part.values.values()]))
                for part in own
            ]
            lines.append(
                f"{own[0].subset}, {measure.text}: mean {statistics.fmean(values):.4g}, "
                f"std. {statistics.stdev(values):.3g}, {min(values):.4g} to {max(values):.4g}"
            )
    return lines
