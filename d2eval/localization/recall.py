"""Recall over the position error in panels, with published and returned numbers as marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.metrics.poses import Threshold
from d2eval.report.figures import MEASURED, PUBLISHED, RETURNED, add_legend, cells, new_figure
from d2eval.report.styles import MARKS, Style

Curve = tuple[list[float], list[float]]
_KINDS = (PUBLISHED, RETURNED, MEASURED)  # the legends, from above
_PANEL_IN, _ALONE_IN, _BESIDE_IN = (5.6, 3.6), 8.4, (0.65, 0.75)  # of a panel; margins around it
_ROOM = 1.3  # factor between the outermost number and the panel's edge
_NARROWEST, _WIDEST = 3.0, 1e4  # a panel's right end over its left one
_TICK_GAP, _ANGLE_GAP = 0.06, 0.05  # between labels, at least, as a share of the panel


@dataclass(frozen=True)
class Shown:
    """A curve or a set of marks."""

    kind: str  # `PUBLISHED`, `RETURNED` or `MEASURED`
    label: str  # its legend entry
    style: Style  # what it looks like
    metres: Sequence[float]  # corners of a curve, or thresholds
    recall: Sequence[float]  # in 0..1

    def line(self, steps: str) -> dict[str, Any]:
        """Arguments for matplotlib's lines, of steps before ("pre") or behind a corner ("post")."""
        shared: dict[str, Any] = {"label": self.label, "color": self.style.color}
        if self.kind == MEASURED:
            return {**self.style.of_steps, **shared, "drawstyle": f"steps-{steps}", "zorder": 2}
        shared |= {"linestyle": "", "clip_on": False}
        if self.kind == RETURNED:
            return {
                **shared, "marker": "*", "markersize": 11, "markeredgecolor": "white", "zorder": 4,
            }  # fmt: skip
        mark = MARKS[self.style.line]
        size = 13 if mark == "_" else 9
        return {**shared, "marker": mark, "markersize": size, "markeredgewidth": 2, "zorder": 3}


@dataclass(frozen=True)
class RecallPanel:
    """What stands in one panel."""

    title: str  # above it
    xlabel: str  # below it
    limits: Sequence[Threshold]  # the protocol's thresholds, which get a line
    steps: str  # "pre" or "post", as in `Shown.line`
    angles: bool  # whether the rotation threshold of each stretch stands above
    shown: Sequence[Shown] = field(default_factory=list)  # what is drawn; it is not empty

    def span(self) -> tuple[float, float]:
        """Metres at the panel's ends: it holds all steps, marks and the finest threshold.

        What lies beyond the last step is not worth a panel's width, nor are steps far too small.
        """
        seen = [limit.position_m for limit in self.limits[:1]]
        for item in self.shown:
            rises = item.metres if item.kind != MEASURED else self._rises(item)
            seen += [metres for metres in rises if metres > 0]
        first, last = min(seen) / _ROOM, max(seen) * _ROOM
        return max(first, last / _WIDEST), max(last, first * _NARROWEST)

    def _rises(self, curve: Shown) -> list[float]:
        pairs = zip(curve.recall, curve.recall[1:], strict=False)
        behind = 1 if self.steps == "post" else 0
        return [curve.metres[i + behind] for i, (low, high) in enumerate(pairs) if high > low]


def draw_recall(panels: Sequence[RecallPanel], title: str | None = None) -> Figure:
    """Draws the panels in rows, and a legend for each kind of number below them."""
    places, columns, rows = cells(len(panels))
    width = max(_PANEL_IN[0] * columns, _ALONE_IN)
    height = (_PANEL_IN[1] + 0.5) * rows + (0.3 if title else 0)
    figure = new_figure(width, height)
    entries: dict[str, dict[str, Line2D]] = {kind: {} for kind in _KINDS}
    for panel, (column, row) in zip(panels, places, strict=True):
        left, below = _BESIDE_IN
        axes = figure.add_axes(
            (
                (column * width / columns + left) / width,
                ((rows - 1 - row) * (_PANEL_IN[1] + 0.5) + below) / height,
                (width / columns - left - 0.2) / width,
                (_PANEL_IN[1] - below - 0.1) / height,
            )
        )
        _draw_panel(axes, panel)
        for item in panel.shown:
            style = item.line(panel.steps)
            axes.plot(item.metres, item.recall, **style)
            entries[item.kind][item.label] = Line2D([], [], **style)
    if title:
        figure.suptitle(title, y=1 - 0.1 / height, va="top")
    top = 0.0
    for kind, group in entries.items():
        if group:
            top = add_legend(figure, list(group.values()), top, kind)
    return figure


def _draw_panel(axes: Axes, panel: RecallPanel) -> None:
    """Axes and the protocol's thresholds, with the angle that goes with each distance."""
    first, last = panel.span()
    start = first
    for index, limit in enumerate(panel.limits):
        if first < limit.position_m < last:
            axes.axvline(limit.position_m, color="grey", linestyle=":", linewidth=1)
        is_last = index + 1 == len(panel.limits)
        end = last if is_last else min(max(limit.position_m, first), last)
        if panel.angles and _share(start, end, first, last) > _ANGLE_GAP:
            # In the middle of its stretch, on an axis of logarithms.
            where, angle = math.sqrt(start * end), f"{limit.rotation_deg:g}\N{DEGREE SIGN}"
            axes.text(where, 1.02, angle, ha="center", va="bottom", color="grey", fontsize=9)
        start = max(start, end)
    axes.set(
        xscale="log",
        xlim=(first, last),
        ylim=(0, 1.015),  # a curve at 1 stays visible
        xlabel=panel.xlabel,
        ylabel="recall",
    )
    axes.set_title(panel.title, fontsize=10, pad=20 if panel.angles else 6)
    ticks = _ticks(first, last, [limit.position_m for limit in panel.limits])
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.4)


def _ticks(first: float, last: float, limits: Sequence[float]) -> list[float]:
    """The thresholds, and round numbers that keep their distance from them."""
    ticks = [limit for limit in limits if first <= limit <= last]
    decades = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    wanted = (1,) if len(decades) > 4 else (1, 3) if len(decades) > 3 else (1, 2, 5)
    for number in (float(f"{digit}e{decade}") for decade in decades for digit in wanted):
        near = any(abs(_share(number, tick, first, last)) < _TICK_GAP for tick in ticks)
        if first <= number <= last and not near:
            ticks.append(number)
    return sorted(ticks)


def _share(start: float, end: float, first: float, last: float) -> float:
    """How much of a logarithmic axis from ``first`` to ``last`` a stretch takes."""
    return math.log(end / start) / math.log(last / first)
