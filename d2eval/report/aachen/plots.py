"""Recall over the position error, with the published and the returned numbers as marks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.localization import Threshold
from d2eval.report.aachen.groups import PAPER, SAMPLE, Section, thresholds
from d2eval.report.aachen.published import load_paper
from d2eval.report.aachen.queries import load_queries
from d2eval.report.aachen.runs import Runs
from d2eval.report.aachen.table import Line, arrange
from d2eval.report.figures import COLORS, LINES, add_legend, new_figure, write_figure
from d2eval.report.run_folders import run_details

FIRST_M, LAST_M = 0.001, 10.0  # what the axis of distances shows
SAMPLE_TITLE = "Embedded sample (not Aachen): not comparable with published numbers"
PUBLISHED, RETURNED, MEASURED = "published", "returned by the site", "measured"
_MOST_COLUMNS, _PANEL_IN = 3, (5.6, 4.2)
_TICKS_M = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0)
Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Panel:
    """What stands in one panel.

    Attributes:
        section: whose numbers.
        lines: published and measured ones.
        curves: by the label of the run; a run without reference poses has none.
    """

    section: Section
    lines: Sequence[Line]
    curves: Mapping[str, Curve]


def plot_recall(
    runs: Runs, output: Path, *, published: bool = True, sample_only: bool = False
) -> tuple[list[Path], list[str]]:
    """Draws ``recall.png`` and ``.svg``, and ``recall_sample.*`` if there are sample runs.

    Runs on the embedded sample never share a figure with published numbers.

    Args:
        runs: what to draw.
        output: folder to write to.
        published: whether to draw published numbers.
        sample_only: draw the sample's figure only.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a run's file is missing or broken, or a file can't be written.
    """
    made, notes = panels(runs, published)
    sample = [panel for panel in made if panel.section.kind == SAMPLE]
    others = [panel for panel in made if panel.section.kind != SAMPLE]
    paths = []
    if others and not sample_only:
        paths += write_figure(draw(others), output, "recall")
    if sample:
        paths += write_figure(draw(sample, SAMPLE_TITLE), output, "recall_sample")
    return paths, notes


def panels(runs: Runs, published: bool = True) -> tuple[list[Panel], list[str]]:
    """The panels with something to draw, in the table's order, and notes on what is left out.

    Published numbers alone make a panel only if they are the paper's.
    """
    queries = {run.label: load_queries(run.folder) for run in runs.measured}
    made = []
    scored = set()
    for section, lines in arrange(runs).items():
        limits = thresholds(section.group.protocol, section.group.epoch)
        curves = {}
        for run in [line.run for line in lines if line.run]:
            errors = [q.error for q in queries[run.label] if q.split == section.group.split]
            if any(error is not None for error in errors):
                known = [error or (np.inf, np.inf) for error in errors]
                curves[run.label] = recall_curve(known, limits)
                scored.add(run.label)
        shown = [line for line in lines if _is_shown(line, curves, published)]
        own = any(line.run or line.returned for line in shown)
        if shown and (own or section == PAPER):
            made.append(Panel(section, shown, curves))
    notes = [
        f"{run.folder}: no reference poses, so no recall curve"
        for run in runs.measured
        if run.label not in scored
    ]
    return made, notes


def _is_shown(line: Line, curves: Mapping[str, Curve], published: bool) -> bool:
    measured = line.run is not None and line.run.label in curves
    return measured or line.returned is not None or (published and line.published is not None)


def recall_curve(
    errors: Sequence[tuple[float, float]], limits: Sequence[Threshold], last_m: float = LAST_M
) -> Curve:
    """Share of localized queries over the position threshold, as corners of a step function.

    A distance goes with the angle of the first protocol threshold that is not below it (beyond the
    last: with the last one's), so that the curve passes through the table's numbers.

    Args:
        errors: metres and degrees of each query; infinite where it was not registered.
        limits: the protocol's, from fine to coarse.
        last_m: where the curve ends.

    Returns:
        Metres, and recall in 0..1 from there to the next corner. Where the angle changes, a
        distance stands twice.
    """
    values = np.asarray(errors, np.float64).reshape(-1, 2)
    metres: list[float] = []
    recall: list[float] = []
    start = 0.0
    for index, limit in enumerate(limits):
        end = limit.position_m if index + 1 < len(limits) else max(last_m, limit.position_m)
        within = np.sort(values[values[:, 1] <= limit.rotation_deg, 0])
        corners = [start, *within[(within > start) & (within < end)], end]
        metres += [float(corner) for corner in corners]
        recall += [float(share) for share in np.searchsorted(within, corners, "right")]
        start = end
    return metres, [count / len(values) for count in recall]


@dataclass(frozen=True)
class Styles:
    """How the lines of a figure look, the same in each of its panels.

    Attributes:
        names: method -> how the legend calls it.
        colors: method -> colour.
        lines: label of a run -> line style.
    """

    names: Mapping[str, str]
    colors: Mapping[str, str]
    lines: Mapping[str, str]


def _styles(made: Sequence[Panel]) -> Styles:
    names = {row.method: row.label for row in load_paper()}
    lines = [line for panel in made for line in panel.lines]
    methods = [*names, *sorted({line.method for line in lines} - set(names))]
    labels: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.run and line.run.label not in labels[line.method]:
            labels[line.method].append(line.run.label)
    return Styles(
        {method: names.get(method, method) for method in methods},
        {method: COLORS[i % len(COLORS)] for i, method in enumerate(methods)},
        {label: LINES[i % len(LINES)] for own in labels.values() for i, label in enumerate(own)},
    )


def draw(made: Sequence[Panel], title: str | None = None) -> Figure:
    """Draws the panels in rows, and the legends below them."""
    columns = min(len(made), _MOST_COLUMNS)
    rows = -(-len(made) // columns)
    width, height = _PANEL_IN[0] * columns, _PANEL_IN[1] * rows
    figure = new_figure(width, height)
    styles = _styles(made)
    entries: dict[str, dict[str, Line2D]] = {PUBLISHED: {}, RETURNED: {}, MEASURED: {}}
    for index, panel in enumerate(made):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_frame(axes, panel.section)
        for line in panel.lines:
            for kind, metres, recall, style in _drawn(line, panel, styles):
                axes.plot(metres, recall, **style)
                entries[kind][style["label"]] = Line2D([], [], **style)
    figure.subplots_adjust(
        0.6 / width, 0.65 / height, 1 - 0.15 / width, 1 - (0.85 if title else 0.55) / height,
        wspace=0.2, hspace=0.45,
    )  # fmt: skip
    if title:
        figure.suptitle(title)
    top = 0.0
    for group in entries.values():
        if group:
            top = add_legend(figure, list(group.values()), top)
    return figure


def _draw_frame(axes: Axes, section: Section) -> None:
    """Axes, and the protocol's thresholds with the angle that goes with each distance."""
    start = FIRST_M
    limits = thresholds(section.group.protocol, section.group.epoch)
    for index, limit in enumerate(limits):
        axes.axvline(limit.position_m, color="grey", linestyle=":", linewidth=1)
        end = limit.position_m if index + 1 < len(limits) else LAST_M
        angle = f"{limit.rotation_deg:g}\N{DEGREE SIGN}"
        # In the middle of its stretch, on an axis of logarithms.
        axes.text((start * end) ** 0.5, 1.02, angle, ha="center", va="bottom", color="grey")
        start = end
    axes.set(
        xscale="log",
        xlim=(FIRST_M, LAST_M),
        ylim=(0, 1.015),  # a curve at 1 stays visible
        xlabel="position error up to [m], rotation error up to the angle above",
        ylabel="recall",
    )
    axes.set_title(section.title, fontsize=10, pad=20)
    axes.set_xticks(_TICKS_M, [f"{tick:g}" for tick in _TICKS_M])
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.4)


def _drawn(
    line: Line, panel: Panel, styles: Styles
) -> Iterator[tuple[str, Sequence[float], Sequence[float], dict[str, Any]]]:
    """What of a line is drawn: its kind, metres, recall, and arguments for matplotlib."""
    color = styles.colors[line.method]
    if line.published:
        name = styles.names[line.method] if panel.section == PAPER else line.name
        marks = {"marker": "_", "markersize": 13, "markeredgewidth": 2, "linestyle": ""}
        yield PUBLISHED, *_marks(line.published.percent), {
            "label": f"{name}, published", "color": color, "clip_on": False, **marks,
        }  # fmt: skip
    if line.run and line.run.label in panel.curves:
        yield (
            MEASURED,
            *panel.curves[line.run.label],
            {
                "label": f"{styles.names[line.method]}, measured ({run_details(line.run)})",
                "color": color,
                "drawstyle": "steps-post",
                "linestyle": styles.lines[line.run.label],
                "linewidth": 1.6,
            },
        )
    if line.returned:
        label = f"{styles.names[line.method]}, returned by the site ({line.returned.label})"
        marks = {"marker": "*", "markersize": 11, "markeredgecolor": "white", "linestyle": ""}
        yield RETURNED, *_marks(line.returned.percent), {
            "label": label, "color": color, "clip_on": False, "zorder": 3, **marks,
        }  # fmt: skip


def _marks(percent: Mapping[Threshold, float]) -> tuple[list[float], list[float]]:
    return [limit.position_m for limit in percent], [value / 100 for value in percent.values()]
