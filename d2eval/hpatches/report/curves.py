"""The paper's HPatches figure: mean matching accuracy over the threshold."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.report.published import PaperRow, load_paper, load_runs
from d2eval.report.figures import write_figure
from d2eval.report.threshold_curves import Axes, Curve, draw, measured_curves
from d2eval.runs.measured import RunRoots
from d2eval.runs.published import presentation
from d2eval.runs.results import Numbers

SAMPLE_TITLE = "Embedded sample (not HPatches): not comparable with published curves"


def plot_mma(
    runs_folder: RunRoots, output: Path, *, published: bool = True, sample_only: bool = False
) -> tuple[list[Path], list[str]]:
    """Draws ``mma.png`` and ``mma.svg``, and ``mma_sample.*`` if there are sample runs.

    Runs on the embedded sample never share a figure with published curves.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a file is missing or broken, or there is nothing to draw.
    """
    runs, notes = load_runs(runs_folder)
    paths = plot_runs(runs, output, published=published, sample_only=sample_only)
    if not paths:
        raise D2EvalError(
            "nothing to draw: no measured run is there; run `d2eval hpatches` first, or leave "
            f"out {'--sample' if sample_only else '--no-published'}"
        )
    return paths, notes


def plot_runs(
    runs: Sequence[PairsRun], output: Path, *, published: bool = True, sample_only: bool = False
) -> list[Path]:
    """Draws ``runs`` as `plot_mma` does; no file where there is nothing to draw."""
    figure = presentation("hpatches")["figure"]
    shown = Axes(figure["thresholds_px"], figure["panels"], "threshold [px]", "MMA")
    curves = published_curves(load_paper(), figure["line_width"]) if published else []
    curves += run_curves([run for run in runs if not run.is_sample])
    sample = run_curves([run for run in runs if run.is_sample])
    paths = []
    if curves and not sample_only:
        paths += write_figure(draw(curves, shown), output, "mma")
    if sample:
        paths += write_figure(draw(sample, shown, SAMPLE_TITLE), output, "mma_sample")
    return paths


def published_curves(paper: Iterable[PaperRow], width: float) -> list[Curve]:
    """The paper's curves in its colours and line styles."""
    return [Curve(row.name, row.color, row.line, width, "", _mma(row.numbers)) for row in paper]


def run_curves(runs: Sequence[PairsRun]) -> list[Curve]:
    """The curves of ``runs``."""
    kept = {run.label: run.top_k for run in runs}
    return measured_curves([(run, _mma(run.numbers)) for run in runs], kept)


def _mma(numbers: Mapping[str, Numbers]) -> dict[str, dict[float, float]]:
    return {split: own.curve("mma") for split, own in numbers.items()}
