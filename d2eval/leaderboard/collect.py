"""All that a report shows of the runs below some folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from d2eval.comparison.choice import Found, finished_runs
from d2eval.contracts.citations import papers_of
from d2eval.contracts.leaks import leak_text
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.contracts.weights import NOT_STATED
from d2eval.evaluation.benchmark import Benchmark, benchmark_class
from d2eval.evaluation.citing import classes_used
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.version import program_version
from d2eval.leaderboard.costs import costs_of, machine_of
from d2eval.leaderboard.items import COMPARED, comparison_rows, item_table
from d2eval.leaderboard.numbers import COLUMNS, Measures, side_by_side
from d2eval.leaderboard.pictures import Album, Shown, add_pictures
from d2eval.report.latex import latex_tables
from d2eval.report.names import method_name
from d2eval.report.page.looks import looks
from d2eval.report.page.results import results_text
from d2eval.runs.items import RunItems
from d2eval.runs.manifest import Manifest, load_manifest
from d2eval.runs.measured import COMPLETE, SAMPLE, RunRoots, has_runs, named
from d2eval.runs.results import MEASURED, records_of


def collect(
    name: str,
    roots: Sequence[Path] | None,
    tell: Callable[[str], None],
    album: Album | None = None,
    largest: int = 0,
) -> dict[str, Any]:
    """A report of all benchmarks that have runs below ``roots``, as `d2eval.report.page` takes it.

    Args:
        name: whose it is.
        roots: of runs; see `d2eval.runs.measured.run_folders`.
        tell: is given what the user should know of what was left out.
        album: which pictures it has; None: none.
        largest: bytes of the report, which pictures may fill up.

    Raises:
        D2EvalError: there are no runs, or a file of one is broken.
    """
    known = list(registered(BENCHMARKS))
    for root in roots or ():
        if not any(has_runs(root, own) for own in known):
            raise D2EvalError(
                f"{root}: no runs there; give --runs the folder that evaluations wrote"
            )
    found = []
    for own in (own for own in known if has_runs(roots, own)):
        holding = roots and [root for root in roots if has_runs(root, own)]
        found.append(_collected(benchmark_class(own)(), holding, tell))
    content = [own.content for own in found]
    report = {"name": name, "d2eval": program_version(), "benchmarks": content}
    if album:
        add_pictures(found, album, largest - len(results_text([report])))
    return report


def _collected(benchmark: Benchmark, roots: RunRoots, tell: Callable[[str], None]) -> Shown:
    runs = finished_runs(roots, benchmark.name)
    items = [_items(benchmark, run, tell) for run in runs]
    known = [own for own in items if own is not None]
    records = records_of(benchmark.results(roots))
    measures = Measures(series.measure for own in known for series in own.series)
    labels = [run.place.label for run in runs]
    beside = {run.place.label for run in runs if _stands_beside_published(run)}
    numbers = side_by_side(records, labels, measures, beside.__contains__)
    weights = {r["run"]: r["weights"] for r in records if r["source"] == MEASURED}
    own: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record["source"] == MEASURED:
            own.setdefault(record["run"], []).append(record)
    drawn = looks({run.place.label: run.manifest["method"] for run in runs})
    table = benchmark.table(roots)
    classes, unknown = classes_used(benchmark.name, roots)
    for other in unknown:
        tell(f"{other}: not known here, so not cited")
    papers = {p.key: p.entry for cls in (type(benchmark), *classes) for p in papers_of(cls)}
    subsets = dict.fromkeys(row[COLUMNS.index("subset")] for row in numbers)
    content = {
        "name": benchmark.name,
        "item": known[0].item if known else "item",
        "cluster": known[0].cluster if known else "item",
        "subsets": {own: benchmark.subset_titles().get(own, own) for own in subsets},
        "measures": measures.listed,
        "runs": [
            _described(run, benchmark.name, weights.get(run.place.label, ""))
            | {"costs": costs_of(run.manifest, own.get(run.place.label, ()))}
            | look
            for run, look in zip(runs, drawn, strict=True)
        ],
        "numbers": {"columns": list(COLUMNS), "rows": numbers},
        "items": item_table(items, benchmark.item_name),
        "comparisons": {"columns": list(COMPARED), "rows": comparison_rows(items)},
        "bibtex": "\n\n".join(papers.values()),
        "latex": latex_tables(table.name, table.content) if table.content else "",
    }
    return Shown(content, benchmark, [run.place for run in runs], items)


def _items(benchmark: Benchmark, run: Found, tell: Callable[[str], None]) -> RunItems | None:
    try:
        return benchmark.items_of(run.place.path, run.place.label)
    except D2EvalError as error:
        tell(f"{run.place.label}: shown without its single results ({error})")
        return None


def _stands_beside_published(run: Found) -> bool:
    """Whether published numbers describe what the run did: all features, not the sample."""
    completeness = run.manifest["dataset"]["completeness"]
    return completeness != SAMPLE and run.manifest.get("top_k") is None


def _described(run: Found, benchmark: str, weights: str) -> dict[str, Any]:
    manifest = load_manifest(run.place.path, benchmark)
    content = manifest.content
    command = content.get("command")
    return {
        "label": run.place.label,
        "method": manifest.method,
        "called": method_name(named(manifest.method, manifest.matcher)),
        "protocol": str(content.get("protocol", benchmark)),
        "protocol_sha256": str(content.get("protocol_sha256", "")),
        "dataset": manifest.dataset,
        "weights": weights,
        "badges": _badges(manifest, weights),
        "command": [str(word) for word in command] if isinstance(command, list) else [],
        "machine": machine_of(content),
        "manifest": _plain(content),
    }


def _badges(manifest: Manifest, weights: str) -> list[str]:
    """What makes a run's numbers others than the benchmark's, in a word each."""
    found = {
        f"leak: {leak_text(manifest.leaks)}": bool(manifest.leaks),
        "sample": manifest.dataset == SAMPLE,
        "partial": manifest.dataset not in (SAMPLE, COMPLETE),
        "stand-in weights": manifest.stand_in,
        "weights not stated": weights == NOT_STATED.name,
    }
    return [badge for badge, holds in found.items() if holds]


def _plain(value: Any) -> Any:
    """A manifest's entry without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_plain(own) for own in value]
    is_none = isinstance(value, float) and (value != value or abs(value) == float("inf"))
    return None if is_none else value
