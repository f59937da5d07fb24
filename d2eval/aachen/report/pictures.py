"""All figures of Aachen runs: recall, each run seen from above, matches of chosen queries."""

from collections.abc import Sequence
from pathlib import Path

from d2eval.aachen.report.matches import FILE as MATCHES
from d2eval.aachen.report.matches import plot_matches, query_names
from d2eval.aachen.report.plots import plot_recall
from d2eval.aachen.report.queries import load_queries
from d2eval.aachen.report.runs import AachenRun, choose, load_runs
from d2eval.aachen.report.topview import MODEL, draw, load_model, top_view
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.progress import progress
from d2eval.report.figures import Choice, choose_queries, write_figure
from d2eval.runs.measured import SHIPPED_RUNS, RunRoots


def plot_aachen(
    runs_folder: RunRoots, output: Path, choice: Choice
) -> tuple[list[Path], list[str]]:
    """Draws ``recall.*``, and for each run ``<label>/topview.png`` and ``<label>/matches/*.png``.

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
    notes = [*runs.notes, *notes]
    drawn = [run for run in runs.measured if run.is_sample or not choice.sample_only]
    for run in drawn:
        pictures = plot_topview(run, output / run.label)
        paths += pictures
        if not pictures and not run.folder.is_relative_to(SHIPPED_RUNS):  # those are rows alone
            notes.append(f"{run.folder}: no {MODEL}/, so no view from above")
    if choice.query is not None:
        paths += _plot_queries(drawn, output, choice.query)
    if not paths:
        raise D2EvalError(
            "nothing to draw: no measured run is there; run `d2eval aachen` first, or leave out "
            f"{'--sample' if choice.sample_only else '--no-published'}"
        )
    return paths, notes


def plot_topview(run: AachenRun, output: Path) -> list[Path]:
    """Draws ``topview.png``, if the run left its model.

    Raises:
        D2EvalError: a file of the run is missing or broken.
    """
    model = load_model(run.folder)
    if model is None:
        return []
    figure = draw(top_view(model, load_queries(run.folder)), run)
    return write_figure(figure, output, "topview", ["png"])


def _plot_queries(runs: Sequence[AachenRun], output: Path, wanted: str) -> list[Path]:
    paths: list[Path] = []
    with_matches = [run for run in runs if (run.folder / MATCHES).is_file()]
    for run in progress(with_matches, "drawing matches"):
        path = run.folder / MATCHES
        chosen = choose_queries(query_names(path), wanted)
        paths += plot_matches(path, chosen, output / run.label / "matches")
    if not paths:
        where = ", ".join(str(run.folder / MATCHES) for run in with_matches) or f"no {MATCHES}"
        raise D2EvalError(
            f"--query {wanted}: no matches of such a query ({where}); queries.csv of a run has the "
            "names"
        )
    return paths
