"""The summary of a group of queries at the protocol's thresholds."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from d2eval.metrics.intervals import wilson_interval
from d2eval.metrics.poses import Threshold
from d2eval.runs.folder import Row


def summary_rows(
    group: Mapping[str, str],
    queries: Sequence[Row],
    thresholds: Sequence[Threshold],
    posed: str,
    count: Callable[[Sequence[tuple[float, float]], Threshold], int] | None,
) -> list[Row]:
    """A row for each threshold of a group of queries, which begins with what the group is.

    A query without a pose counts as not localized. Medians are over finite errors. ``posed`` is the
    column of queries that is 1 where there is a pose; ``count`` says how many (metres, degrees) lie
    within a threshold, None that there are no reference poses, and so no scores.
    """
    errors = [(row["position_m"], row["rotation_deg"]) for row in queries]
    rows = []
    for threshold in thresholds:
        scores: Row = dict.fromkeys(("localized", "percent", "percent_low", "percent_high"))
        if count is not None:
            localized, total = count(errors, threshold), len(queries)
            low, high = wilson_interval(localized, total)
            shares = (100 * share for share in (localized / total, low, high))
            scores = dict(zip(scores, (localized, *shares), strict=True))
        rows.append(
            {
                **group,
                **vars(threshold),
                "queries": len(queries),
                posed: sum(row[posed] for row in queries),
                **scores,
                "median_position_m": _median(position for position, _ in errors),
                "median_rotation_deg": _median(rotation for _, rotation in errors),
            }
        )
    return rows


def _median(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan
