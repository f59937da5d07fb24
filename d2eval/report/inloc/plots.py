"""Recall over the position error, with the published and the returned numbers as marks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.localization import Threshold
from d2eval.report.figures import COLORS, LINES, add_legend, new_figure, write_figure
from d2eval.report.inloc.arrange import Line, arrange
from d2eval.report.inloc.groups import (
    DEMO,
    FINER,
    FLOORS,
    HLOC,
    INLOC,
    POOLED,
    SAMPLE,
    Group,
    thresholds,
)
from d2eval.report.inloc.published import load_paper
from d2eval.report.inloc.runs import Runs, load_errors
from d2eval.report.run_folders import run_details

LAST_M = 2.0  # what the axis of distances shows
SAMPLE_TITLE = "Embedded sample (not InLoc): not comparable with published numbers"
STEMS = {INLOC: "recall", DEMO: "recall_demo", HLOC: "recall_hloc"}
PUBLISHED, RETURNED, MEASURED = "published", "returned by the site", "measured"
_PANEL_IN = (5.6, 4.2)
Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Panel:
    """What stands in one panel.

    Attributes:
        group: the protocol and floor.
        lines: published and measured ones.
        curves: by the label of the run; a run without reference poses has none.
    """

    group: Group
    lines: Sequence[Line]
    curves: Mapping[str, Curve]


def plot_recall(
    runs: Runs, output: Path, *, published: bool = True, sample_only: bool = False
) -> tuple[list[Path], list[str]]:
    """Draws ``recall.*``; ``recall_demo.*``, ``recall_hloc.*`` and samples' of such runs.

    Protocols never share a figure, nor does the embedded sample with anything.

    Args:
        runs: what to draw.
        output: folder to write to.
        published: whether to draw published numbers.
        sample_only: draw the sample's figures only.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a run's file is missing or broken, or a file can't be written.
    """
    made = panels(runs, published)
    paths = []
    for (protocol, sample), own in made.items():
        stem = STEMS[protocol] + ("_sample" if sample else "")
        if sample or not sample_only:
            paths += write_figure(draw(own, SAMPLE_TITLE if sample else None), output, stem)
    scored = {label for own in made.values() for panel in own for label in panel.curves}
    notes = [
        f"{run.folder}: no reference poses, so no recall curve"
        for run in runs.measured
        if run.label not in scored
    ]
    return paths, notes


def panels(runs: Runs, published: bool = True) -> dict[tuple[str, bool], list[Panel]]:
    """The panels of each figure, by protocol and whether it is the embedded sample's.

    Published numbers alone make a figure only if they are the paper's.
    """
    errors = {run.label: load_errors(run.folder) for run in runs.measured}
    lines: dict[tuple[Group, bool], list[Line]] = defaultdict(list)
    for section, own in arrange(runs).items():
        if section.kind != FINER:
            lines[section.group, section.kind == SAMPLE] += own
    made: dict[tuple[str, bool], list[Panel]] = {}
    for (group, sample), own in lines.items():
        curves = {}
        for run in [line.run for line in own if line.run]:
            floors = FLOORS if group.floor == POOLED else (group.floor,)
            known = [error for floor in floors for error in errors[run.label].get(floor, [])]
            if known:
                curves[run.label] = recall_curve(known, group.protocol)
        shown = [line for line in own if _is_shown(line, curves, published)]
        measured = any(line.run or line.returned for line in shown)
        if shown and (measured or group == Group(INLOC, POOLED)):
            made.setdefault((group.protocol, sample), []).append(Panel(group, shown, curves))
    return made


def _is_shown(line: Line, curves: Mapping[str, Curve], published: bool) -> bool:
    measured = line.run is not None and line.run.label in curves
    return measured or line.returned is not None or (published and line.published is not None)


def recall_curve(errors: Sequence[tuple[float, float]], protocol: str = INLOC) -> Curve:
    """Share of localized queries over the position threshold, as corners of a step function.

    The angle is the protocol's, one for all thresholds. A query counts where its error is smaller
    than the threshold.

    Args:
        errors: metres and degrees of each query; infinite where there is no pose.
        protocol: stem of the benchmark file.

    Returns:
        Metres, and recall in 0..1 from the corner before (which it isn't) to there (which it is).
    """
    angle = thresholds(protocol)[-1].rotation_deg
    within = sorted(metres for metres, degrees in errors if degrees <= angle)
    corners = [0.0, *(metres for metres in within if 0 < metres < LAST_M), LAST_M]
    metres = sorted(set(corners))
    return metres, [sum(own < limit for own in within) / len(errors) for limit in metres]


@dataclass(frozen=True)
class Styles:
    """How the lines of a figure look, the same in each of its panels.

    Attributes:
        colors: name of a row -> colour.
        lines: label of a run -> line style.
    """

    colors: Mapping[str, str]
    lines: Mapping[str, str]


def _styles(made: Sequence[Panel]) -> Styles:
    lines = [line for panel in made for line in panel.lines]
    drawn = {line.name for line in lines}
    paper = [row.label for row in load_paper() if row.label in drawn]
    names = [*paper, *sorted(drawn - set(paper))]
    labels: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.run and line.run.label not in labels[line.name]:
            labels[line.name].append(line.run.label)
    # Colours come again after the last one, with the next line style.
    return Styles(
        {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)},
        {
            label: LINES[(names.index(name) // len(COLORS) + i) % len(LINES)]
            for name, own in labels.items()
            for i, label in enumerate(own)
        },
    )


def draw(made: Sequence[Panel], title: str | None = None) -> Figure:
    """Draws the panels side by side, and the legends below them."""
    width, height = _PANEL_IN[0] * len(made), _PANEL_IN[1]
    figure = new_figure(width, height)
    styles = _styles(made)
    entries: dict[str, dict[str, Line2D]] = {PUBLISHED: {}, RETURNED: {}, MEASURED: {}}
    for index, panel in enumerate(made):
        axes = figure.add_subplot(1, len(made), index + 1)
        _draw_frame(axes, panel.group)
        for line in panel.lines:
            for kind, metres, recall, style in _drawn(line, panel, styles):
                axes.plot(metres, recall, **style)
                entries[kind][style["label"]] = Line2D([], [], **style)
    figure.subplots_adjust(
        0.6 / width, 0.65 / height, 1 - 0.15 / width, 1 - (0.75 if title else 0.4) / height,
        wspace=0.2,
    )  # fmt: skip
    if title:
        figure.suptitle(title)
    top = 0.0
    for group in entries.values():
        if group:
            top = add_legend(figure, list(group.values()), top)
    return figure


def _draw_frame(axes: Axes, group: Group) -> None:
    limits = thresholds(group.protocol)
    for limit in limits:
        axes.axvline(limit.position_m, color="grey", linestyle=":", linewidth=1)
    axes.set(
        xlim=(0, LAST_M),
        ylim=(0, 1.015),  # a curve at 1 stays visible
        xlabel="position error below [m], "
        f"rotation error up to {limits[-1].rotation_deg:g}\N{DEGREE SIGN}",
        ylabel="recall",
    )
    axes.set_title(str(group), fontsize=10)
    axes.grid(axis="y", alpha=0.4)


def _drawn(
    line: Line, panel: Panel, styles: Styles
) -> Iterator[tuple[str, Sequence[float], Sequence[float], dict[str, Any]]]:
    """What of a line is drawn: its kind, metres, recall, and arguments for matplotlib."""
    color = styles.colors[line.name]
    if line.published:
        marks = {"marker": "_", "markersize": 13, "markeredgewidth": 2, "linestyle": ""}
        yield PUBLISHED, *_marks(line.published.percent), {
            "label": f"{line.name}, published", "color": color, **marks,
        }  # fmt: skip
    if line.run and line.run.label in panel.curves:
        yield (
            MEASURED,
            *panel.curves[line.run.label],
            {
                "label": f"{line.name}, measured ({run_details(line.run)})",
                "color": color,
                "drawstyle": "steps-pre",
                "linestyle": styles.lines[line.run.label],
                "linewidth": 1.6,
            },
        )
    if line.returned:
        label = f"{line.name}, returned by the site ({line.returned.label})"
        marks = {"marker": "*", "markersize": 11, "markeredgecolor": "white", "linestyle": ""}
        yield RETURNED, *_marks(line.returned.percent), {
            "label": label, "color": color, "clip_on": False, "zorder": 3, **marks,
        }  # fmt: skip


def _marks(percent: Mapping[Threshold, float]) -> tuple[list[float], list[float]]:
    return [limit.position_m for limit in percent], [value / 100 for value in percent.values()]
