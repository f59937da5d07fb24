"""All figures of InLoc runs: recall, and chosen queries beside the views from their poses."""

from collections.abc import Sequence
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.report.plots import plot_recall
from d2eval.inloc.report.runs import InlocRun, choose, load_runs
from d2eval.inloc.report.views import FILE as VIEWS
from d2eval.inloc.report.views import plot_views, query_names
from d2eval.report.figures import Choice, choose_queries
from d2eval.runs.measured import RunRoots


def plot_inloc(runs_folder: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
    """Draws ``recall*.*``, and with a query ``<label>/views/*.png`` of each run that has views.

    Args:
        runs_folder: of measured runs, or several; see `run_folders`.
        output: folder to write to.
        choice: what to draw.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a file is missing or broken, or there is nothing to draw.
    """
    runs = load_runs(runs_folder)
    if choice.run is not None:
        runs = choose(runs, choice.run)
    paths, notes = plot_recall(
        runs, output, published=choice.published, sample_only=choice.sample_only
    )
    if choice.query is not None:
        drawn = [run for run in runs.measured if run.is_sample or not choice.sample_only]
        paths += _plot_queries(drawn, output, choice.query)
    if not paths:
        raise D2EvalError(
            "nothing to draw: no measured run is there; run `d2eval inloc` first, or leave out "
            f"{'--sample' if choice.sample_only else '--no-published'}"
        )
    return paths, [*runs.notes, *notes]


def _plot_queries(runs: Sequence[InlocRun], output: Path, wanted: str) -> list[Path]:
    paths: list[Path] = []
    with_views = [run for run in runs if (run.folder / VIEWS).is_file()]
    for run in progress(with_views, "drawing views"):
        path = run.folder / VIEWS
        chosen = choose_queries(query_names(path), wanted)
        paths += plot_views(path, chosen, output / run.label / "views")
    if not paths:
        where = ", ".join(str(run.folder / VIEWS) for run in with_views)
        raise D2EvalError(
            f"--query {wanted}: no views of such a query ({where or f'no {VIEWS}'}); runs with "
            "Dense PV leave them, and queries.csv has the names"
        )
    return paths
