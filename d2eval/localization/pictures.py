"""All figures of a benchmark of camera poses: recall, and pictures of runs and of queries."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from d2eval.foundation.errors import D2EvalError
from d2eval.localization.columns import chosen
from d2eval.localization.curves import plot_recall
from d2eval.localization.description import PicturedRun, Report
from d2eval.localization.groups import QUERIES
from d2eval.localization.runs import choose, load_folder, load_queries, load_runs, no_runs
from d2eval.localization.table import table_of_runs
from d2eval.report.figures import Choice, Sources
from d2eval.report.tables import write_table
from d2eval.runs.measured import RunPlace, RunRoots
from d2eval.runs.rows import REMEDY, read_rows, reading


def plot_all(
    report: Report[Any], roots: RunRoots, output: Path, choice: Choice
) -> tuple[list[Path], list[str]]:
    """Draws ``recall*.*``, and pictures of each run into ``<label>/``.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a file is missing or broken, or there is nothing to draw.
    """
    runs = load_runs(report, roots)
    if choice.run is not None:
        runs = choose(runs, choice.run)
    paths, notes = plot_recall(
        report, runs, output, published=choice.published, sample_only=choice.sample_only
    )
    notes = [*runs.notes, *notes]
    drawn = [run for run in runs.measured if run.is_sample or not choice.sample_only]
    for run in drawn:
        pictures, more = report.plot_run(run, output / run.label)
        paths += pictures
        notes += more
    if not paths:
        raise D2EvalError(
            f"nothing to draw: no measured run is there; run `d2eval {report.name}` first, or "
            f"leave out {'--sample' if choice.sample_only else '--no-published'}"
        )
    return paths, notes


def write_report(report: Report[Any], folder: Path | None) -> list[Path]:
    """Writes table, recall and pictures of the run in ``folder`` beside its rows.

    Without a folder it only sees to it that all is there that they are made from.

    Returns:
        The files of the figures.
    """
    if folder is None:
        table_of_runs(report, no_runs(report))
        return []
    runs = load_folder(report, folder)
    (run,) = runs.measured
    write_table(table_of_runs(report, runs), folder)
    recall, _ = plot_recall(report, runs, folder, sample_only=run.is_sample)
    return [*recall, *report.plot_run(run, folder)[0]]


def query_names(report: Report[Any], folder: Path) -> list[str]:
    """The queries of the run in ``folder``.

    Raises:
        D2EvalError: a file is missing or broken.
    """
    path = folder / QUERIES
    with reading(path, REMEDY):
        return [row["name"] for row in read_rows(path, chosen(report.queries, "name"))]


def draw_query(
    report: Report[Any], runs: Sequence[RunPlace], query: str, sources: Sources
) -> Figure:
    """What each run found of a query.

    Raises:
        D2EvalError: a run left no pictures, or an image is missing.
    """
    found = []
    for run in runs:
        path = run.path / report.pictures.file
        if not path.is_file():
            raise D2EvalError(f"{path}: is missing; {report.pictures.hint}")
        found.append(PicturedRun(path, f"{run.label}{error_text(report, run.path, query)}"))
    return report.pictures.draw(found, query, sources)


def error_text(report: Report[Any], folder: Path, query: str) -> str:
    """Such as " (0.03 m, 0.4 deg)"; nothing without a reference pose."""
    for own in load_queries(report, folder).errors.values():
        if query in own:
            metres, degrees = own[query]
            if math.isinf(metres):
                return " (no pose, or one of another frame)"
            return f" ({metres:.2f} m, {degrees:.1f}\N{DEGREE SIGN})"
    return ""
