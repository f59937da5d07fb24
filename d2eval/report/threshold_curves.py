"""Curves over a threshold: a panel for each split, and the legends below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.report.figures import MEASURED, PUBLISHED, add_legend, new_figure
from d2eval.report.names import legend_entry
from d2eval.report.styles import LINES, Entry, styles
from d2eval.runs.measured import Run

MEASURED_WIDTH = 1.2  # points
_WIDTH_IN, _PANEL_IN = 5.0, 4.6


@dataclass(frozen=True)
class Curve:
    """What is drawn for one row or run, in every panel whose split it has."""

    label: str  # its legend entry
    color: str  # matplotlib's name of its colour
    line: str  # matplotlib's line style
    width: float  # line width in points
    marker: str  # matplotlib's marker, or "" for a published curve
    values: Mapping[str, Mapping[float, float]]  # split -> threshold -> number

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


@dataclass(frozen=True)
class Axes:
    """What the panels share."""

    thresholds: Sequence[float]  # that are drawn
    panels: Sequence[tuple[str, str]]  # (split, title) of each
    xlabel: str  # below them
    ylabel: str  # at their left


def measured_curves(
    runs: Sequence[tuple[Run, Mapping[str, Mapping[float, float]]]],
    top_k: Mapping[str, int | None] | None = None,
) -> list[Curve]:
    """Thin curves with markers, in the colour and line style of the run's method.

    One whose matcher isn't the protocol's is dashed.

    Numbers are by split and threshold; ``top_k`` by label says how many features of an image a run
    kept, None for all.
    """
    looks = styles(
        [Entry(run.label, run.method, LINES[1] if run.matcher else None) for run, _ in runs]
    )
    return [
        Curve(
            legend_entry(run, (top_k or {}).get(run.label)), looks[run.label].color,
            looks[run.label].line, MEASURED_WIDTH, looks[run.label].marker, values,
        )
        for run, values in runs
    ]  # fmt: skip


def draw(curves: Sequence[Curve], shown: Axes, title: str | None = None) -> Figure:
    """Draws the panels side by side and the legends below them.

    Later curves lie on top; panels without one are left out.
    """
    panels = [panel for panel in shown.panels if any(panel[0] in c.values for c in curves)]
    width = _WIDTH_IN * max(len(panels), 2)
    figure = new_figure(width, _PANEL_IN)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(
        0.75 / width, 0.13, 1 - 0.15 / width, 0.85 if title else 0.92, wspace=0.06
    )
    for axis, (split, panel) in zip(axes, panels, strict=True):
        for curve in [curve for curve in curves if split in curve.values]:
            values = curve.values[split]
            # Markers at the first and last threshold lie half outside the panel.
            known = [t for t in shown.thresholds if t in values]
            axis.plot(known, [values[t] for t in known], clip_on=False, **curve.style)
        axis.set(
            title=panel,
            xlabel=shown.xlabel,
            xlim=(shown.thresholds[0], shown.thresholds[-1]),
            xticks=shown.thresholds,
            ylim=(0, 1),
        )
        axis.grid(alpha=0.4)
    axes[0].set_ylabel(shown.ylabel)
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
