"""All figures of a benchmark of camera poses: recall, and pictures of runs and of queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.hdf5 import group_names
from d2eval.foundation.terminal.progress import progress
from d2eval.localization.curves import plot_recall
from d2eval.localization.description import Report
from d2eval.localization.groups import LocalizedRun
from d2eval.localization.runs import choose, load_folder, load_runs, no_runs
from d2eval.localization.table import table_of_runs
from d2eval.report.figures import Choice, choose_queries
from d2eval.report.tables import write_table
from d2eval.runs.measured import RunRoots
from d2eval.runs.rows import REMEDY


def plot_all(
    report: Report[Any], roots: RunRoots, output: Path, choice: Choice
) -> tuple[list[Path], list[str]]:
    """Draws ``recall*.*``, and pictures of each run and of chosen queries into ``<label>/``.

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
    if choice.query is not None:
        paths += _plot_queries(report, drawn, output, choice.query)
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


def _plot_queries(
    report: Report[Any], runs: Sequence[LocalizedRun], output: Path, wanted: str
) -> list[Path]:
    own = report.pictures
    paths: list[Path] = []
    having = [run for run in runs if (run.folder / own.file).is_file()]
    for run in progress(having, f"drawing {own.folder}"):
        path = run.folder / own.file
        chosen = choose_queries(group_names(path, own.what, REMEDY), wanted)
        paths += own.plot(path, chosen, output / run.label / own.folder)
    if not paths:
        where = ", ".join(str(run.folder / own.file) for run in having) or f"no {own.file}"
        raise D2EvalError(
            f"--query {wanted}: no {own.folder} of such a query ({where}); {own.hint}"
        )
    return paths
