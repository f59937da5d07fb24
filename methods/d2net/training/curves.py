"""The curves of a training: losses, accuracy of the matches, and how many there are."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from d2eval.foundation.files.atomic import write_bytes
from methods.d2net.training.validation import THRESHOLDS

Rows = Sequence[Mapping[str, Any]]
WINDOW = 50  # steps in the moving mean of their losses


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def _draw_losses(axes: Axes, steps: Rows, epochs: Rows) -> None:
    if len(steps) > 1:
        epoch, loss = _column(steps, "epoch").astype(int), _column(steps, "loss")
        # A step's place within its epoch, so that steps and epochs share an axis.
        position = np.arange(len(epoch)) - np.searchsorted(epoch, epoch)
        place = epoch - 1 + (position + 1) / np.bincount(epoch).max()
        window = min(WINDOW, len(loss))
        mean = np.convolve(loss, np.ones(window) / window, mode="valid")
        axes.plot(place[window - 1 :], mean, color="0.7", lw=1, label=f"mean of {window} steps")
    number = _column(epochs, "epoch")
    axes.plot(number, _column(epochs, "train_loss"), "o-", color="C0", ms=3, label="training")
    axes.plot(number, _column(epochs, "validation_loss"), "s-", color="C3", ms=3,
              label="validation")  # fmt: skip
    axes.set(title="Loss")
    axes.legend(frameon=False)


def _draw_accuracy(axes: Axes, epochs: Rows) -> None:
    number = _column(epochs, "epoch")
    for threshold in THRESHOLDS:
        share = _column(epochs, f"mma_{threshold}")
        (line,) = axes.plot(number, share, "o-", ms=3)
        axes.annotate(f"{threshold} px", (number[-1], share[-1]), xytext=(5, 0), va="center",
                      textcoords="offset points", color=line.get_color())  # fmt: skip
    axes.set(title="MMA on held-out photos", ylim=(0, 1))
    axes.margins(x=0.12)


def _draw_counts(axes: Axes, epochs: Rows) -> None:
    number = _column(epochs, "epoch")
    axes.plot(number, _column(epochs, "features"), "o-", ms=3, label="features of an image")
    axes.plot(number, _column(epochs, "matches"), "s-", ms=3, label="matches of a pair")
    axes.set(title="Features and matches on held-out photos")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower right")


def draw_curves(path: Path, steps: Rows, epochs: Rows) -> None:
    """Writes a PNG.

    Args:
        path: of the picture.
        steps: rows of steps.csv.
        epochs: rows of epochs.csv, at least one.

    Raises:
        D2EvalError: the picture can't be written.
    """
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracy, counts = figure.subplots(1, 3)
    _draw_losses(losses, steps, epochs)
    _draw_accuracy(accuracy, epochs)
    _draw_counts(counts, epochs)
    for axes in (losses, accuracy, counts):
        axes.set_xlabel("epoch (0: before training)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
