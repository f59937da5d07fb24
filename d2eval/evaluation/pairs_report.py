"""Table and figure of a benchmark of image pairs that has no published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from d2eval.evaluation.pairs import Curves
from d2eval.foundation.errors import D2EvalError
from d2eval.report.figures import Choice, write_figure
from d2eval.report.tables import Table, flat_csv, markdown_grid
from d2eval.report.threshold_curves import Axes, draw, measured_curves
from d2eval.runs.columns import Column, number
from d2eval.runs.manifest import load_manifest
from d2eval.runs.measured import (
    SUMMARY,
    Run,
    RunRoots,
    check_origin,
    run_folders,
    unfinished_note,
)
from d2eval.runs.rows import REMEDY, read_rows, reading

_ABOUT = ("method", "split", "dataset", "weights")


@dataclass(frozen=True)
class PairsRun(Run):
    """One evaluation: the rows of its summary, by split."""

    rows: Mapping[str, Mapping[str, str]]


def load_run(folder: Path, benchmark: str) -> PairsRun:
    """Reads the run in ``folder``.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, benchmark)
    path = folder / SUMMARY
    with reading(path, REMEDY):
        rows = read_rows(path, map(Column, _ABOUT))
        for row in rows:
            check_origin(row["method"], row["dataset"], manifest)
        if not rows:
            raise ValueError("holds no row")
    weights = rows[0]["weights"]
    by_split = {row["split"]: row for row in rows}
    about = (manifest.method, manifest.matcher, manifest.dataset, weights, manifest.stand_in)
    return PairsRun(folder.name, *about, by_split)


def load_runs(roots: RunRoots, benchmark: str) -> tuple[list[PairsRun], list[str]]:
    """All finished runs, and notes on those that aren't."""
    places, notes = run_folders(roots, benchmark)
    runs = []
    for place in places:
        if note := unfinished_note(place.path):
            notes.append(note)
        else:
            runs.append(replace(load_run(place.path, benchmark), label=place.label))
    return runs, notes


def summary_table(benchmark: str, runs: Sequence[PairsRun], notes: Sequence[str] = ()) -> Table:
    """A line for each run and split; runs on the sample in a part of their own."""
    parts = [f"# {benchmark}"]
    records = []
    for title, is_sample in ((None, False), ("Embedded sample", True)):
        own = [
            {"label": run.label, **{k: v for k, v in row.items() if v}}
            for run in runs
            if run.is_sample == is_sample
            for row in run.rows.values()
        ]
        if own:
            parts += [f"## {title}"] if title else []
            parts.append(markdown_grid(_columns(own), own))
            records += own
    names = list(dict.fromkeys(name for record in records for name in record))
    csv = flat_csv([Column(name) for name in names], records)
    return Table(benchmark, csv, "\n\n".join(parts) + "\n", notes)


def _columns(records: Sequence[Mapping[str, str]]) -> list[Column]:
    names = dict.fromkeys(name for record in records for name in record)
    columns = [Column("label", "Run", key=True), Column("split", "Split", key=True)]
    for name in names:
        if name not in ("label", *_ABOUT):
            columns.append(Column(name, name.replace("_", " "), _rounded))
    return [*columns, *(Column(name, name.capitalize(), about=True) for name in _ABOUT[2:])]


def _rounded(text: str) -> str:
    return f"{float(text):.4g}" if "." in text else text


def plot_curves(
    benchmark: str, runs: Sequence[PairsRun], shown: Curves, output: Path, choice: Choice
) -> list[Path]:
    """Draws ``<benchmark>.*``, and ``<benchmark>_sample.*`` if there are sample runs.

    Raises:
        D2EvalError: there is nothing to draw.
    """
    paths: list[Path] = []
    for suffix, is_sample in (("", False), ("_sample", True)):
        own = [(run, _values(run, shown)) for run in runs if run.is_sample == is_sample]
        if choice.run is not None:
            own = [(run, values) for run, values in own if run.label == choice.run]
        if own and (is_sample or not choice.sample_only):
            splits = list(dict.fromkeys(split for _, values in own for split in values))
            panels = [(split, split.capitalize()) for split in splits]
            axes = Axes(shown.thresholds, panels, shown.xlabel, shown.ylabel)
            title = f"Embedded sample (not {benchmark})" if is_sample else None
            figure = draw(measured_curves(own), axes, title)
            paths += write_figure(figure, output, benchmark + suffix)
    if not paths:
        raise D2EvalError(f"nothing to draw: no run of it is there; run `d2eval {benchmark}` first")
    return paths


def _values(run: PairsRun, shown: Curves) -> dict[str, dict[float, float]]:
    with reading(Path(run.label) / SUMMARY, REMEDY):
        return {
            split: {t: number(row, shown.column.format(t)) for t in shown.thresholds}
            for split, row in run.rows.items()
        }
