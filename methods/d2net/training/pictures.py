"""Pictures of what is learned from: a pair, where it corresponds, and its score maps."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

from d2eval.foundation.files.atomic import write_bytes
from methods.d2net.training.data.pairs import TrainingPair, cell_centers

DRAWN = 24  # correspondences, spread over the pair's


def draw_pair(path: Path, pair: TrainingPair, scores_1: np.ndarray, scores_2: np.ndarray) -> None:
    """Writes a PNG: both crops with some correspondences, and below them their score maps.

    Args:
        path: of the picture.
        pair: the crops.
        scores_1: (h, w) soft detection scores of image 1.
        scores_2: of image 2.

    Raises:
        D2EvalError: the picture can't be written.
    """
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    figure.suptitle(pair.name, fontsize=10)
    images = (pair.image_1, pair.image_2)
    for column, (image, scores) in enumerate(zip(images, (scores_1, scores_2), strict=True)):
        height, width = image.shape[:2]
        panels[0, column].imshow(image)
        # The map's cells cover the image's pixels, whose centres are whole numbers.
        panels[1, column].imshow(
            scores, cmap="inferno", extent=(-0.5, width - 0.5, height - 0.5, -0.5)
        )
        panels[1, column].set_title(f"soft detection, largest {scores.max():.4f}", fontsize=9)
        for axes in panels[:, column]:
            axes.set_axis_off()
    count = len(pair.cells_1)
    panels[0, 0].set_title(f"{count} correspondences, {min(count, DRAWN)} drawn", fontsize=9)
    chosen = np.unique(np.linspace(0, count - 1, DRAWN).astype(int))
    colors = mpl.colormaps["hsv"](np.linspace(0, 0.95, len(chosen)))
    points_1, points_2 = cell_centers(pair.cells_1), cell_centers(pair.cells_2)
    for color, index in zip(colors, chosen, strict=True):
        for axes, point in ((panels[0, 0], points_1[index]), (panels[0, 1], points_2[index])):
            axes.plot(*point, "o", ms=5, mfc=color, mec="white", mew=0.7)
        figure.add_artist(
            ConnectionPatch(
                points_1[index], points_2[index], "data", "data",
                axesA=panels[0, 0], axesB=panels[0, 1], color=color, lw=0.8, alpha=0.7,
            )
        )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_bytes(path, buffer.getvalue())
