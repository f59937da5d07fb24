"""The paper's HPatches figure: mean matching accuracy over the threshold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.report.published import PaperRow, load_paper, shown_thresholds
from d2eval.hpatches.report.runs import MeasuredRun, load_runs
from d2eval.localization.recall import MEASURED, PUBLISHED
from d2eval.report.figures import add_legend, new_figure, write_figure
from d2eval.report.names import legend_entry
from d2eval.report.styles import Entry, styles
from d2eval.runs.measured import RunRoots
from d2eval.runs.published import presentation
from d2eval.runs.rows import Scores

MEASURED_WIDTH = 1.2
SAMPLE_TITLE = "Embedded sample (not HPatches): not comparable with published curves"
_WIDTH_IN, _PANEL_IN = 5.0, 4.6


@dataclass(frozen=True)
class Curve:
    """What is drawn for one row or run, in every panel whose split it has.

    Attributes:
        label: its legend entry.
        color: matplotlib's name of its colour.
        line: matplotlib's line style.
        width: line width in points.
        marker: matplotlib's marker, or "" for a published curve.
        scores: split -> numbers.
    """

    label: str
    color: str
    line: str
    width: float
    marker: str
    scores: Mapping[str, Scores]

    @property
    def style(self) -> dict[str, Any]:
        """Arguments for matplotlib's lines; measured curves lie on top of published ones."""
        return {
            "label": self.label,
            "color": self.color,
            "linestyle": self.line,
            "linewidth": self.width,
            "marker": self.marker,
            "markerfacecolor": "white",
            "markersize": 5,
            "zorder": 3 if self.marker else 2,
        }


def plot_mma(
    runs_folder: RunRoots, output: Path, *, published: bool = True, sample_only: bool = False
) -> tuple[list[Path], list[str]]:
    """Draws ``mma.png`` and ``mma.svg``, and ``mma_sample.*`` if there are sample runs.

    Runs on the embedded sample never share a figure with published curves.

    Args:
        runs_folder: of measured runs, or several; see `run_folders`.
        output: folder to write to.
        published: whether to draw the paper's curves.
        sample_only: draw the sample's figure only.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a file is missing or broken, or there is nothing to draw.
    """
    runs, notes = load_runs(runs_folder, shown_thresholds())
    paths = plot_runs(runs, output, published=published, sample_only=sample_only)
    if not paths:
        raise D2EvalError(
            "nothing to draw: no measured run is there; run `d2eval hpatches` first, or leave "
            f"out {'--sample' if sample_only else '--no-published'}"
        )
    return paths, notes


def plot_runs(
    runs: Sequence[MeasuredRun], output: Path, *, published: bool = True, sample_only: bool = False
) -> list[Path]:
    """Draws ``runs`` as `plot_mma` does; no file where there is nothing to draw."""
    shown = presentation("hpatches")["figure"]
    curves = published_curves(load_paper(), shown["line_width"]) if published else []
    curves += measured_curves([run for run in runs if not run.is_sample])
    sample = measured_curves([run for run in runs if run.is_sample])
    paths = []
    if curves and not sample_only:
        paths += write_figure(draw(curves, shown), output, "mma")
    if sample:
        figure = draw(sample, shown, title=SAMPLE_TITLE)
        paths += write_figure(figure, output, "mma_sample")
    return paths


def published_curves(paper: Iterable[PaperRow], width: float) -> list[Curve]:
    """The paper's curves in its colours and line styles."""
    return [Curve(row.name, row.color, row.line, width, "", row.scores) for row in paper]


def measured_curves(runs: Sequence[MeasuredRun]) -> list[Curve]:
    """Thin curves with markers, in the colour and line style of the run's method."""
    looks = styles([Entry(run.label, run.named) for run in runs])
    return [
        Curve(
            legend_entry(run, run.top_k), looks[run.label].color, looks[run.label].line,
            MEASURED_WIDTH, looks[run.label].marker, run.scores,
        )
        for run in runs
    ]  # fmt: skip


def draw(curves: Sequence[Curve], shown: Mapping[str, Any], title: str | None = None) -> Figure:
    """Draws the panels side by side and the legends below them.

    Args:
        curves: what to draw, later ones on top.
        shown: the table ``[figure]`` of ``results/published/hpatches.toml``.
        title: a line above the panels.
    """
    thresholds = shown["thresholds_px"]
    panels = [panel for panel in shown["panels"] if any(panel[0] in c.scores for c in curves)]
    width = _WIDTH_IN * max(len(panels), 2)
    figure = new_figure(width, _PANEL_IN)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(
        0.75 / width, 0.13, 1 - 0.15 / width, 0.85 if title else 0.92, wspace=0.06
    )
    for axis, (split, panel) in zip(axes, panels, strict=True):
        present = [curve for curve in curves if split in curve.scores]
        for curve in present:
            mma = curve.scores[split].mma
            # Markers at the first and last threshold lie half outside the panel.
            known = [t for t in thresholds if t in mma]
            axis.plot(known, [mma[t] for t in known], clip_on=False, **curve.style)
        axis.set(
            title=panel,
            xlabel="threshold [px]",
            xlim=(thresholds[0], thresholds[-1]),
            xticks=thresholds,
            ylim=(0, 1),
        )
        axis.grid(alpha=0.4)
    axes[0].set_ylabel("MMA")
    if title:
        figure.suptitle(title)
    _add_legends(figure, curves)
    return figure


def _add_legends(figure: Figure, curves: Sequence[Curve]) -> None:
    """Puts the published and then the measured entries below the panels, each in columns."""
    top = 0.0
    for measured, title in ((False, PUBLISHED), (True, MEASURED)):
        group = [curve for curve in curves if bool(curve.marker) == measured]
        if group:
            handles = [Line2D([], [], **curve.style) for curve in group]
            top = add_legend(figure, handles, top, title)
