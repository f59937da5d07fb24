"""Recall over the position error, with the published and the returned numbers as marks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from d2eval.inloc.report.arrange import Line, arrange
from d2eval.inloc.report.groups import (
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
from d2eval.inloc.report.published import POOLED_STRATEGY, UNVERIFIED, Kind
from d2eval.inloc.report.runs import Runs, load_errors
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
from d2eval.report.figures import write_figure
from d2eval.report.names import legend_entry
from d2eval.report.styles import Entry, Style, color_of, styles

LAST_M = 2.0  # where curves end
SAMPLE_TITLE = "Embedded sample (not InLoc): not comparable with published numbers"
STEMS = {INLOC: "recall", DEMO: "recall_demo", HLOC: "recall_hloc"}
# Strategy, and whether views verify the poses -> line style.
LINES = {
    ("direct", False): ":", ("direct", True): "-.",
    ("sparse", False): "-", ("sparse", True): "--",
    ("dense", False): "-", ("dense", True): "--",
    ("merge", True): "-.", ("merge", False): "-.",
    (POOLED_STRATEGY, False): "-", (POOLED_STRATEGY, True): "--",
}  # fmt: skip


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


def draw(made: Sequence[Panel], title: str | None = None) -> Figure:
    """Draws the panels side by side, and the legends below them."""
    runs = {line.run.label: line.run for panel in made for line in panel.lines if line.run}
    looks = styles([Entry(run.label, run.kind.method, _line_of(run.kind)) for run in runs.values()])
    panels = []
    for panel in made:
        limits = thresholds(panel.group.protocol)
        angle = f"{limits[-1].rotation_deg:g}\N{DEGREE SIGN}"
        xlabel = f"position error below [m], rotation error up to {angle}"
        shown = [shown for line in panel.lines for shown in _shown(line, panel, looks)]
        panels.append(RecallPanel(str(panel.group), xlabel, limits, "pre", False, shown))
    return draw_recall(panels, title)


def _line_of(kind: Kind) -> str:
    """How poses are found decides the line, the method the colour."""
    return LINES[kind.strategy, kind.verification != UNVERIFIED]


def _shown(line: Line, panel: Panel, looks: Mapping[str, Style]) -> Iterator[Shown]:
    """What of a line is drawn."""
    if line.published:
        kind = line.published.kind
        own = Style(color_of(kind.method), _line_of(kind), "")
        yield Shown(PUBLISHED, line.name, own, *marks(line.published.percent))
    if line.run and line.run.label in panel.curves:
        label = line.run.label
        yield Shown(MEASURED, legend_entry(line.run), looks[label], *panel.curves[label])
    if line.returned:
        method = line.run.kind.method if line.run else line.returned.method
        own = Style(color_of(method), "-", "")
        yield Shown(RETURNED, line.returned.label, own, *marks(line.returned.percent))
