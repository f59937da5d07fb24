"""Recall over the position error of runs, with published and returned numbers as marks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from d2eval.localization import recall
from d2eval.localization.description import CurveRule, Report
from d2eval.localization.groups import Line, Section
from d2eval.localization.recall import Curve, RecallPanel, Shown, draw_recall
from d2eval.localization.runs import Runs
from d2eval.localization.table import arrange
from d2eval.metrics.poses import Threshold
from d2eval.report.figures import write_figure
from d2eval.report.names import legend_entry
from d2eval.report.styles import Entry, Style, color_of, line_of, styles
from d2eval.runs.results import Numbers

_ANGLES = "position error up to [m], rotation error up to the angle above"


@dataclass(frozen=True)
class Panel:
    """What stands in one panel."""

    section: Section  # the first of those whose numbers it shows
    lines: Sequence[Line]  # published and measured ones
    curves: Mapping[str, Curve]  # by the label of the run; a run without reference poses has none


def plot_recall(
    report: Report[Any],
    runs: Runs,
    output: Path,
    *,
    published: bool = True,
    sample_only: bool = False,
) -> tuple[list[Path], list[str]]:
    """Draws the figures that the sections name, and ``*_sample.*`` if there are sample runs.

    Runs on the embedded sample never share a figure with published numbers.

    Returns:
        The files written, and notes for the user on what was left out.

    Raises:
        D2EvalError: a run's file is missing or broken, or a file can't be written.
    """
    made = panels(report, runs, published)
    paths = []
    for stem, own in made.items():
        sample = stem.endswith("_sample")
        if sample or not sample_only:
            figure = draw(report, own, report.words.sample if sample else None)
            paths += write_figure(figure, output, stem)
    scored = {label for own in made.values() for panel in own for label in panel.curves}
    notes = [
        f"{run.folder}: no reference poses, so no recall curve"
        for run in runs.measured
        if run.label not in scored
    ]
    return paths, notes


def panels(report: Report[Any], runs: Runs, published: bool = True) -> dict[str, list[Panel]]:
    """The panels of each figure, by its stem, in the table's order.

    Published numbers alone make a panel only if they are the paper's.
    """
    errors = {run.label: run.errors for run in runs.measured}
    sections: dict[tuple[str, str], list[tuple[Section, list[Line]]]] = defaultdict(list)
    for section, lines in arrange(report, runs).items():
        if section.figure:
            sections[section.figure, section.panel].append((section, lines))
    made: dict[str, list[Panel]] = {}
    for (figure, _), parts in sections.items():
        first, lines = parts[0][0], [line for _, own in parts for line in own]
        curves = {}
        for run in [line.run for line in lines if line.run]:
            wanted = first.group.query_parts(True)
            known = [error for part in wanted for error in errors[run.label].get(part, {}).values()]
            if known:
                curves[run.label] = recall_curve(known, first.group.thresholds, report.rule)
        shown = [line for line in lines if _is_shown(line, curves, published)]
        own = any(line.run or line.returned for line in shown)
        if shown and (own or first.is_paper):
            made.setdefault(figure, []).append(Panel(first, shown, curves))
    return made


def _is_shown(line: Line, curves: Mapping[str, Curve], published: bool) -> bool:
    measured = line.run is not None and line.run.label in curves
    return measured or line.returned is not None or (published and line.published is not None)


def recall_curve(
    errors: Sequence[tuple[float, float]], limits: Sequence[Threshold], rule: CurveRule
) -> Curve:
    """Share of localized queries over the position threshold, as corners of a step function.

    The curve passes through the table's numbers: a distance goes with the angle of the first
    protocol threshold that is not below it (beyond the last: with the last one's), or with the one
    angle of all. Errors are metres and degrees of each query, infinite where there is no pose; the
    protocol's limits go from fine to coarse.

    Returns:
        Metres, and recall in 0..1: from there to the next corner, or, where the rule is strict,
        from the corner before (which it isn't) to there (which it is). Where the angle changes, a
        distance stands twice.
    """
    values = np.asarray(errors, np.float64).reshape(-1, 2)
    last = limits[-1]
    stretches = [] if rule.one_angle else list(limits[:-1])
    end = rule.last_m if rule.one_angle else max(rule.last_m, last.position_m)
    stretches.append(Threshold(end, last.rotation_deg))
    metres: list[float] = []
    counts: list[int] = []
    start = 0.0
    for limit in stretches:
        within = np.sort(values[values[:, 1] <= limit.rotation_deg, 0])
        between = np.unique(within[(within > start) & (within < limit.position_m)])
        corners = [start, *between.tolist(), limit.position_m]
        metres += corners
        counts += np.searchsorted(within, corners, "left" if rule.strict else "right").tolist()
        start = limit.position_m
    return metres, [count / len(values) for count in counts]


def draw(report: Report[Any], made: Sequence[Panel], title: str | None = None) -> Figure:
    """Draws the panels in rows, and the legends below them."""
    runs = {line.run.label: line.run for panel in made for line in panel.lines if line.run}
    looks = styles(
        [Entry(run.label, run.kind.method, report.line_of(run.kind)) for run in runs.values()]
    )
    drawn = []
    for panel in made:
        limits, xlabel = panel.section.group.thresholds, _ANGLES
        if report.rule.one_angle:
            angle = f"{limits[-1].rotation_deg:g}\N{DEGREE SIGN}"
            xlabel = f"position error below [m], rotation error up to {angle}"
        shown = [shown for line in panel.lines for shown in _shown(report, line, panel, looks)]
        steps = "pre" if report.rule.strict else "post"
        drawn.append(
            RecallPanel(
                panel.section.panel, xlabel, limits, steps, not report.rule.one_angle, shown
            )
        )
    return draw_recall(drawn, title)


def _shown(
    report: Report[Any], line: Line, panel: Panel, looks: Mapping[str, Style]
) -> Iterator[Shown]:
    """What of a line is drawn."""
    method = line.kind.named
    own = Style(color_of(method), report.line_of(line.kind) or line_of(method), "")
    if line.published:
        yield Shown(recall.PUBLISHED, line.name, own, *_marks(line.published))
    if line.run and line.run.label in panel.curves:
        label = line.run.label
        legend = legend_entry(line.run) + report.addition(line.run)
        yield Shown(recall.MEASURED, legend, looks[label], *panel.curves[label])
    if line.returned:
        yield Shown(recall.RETURNED, line.returned.run, own, *_marks(line.returned))


def _marks(numbers: Numbers) -> Curve:
    """Metres and recall of the localized queries."""
    curve = numbers.curve("localized")
    return list(curve), [value / 100 for value in curve.values()]
