"""What runs measured of each item, and how each two of them differ."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from d2eval.comparison.differences import compare
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.progress import progress
from d2eval.runs.items import Key, Measure, RunItems, Series

COMPARED = (
    "first", "second", "subset", "measure", "items", "clusters", "first_value", "second_value",
    "low", "high", "p", "better", "first_wins", "second_wins",
)  # fmt: skip
_DIGITS = 5  # of an item's number and of a difference


def item_table(runs: Sequence[RunItems | None], name_of: Callable[[Key], str]) -> dict[str, Any]:
    """Items, measures and numbers of runs; one that is None has none.

    Of each measure that Markdown shows, and of what tells which items differ. ``name_of`` says how
    the item of a key is called.
    """
    known = [run for run in runs if run is not None]
    measures = _measures(known)
    keys = list(dict.fromkeys(key for run in known for key in run.clusters))
    places = {key: index for index, key in enumerate(keys)}
    clusters = {key: name for run in known for key, name in run.clusters.items()}
    subsets: dict[str, dict[int, None]] = {}
    for run in known:
        for series in run.series:
            own = subsets.setdefault(series.subset, {})
            own.update(dict.fromkeys(places[key] for key in series.values if key in places))
    return {
        "names": [name_of(key) for key in keys],
        "clusters": [clusters[key] for key in keys],
        "subsets": {name: sorted(own) for name, own in subsets.items()},
        "measures": [_described(measure) for measure in measures],
        "ranked": measures.index(known[0].ranked.measure) if known else None,
        "values": [_values(run, measures, keys) if run else None for run in runs],
        "reasons": [
            [index, name_of(key), why]
            for index, run in enumerate(runs)
            for key, why in (run.reasons.items() if run else ())
        ],
        "pictures": [],
        "unpictured": [],
    }


def comparison_rows(runs: Sequence[RunItems | None], seed: int = 0) -> list[list[Any]]:
    """Rows of `COMPARED`: each run against each later one that it compares with.

    ``first`` and ``second`` are places among ``runs``, ``measure`` among those of `item_table`;
    ``better`` is 0 or 1 where a difference is shown. Where clusters are too few to tell, ``p``,
    ``low`` and ``high`` are missing.
    """
    measures = _measures([run for run in runs if run is not None])
    places = {_key(measure): index for index, measure in enumerate(measures)}
    shown = [
        run and replace(run, series=[own for own in run.series if own.measure.shown])
        for run in runs
    ]
    rows = []
    pairs = list(combinations(enumerate(shown), 2))
    for (a, first), (b, second) in progress(pairs, "intervals of differences"):
        if first is None or second is None or first.alike != second.alike:
            continue
        try:
            found = compare(first, second, seed).differences
        except D2EvalError:  # they share no item
            continue
        rows += [
            [
                a, b, line.subset, places[_key(line.measure)], line.items, line.clusters,
                *map(_plain, (line.first, line.second, line.low, line.high, line.p_value)),
                line.better, line.wins_first, line.wins_second,
            ]
            for line in found
        ]  # fmt: skip
    return rows


def _key(measure: Measure) -> tuple[Any, ...]:
    return measure.name, measure.threshold, measure.angle


def _series(run: RunItems) -> Iterator[Series]:
    yield from (own for own in run.series if own.measure.shown)
    yield run.ranked


def _measures(runs: Sequence[RunItems]) -> list[Measure]:
    found = {_key(own.measure): own.measure for run in runs for own in _series(run)}
    return list(found.values())


def _described(measure: Measure) -> dict[str, Any]:
    return {
        "title": measure.text,
        "each": measure.each,
        "lower": measure.each_lower,
        "hits": measure.hits,
    }


def _values(
    run: RunItems, measures: Sequence[Measure], keys: Sequence[Key]
) -> list[list[float | None]]:
    found: dict[tuple[Any, ...], dict[Key, float]] = {}
    for series in _series(run):
        scale = 1.0 if series.measure.hits else series.measure.scale
        own = found.setdefault(_key(series.measure), {})
        own.update({key: scale * value for key, value in series.values.items()})
    columns = [found.get(_key(measure), {}) for measure in measures]
    return [[_plain(own.get(key, math.nan)) for key in keys] for own in columns]


def _plain(value: float) -> float | None:
    """A number as JSON has it; None for none and for an infinite error."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
