"""Figures of cost against accuracy, of the runs of one machine each."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2eval.comparison.choice import Found, finished_runs
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import Benchmark, benchmark_class
from d2eval.foundation.errors import D2EvalError
from d2eval.leaderboard.costs import KINDS, costs_of, machine_of
from d2eval.report.cost_figure import CostRow, Mark, draw_costs
from d2eval.report.figures import write_figure
from d2eval.runs.items import Measure, RunItems
from d2eval.runs.measured import SAMPLE, RunRoots, has_runs
from d2eval.runs.results import MEASURED, records_of

Records = Sequence[Mapping[str, Any]]


def plot_costs(roots: RunRoots, output: Path) -> tuple[list[Path], list[str]]:
    """Draws ``cost_<benchmark>.*`` of every benchmark that has runs.

    Runs of several machines or devices don't share an axis: those of the one that has most runs
    are drawn.

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
    runs = finished_runs(roots, benchmark.name)
    measured: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records_of(benchmark.results(roots)):
        if record["source"] == MEASURED:
            measured[record["run"]].append(record)
    machines = Counter(machine_of(run.manifest) for run in runs)
    if not machines:
        return [], []
    ((machine, count),) = machines.most_common(1)
    parts: dict[tuple[str, str], list[Mark]] = defaultdict(list)
    for run in runs:
        if machine_of(run.manifest) != machine:
            continue
        label = run.place.label
        try:
            subset, measure = _accuracy(benchmark.items_of(run.place.path, label))
        except D2EvalError:  # its runs don't compare, or this one leaves no rows
            continue
        records = measured[label]
        accuracy = _value(records, subset, measure)
        costs = costs_of(run.manifest, records)
        if accuracy is not None and any(value is not None for value in costs.values()):
            method = str(run.manifest["method"])
            mark = Mark(label, method, costs, accuracy)
            ylabel = f"localized at {measure.text} [%]" if measure.hits else measure.text
            parts[_title(run, benchmark, subset), ylabel].append(mark)
    rows = [CostRow(title, ylabel, marks) for (title, ylabel), marks in parts.items()]
    others = len(runs) - count
    notes = []
    if others:
        notes.append(
            f"{benchmark.name}: {others} of {len(runs)} runs are of another machine or device than "
            f"{machine}, and not drawn"
        )
    if not rows:
        return [], notes
    figure = draw_costs(rows, KINDS, f"{benchmark.name}, {machine}")
    return write_figure(figure, output, f"cost_{benchmark.name}"), notes


def _accuracy(items: RunItems) -> tuple[str, Measure]:
    """What a run's accuracy is: the number by which items are ranked, or recall at the finest.

    Raises:
        D2EvalError: it has none.
    """
    ranked = items.ranked.measure
    for own in items.series:
        if (own.measure.name, own.measure.threshold) == (ranked.name, ranked.threshold):
            return own.subset, own.measure
    hits = [s for s in items.series if s.measure.hits and s.subset == items.series[0].subset]
    if not hits:
        raise D2EvalError(f"{items.run.label}: has no accuracy")
    return hits[0].subset, hits[0].measure


def _value(records: Records, subset: str, measure: Measure) -> float | None:
    for record in records:
        key = record["subset"], record["metric"], record.get("threshold")
        if key == (subset, measure.name, measure.threshold):
            return float(record["value"])
    return None


def _title(run: Found, benchmark: Benchmark, subset: str) -> str:
    """Protocol and subset; the sample by itself."""
    words = [str(run.manifest.get("protocol", benchmark.name))]
    words.append(benchmark.subset_titles().get(subset, subset))
    if run.manifest["dataset"]["completeness"] == SAMPLE:
        words.append("embedded sample")
    return ", ".join(words)
