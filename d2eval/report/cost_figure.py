"""Cost against accuracy: a row of panels for runs that compare, one panel for each cost."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from d2eval.report.figures import add_legend, new_figure
from d2eval.report.styles import Entry, styles

_PANEL_IN, _HEIGHT_IN = 3.9, 3.4
_WIDE = 20.0  # ratio of costs from which an axis is logarithmic
_WIDEST = 130  # characters of a line of a title


@dataclass(frozen=True)
class Mark:
    """A run."""

    label: str
    method: str  # decides the colour
    costs: Mapping[str, float | None]  # by kind
    accuracy: float


@dataclass(frozen=True)
class CostRow:
    """Runs that share their axes."""

    title: str
    ylabel: str
    marks: Sequence[Mark]
    most: float | None = None  # of the accuracy; None: it has no largest number


def draw_costs(rows: Sequence[CostRow], kinds: Mapping[str, str], heading: str) -> Figure:
    """A column for each of ``kinds``, a cost's name and how its axis is called."""
    width, height = _PANEL_IN * len(kinds), _HEIGHT_IN * len(rows) + 0.3
    figure = new_figure(width, height)
    axes = figure.subplots(len(rows), len(kinds), sharey="row", squeeze=False)
    figure.subplots_adjust(
        0.7 / width, 0.6 / height, 1 - 0.15 / width, 1 - 0.7 / height, wspace=0.08, hspace=0.42
    )
    figure.suptitle(heading, fontsize=10, y=1 - 0.08 / height, va="top", parse_math=False)
    looks = styles([Entry(mark.label, mark.method) for row in rows for mark in row.marks])
    for row, panels in zip(rows, axes, strict=True):
        panels[0].set_ylabel(row.ylabel)
        title = textwrap.fill(row.title, _WIDEST)
        panels[0].set_title(title, fontsize=10, loc="left", pad=9, parse_math=False)
        for (kind, called), panel in zip(kinds.items(), panels, strict=True):
            known = [
                (cost, mark) for mark in row.marks if (cost := mark.costs.get(kind)) is not None
            ]
            for cost, mark in known:
                look = looks[mark.label]
                panel.plot(
                    [cost], [mark.accuracy], color=look.color, marker=look.marker, markersize=7,
                    markerfacecolor="white", markeredgewidth=1.6, linestyle="", clip_on=False,
                )  # fmt: skip
            costs = [cost for cost, _ in known if cost > 0]
            if costs and max(costs) > _WIDE * min(costs):
                panel.set_xscale("log")
                panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                panel.xaxis.set_major_formatter("{x:g}")
                panel.xaxis.set_minor_locator(NullLocator())
            elif costs:
                panel.set_xlim(0, 1.05 * max(costs))
            else:
                panel.text(0.5, 0.5, "no run says it", ha="center", transform=panel.transAxes)
                panel.set_xticks([])
            panel.set_xlabel(called)
            panel.grid(alpha=0.4)
        low, high = panels[0].get_ylim()
        panels[0].set_ylim(max(0.0, low), high if row.most is None else min(row.most, high))
    handles = [
        Line2D([], [], color=own.color, marker=own.marker, markersize=7, markerfacecolor="white",
               markeredgewidth=1.6, linestyle="", label=label)
        for label, own in looks.items()
    ]  # fmt: skip
    add_legend(figure, handles, 0.0)
    return figure
