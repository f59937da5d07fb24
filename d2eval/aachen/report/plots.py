"""Recall over the position error, with the published and the returned numbers as marks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from d2eval.aachen.report.groups import PAPER, SAMPLE, Section, thresholds
from d2eval.aachen.report.queries import load_queries
from d2eval.aachen.report.runs import Runs
from d2eval.aachen.report.table import Line, arrange
from d2eval.localization.recall import (
    MEASURED,
    PUBLISHED,
    RETURNED,
    Curve,
    RecallPanel,
    Shown,
    draw_recall,
    marks,
)
from d2eval.metrics.poses import Threshold
from d2eval.report.figures import write_figure
from d2eval.report.names import legend_entry
from d2eval.report.styles import Entry, Style, color_of, line_of, styles

LAST_M = 10.0  # where curves end
XLABEL = "position error up to [m], rotation error up to the angle above"
SAMPLE_TITLE = "Embedded sample (not Aachen): not comparable with published numbers"


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


def draw(made: Sequence[Panel], title: str | None = None) -> Figure:
    """Draws the panels in rows, and the legends below them."""
    runs = {line.run.label: line.run for panel in made for line in panel.lines if line.run}
    looks = styles([Entry(run.label, run.named) for run in runs.values()])
    return draw_recall(
        [
            RecallPanel(
                panel.section.title, XLABEL,
                thresholds(panel.section.group.protocol, panel.section.group.epoch), "post", True,
                [shown for line in panel.lines for shown in _shown(line, panel, looks)],
            )
            for panel in made
        ],
        title,
    )  # fmt: skip


def _shown(line: Line, panel: Panel, looks: Mapping[str, Style]) -> Iterator[Shown]:
    """What of a line is drawn."""
    own = Style(color_of(line.method), line_of(line.method), "")
    if line.published:
        yield Shown(PUBLISHED, line.name, own, *marks(line.published.percent))
    if line.run and line.run.label in panel.curves:
        label = line.run.label
        yield Shown(MEASURED, legend_entry(line.run), looks[label], *panel.curves[label])
    if line.returned:
        yield Shown(RETURNED, line.returned.label, own, *marks(line.returned.percent))
