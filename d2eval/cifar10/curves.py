"""Losses and accuracies over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from d2eval.cifar10.runs import WHICH, Cifar10Run, load_published, words
from d2eval.foundation.errors import D2EvalError
from d2eval.report.figures import MEASURED, PUBLISHED, Choice, add_legend, new_figure, write_figure
from d2eval.runs.published import presentation

LINES: Mapping[str, Any] = {"train": "--", "test": "-"}
MARKS = "x+1234"  # of published numbers


def plot(runs: Sequence[Cifar10Run], output: Path, choice: Choice) -> list[Path]:
    """Draws ``cifar10.*``, and ``cifar10_sample.*`` if there are runs on the sample.

    Raises:
        D2EvalError: there is nothing to draw.
    """
    paths: list[Path] = []
    for stem, is_sample in (("cifar10", False), ("cifar10_sample", True)):
        own = [
            run for run in runs
            if run.is_sample == is_sample and choice.run in (None, run.label)
        ]  # fmt: skip
        if own and (is_sample or not choice.sample_only):
            figure = _draw(own, published=choice.published and not is_sample)
            if is_sample:
                figure.suptitle("Embedded sample (not CIFAR-10)")
            paths += write_figure(figure, output, stem)
    if not paths:
        raise D2EvalError("nothing to draw: no such run is there; run `d2eval cifar10` first")
    return paths


def _draw(runs: Sequence[Cifar10Run], published: bool) -> Figure:
    figure = new_figure(9.5, 3.8)
    losses, accuracies = figure.subplots(1, 2)
    figure.subplots_adjust(0.07, 0.14, 0.99, 0.87, wspace=0.2)
    colors = presentation("cifar10")["figure"]["colors"]
    handles: list[Line2D] = []
    for run in runs:
        for row in run.rows:
            color = colors[len(handles) % len(colors)]
            for part, line in LINES.items():
                style = {"color": color, "linestyle": line, "marker": "o", "markersize": 3}
                losses.plot(*_means(run, row, f"{part}_loss"), **style)
                accuracies.plot(*_means(run, row, f"{part}_accuracy", 100), **style)
            name = words(row) if len(runs) == 1 else f"{run.label}: {words(row)}"
            handles.append(Line2D([], [], color=color, label=name))
    top = add_legend(figure, handles, 0.0, MEASURED)
    kinds = [Line2D([], [], color="0.3", linestyle=s, label=part) for part, s in LINES.items()]
    top = add_legend(figure, kinds, top)
    if published:
        marks = []
        for said, mark in zip(load_published("rows"), MARKS, strict=False):
            point = [said.configuration.epochs], [said.values["test_accuracy"]]
            look: dict[str, Any] = {"color": "k", "linestyle": "", "marker": mark, "markersize": 9}
            accuracies.plot(*point, **look)
            marks.append(Line2D([], [], label=words(said.named), **look))
        add_legend(figure, marks, top, f"test accuracy, {PUBLISHED}")
    losses.set(title="Loss", ylim=(0, None))
    accuracies.set(title="Accuracy, %", ylim=(0, 100))
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.4)
    return figure


def _means(
    run: Cifar10Run, row: Mapping[str, Any], name: str, factor: float = 1.0
) -> tuple[list[int], list[float]]:
    """Epochs of a configuration, and the mean of a column over its seeds in each."""
    values: dict[int, list[float]] = {}
    for epoch in run.epochs:
        if all(epoch[column.name] == row[column.name] for column in WHICH):
            values.setdefault(int(epoch["epoch"]), []).append(factor * epoch[name])
    return list(values), [fmean(own) for own in values.values()]
