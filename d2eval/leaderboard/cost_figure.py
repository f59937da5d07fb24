"""Figures of cost against accuracy: a row of panels for runs of one machine on the same data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.comparison.choice import Found, finished_runs
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import Benchmark, benchmark_class
from d2eval.evaluation.summary import SHARES
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import some
from d2eval.leaderboard.costs import KINDS, costs_of, machine_of
from d2eval.report.cost_figure import CostRow, Mark, draw_costs
from d2eval.report.figures import write_figure
from d2eval.runs.items import Key, RunItems, Series
from d2eval.runs.measured import COMPLETE, SAMPLE, RunRoots, has_runs
from d2eval.runs.results import MEASURED, records_of

Records = Sequence[Mapping[str, Any]]
_NAMED = 3  # so many sequences or queries stand in a title where it takes them
_SHORT = 40  # characters of names that stand in any title


@dataclass(frozen=True)
class _Shared:
    """What runs have in common that share an axis."""

    protocol: str
    subset: str
    dataset: str  # how complete it is
    units: frozenset[Key]  # the pairs or queries that the accuracy is of
    clusters: tuple[str, ...]  # what these are of, such as sequences
    fingerprint: str  # of the data's content; "" where a run doesn't say it
    machine: str  # with the device
    ylabel: str
    most: float | None  # of the accuracy, as far as it is known


def plot_costs(roots: RunRoots, output: Path) -> tuple[list[Path], list[str]]:
    """Draws ``cost_<benchmark>.*`` of every benchmark that has runs.

    Runs share an axis where they have the same protocol, pairs or queries, machine and device.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a file is missing or broken, or there is nothing to draw.
    """
    paths, notes = list[Path](), list[str]()
    for name in registered(BENCHMARKS):
        if has_runs(roots, name):
            own, said = _of_benchmark(benchmark_class(name)(), roots, output)
            paths += own
            notes += said
    if not paths:
        reason = "; ".join(notes) or "evaluate a method first"
        raise D2EvalError(f"nothing to draw: no run has both costs and accuracy ({reason})")
    return paths, notes


def _of_benchmark(
    benchmark: Benchmark, roots: RunRoots, output: Path
) -> tuple[list[Path], list[str]]:
    measured: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records_of(benchmark.results(roots)):
        if record["source"] == MEASURED:
            measured[record["run"]].append(record)
    groups: dict[_Shared, list[Mark]] = defaultdict(list)
    lacking = []
    for run in finished_runs(roots, benchmark.name):
        label = run.place.label
        try:
            items = benchmark.items_of(run.place.path, label)
            series = _accuracy(items)
            mark = _mark(run, series, measured[label])
        except D2EvalError as error:
            lacking.append(f"{benchmark.name}: {label} is not drawn ({error})")
        else:
            groups[_shared(run, benchmark, items, series)].append(mark)
    rows = [
        CostRow(title, own.ylabel, groups[own], own.most)
        for own, title in zip(groups, _titles(list(groups)), strict=True)
    ]
    if not rows:
        return [], lacking
    figure = draw_costs(rows, KINDS, benchmark.name)
    return write_figure(figure, output, f"cost_{benchmark.name}"), lacking


def _accuracy(items: RunItems) -> Series:
    """What a run's accuracy is: the number by which items are ranked, or recall at the finest.

    Raises:
        D2EvalError: it has none.
    """
    ranked = items.ranked.measure
    for own in items.series:
        if (own.measure.name, own.measure.threshold) == (ranked.name, ranked.threshold):
            return own
    hits = [s for s in items.series if s.measure.hits and s.subset == items.series[0].subset]
    if not hits:
        raise D2EvalError("it has no accuracy")
    return hits[0]


def _mark(run: Found, series: Series, records: Records) -> Mark:
    """Costs and accuracy of a run.

    Raises:
        D2EvalError: it lacks either.
    """
    sought = series.subset, series.measure.name, series.measure.threshold
    costs = costs_of(run.manifest, records)
    for record in records:
        if (record["subset"], record["metric"], record.get("threshold")) == sought:
            if all(value is None for value in costs.values()):
                raise D2EvalError("it doesn't say what its features cost")
            method = str(run.manifest["method"])
            return Mark(run.place.label, method, costs, float(record["value"]))
    raise D2EvalError(f"it has no {series.measure.text}")


def _shared(run: Found, benchmark: Benchmark, items: RunItems, series: Series) -> _Shared:
    measure, dataset = series.measure, run.manifest["dataset"]
    share = 1.0 if measure.name in SHARES else None
    return _Shared(
        protocol=str(run.manifest.get("protocol", benchmark.name)),
        subset=benchmark.subset_titles().get(series.subset, series.subset),
        dataset=dataset["completeness"],
        units=frozenset(series.values),
        clusters=tuple(dict.fromkeys(items.clusters[key] for key in series.values)),
        fingerprint=str(dataset.get("fingerprint", "")),
        machine=machine_of(run.manifest),
        ylabel=f"localized at {measure.text} [%]" if measure.hits else measure.text,
        most=100.0 if measure.hits else share,
    )


def _titles(groups: Sequence[_Shared]) -> list[str]:
    """Protocol, subset, data and machine of each; as much of the data as tells them apart."""
    plain = [_title(own, len(", ".join(own.clusters)) <= _SHORT) for own in groups]
    named = [
        _title(own, True) if plain.count(title) > 1 else title
        for own, title in zip(groups, plain, strict=True)
    ]
    return [
        f"{title}; content {own.fingerprint[:8] or 'not said'}" if named.count(title) > 1 else title
        for own, title in zip(groups, named, strict=True)
    ]


def _title(shared: _Shared, named: bool) -> str:
    data = shared.dataset.removeprefix("partial (").removesuffix(")")
    if shared.dataset == SAMPLE:
        data = "embedded sample"
    elif shared.dataset == COMPLETE:
        data = "complete"
    elif named:
        data += f" ({some(shared.clusters, _NAMED)})"
    return f"{shared.protocol}, {shared.subset}: {data}; {shared.machine}"
