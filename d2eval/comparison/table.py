"""A comparison as a table."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from d2eval.comparison.differences import LEVEL, Comparison, Difference
from d2eval.contracts.leaks import leak_text
from d2eval.foundation.text.labels import make_label
from d2eval.metrics.bootstrap import FEWEST, RESAMPLES
from d2eval.report.names import method_name
from d2eval.report.tables import Table, TableLine, TableSection, build_table
from d2eval.runs.columns import Column
from d2eval.runs.items import Measure, RunItems

_COLUMNS = (
    Column("subset", "Subset", key=True),
    Column("measure", "Measure", key=True),
    Column("name", "Most different", key=True),
    Column("first", "A"),
    Column("second", "B"),
    Column("difference", "B - A"),
    Column("interval", "95 % interval"),
    Column("verdict", "Shown"),
    Column("wins", "Wins A / B / equal"),
    Column("p_value", "p"),
    Column("spread", "Std. over seeds A / B / B - A"),
)
_FLAT = tuple(
    map(
        Column,
        (
            "first", "second", "subset", "metric", "threshold", "angle", "items", "clusters",
            "first_value", "second_value", "difference", "low", "high", "p_value", "first_wins",
            "second_wins", "equal", "better", "seeds", "first_std", "second_std", "difference_std",
        ),
    )
)  # fmt: skip
NONE_SHOWN = "no difference shown"


def comparison_table(benchmark: str, comparisons: Sequence[Comparison], largest: int = 5) -> Table:
    """Runs against the first of them.

    Args:
        benchmark: its name.
        comparisons: of the same first run with each other one.
        largest: how many of the sequences or queries that differ most are listed.
    """
    first = comparisons[0].first
    labels = [first.run.label, *(own.second.run.label for own in comparisons)]
    start = [
        f"# {benchmark}: {' and '.join(labels)}",
        f"On what both runs have. {_how(first)} A difference is shown where p is at most {LEVEL:g} "
        "and the interval is on one side of zero. Each line is tested on its own: of twenty "
        "without any difference, one shows some by chance.",
    ]
    sections = [part for own in comparisons for part in _sections(own, largest)]
    name = make_label("-".join([benchmark, *labels]))
    return build_table(name, start, sections, _COLUMNS, _FLAT, [])


def _how(runs: RunItems) -> str:
    """How differences are tested."""
    single = runs.cluster == runs.item
    if single and len(runs.seeds) == 1 and all(own.measure.hits for own in runs.series):
        return "Intervals are Newcombe's, from Wilson's of both; p is McNemar's, exact."
    whole = f"over {_plural(runs.cluster)}"
    paired = ", paired by seed" if len(runs.seeds) > 1 else ""
    return (
        f"Intervals are of a bootstrap {whole} ({RESAMPLES} draws){paired}; p is of a test that "
        f"changes signs of differences {whole}; both take {FEWEST} {_plural(runs.cluster)}."
    )


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _sections(own: Comparison, largest: int) -> Iterator[TableSection]:
    first, second = own.first.run, own.second.run
    tested = [line for line in own.differences if line.is_tested]
    better = [sum(line.better == side for line in tested) for side in (0, 1)]
    shown = f"A is better in {better[0]}, B in {better[1]}" if any(better) else NONE_SHOWN
    said = f"Of {len(own.differences)} differences {len(tested)} can be tested: {shown}."
    if not tested:
        said = f"None of {len(own.differences)} differences can be tested: too little was measured."
    before = f"A is {_called(own.first)}, B is {_called(own.second)}. {said}"
    notes = []
    if first.is_partial or second.is_partial:
        notes.append("On a part of the benchmark.")
    if first.is_sample:
        notes.append("On the embedded sample: it tells nothing of the benchmark.")
    if first.stand_in or second.stand_in:
        notes.append("Stand-in weights are not the paper's.")
    for run in (first, second):
        if run.leaks:
            notes.append(f"{run.label} was trained on the benchmark's {leak_text(run.leaks)}.")
    lines = [
        TableLine(_record(line, own.first) if line.measure.shown else {}, [_flat(line, own)])
        for line in own.differences
    ]
    yield TableSection(f"{second.label} against {first.label}", before, lines, notes)
    measure = own.first.ranked.measure
    extremes = [
        TableLine(
            {
                "name": extreme.name,
                "first": _number(extreme.first, measure),
                "second": _number(extreme.second, measure),
                **(
                    {"difference": _signed(extreme.difference, measure)}
                    if extreme.is_finite
                    else {}
                ),
            },
            [],
        )
        for extreme in own.extremes[:largest]
        if extreme.difference
    ]
    if extremes:
        yield TableSection("", f"Largest differences in {measure.text}:", extremes, ())


def _called(runs: RunItems) -> str:
    run = runs.run
    seeds = f", seeds {', '.join(map(str, runs.seeds))}" if len(runs.seeds) > 1 else ""
    return f"{run.label} ({method_name(run.named)}, {run.weights}, {run.dataset}{seeds})"


def _record(line: Difference, runs: RunItems) -> dict[str, Any]:
    """A line's cells in Markdown."""
    measure = line.measure
    equal = line.items - line.wins_first - line.wins_second
    record = {
        "subset": line.subset,
        "measure": measure.text,
        "first": _number(line.first, measure),
        "second": _number(line.second, measure),
        "difference": _signed(line.difference, measure),
        "wins": f"{line.wins_first} / {line.wins_second} / {equal}",
        "verdict": f"too few {_plural(runs.cluster)} ({line.clusters})",
    }
    if line.is_tested:
        record |= {
            "interval": f"{_signed(line.low, measure)} to {_signed(line.high, measure)}",
            "p_value": f"{line.p_value:.3f}" if line.p_value >= 0.001 else "<0.001",
            "verdict": NONE_SHOWN if line.better is None else f"{'AB'[line.better]} is better",
        }
    if line.spread:
        record["spread"] = " / ".join(_number(value, measure) for value in line.spread)
    return record


def _flat(line: Difference, own: Comparison) -> dict[str, Any]:
    """A line's values in the CSV."""
    measure, labels = line.measure, (own.first.run.label, own.second.run.label)
    record: dict[str, Any] = {
        "first": labels[0],
        "second": labels[1],
        "subset": line.subset,
        "metric": measure.name,
        "threshold": measure.threshold,
        "angle": measure.angle,
        "items": line.items,
        "clusters": line.clusters,
        "first_value": line.first,
        "second_value": line.second,
        "difference": line.difference,
        "first_wins": line.wins_first,
        "second_wins": line.wins_second,
        "equal": line.items - line.wins_first - line.wins_second,
        "better": "too few",
        "seeds": len(own.first.seeds),
    }
    if line.is_tested:
        better = NONE_SHOWN if line.better is None else labels[line.better]
        record |= {"low": line.low, "high": line.high, "p_value": line.p_value, "better": better}
    if line.spread:
        names = ("first_std", "second_std", "difference_std")
        record |= dict(zip(names, line.spread, strict=True))
    return {name: value for name, value in record.items() if value is not None}


def _number(value: float, measure: Measure) -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:.1f}" if measure.scale != 1 or abs(value) >= 10 else f"{value:.4f}"


def _signed(value: float, measure: Measure) -> str:
    text = _number(abs(value), measure)
    return text if not float(text) else f"{'-' if value < 0 else '+'}{text}"
