"""A picture of an image's keypoints, and of the map of scores that they were found on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from d2eval.contracts.features import Features
from d2eval.contracts.method import ScoreMap
from d2eval.foundation.images.decoding import RgbImage
from d2eval.report.figures import new_figure

WIDTH_IN, TALLEST_IN = 7.0, 7.5  # of a panel
LEFT_IN, BOTTOM_IN, HEAD_IN = 0.1, 0.1, 0.66
BAR_GAP_IN, BAR_IN, AFTER_BAR_IN = 0.08, 0.12, 0.75
MEDIAN_RADIUS = 1 / 130  # of the drawn keypoints, as a share of the image's longer side
DOT_PT = 4.0  # of a keypoint without a scale
LINE_PT, HALO_PT = 0.9, 2.0  # of a circle, and of the dark one below it
PERCENTILES = (1, 99)  # of scores, where the colours end
COLORS = ListedColormap(colormaps["plasma"](np.linspace(0.35, 1, 256)))  # not the darkest
MAP_COLORS = "inferno"


@dataclass(frozen=True)
class Panel:
    """One picture of the figure: what it draws gives the colours for the bar beside it."""

    draw: Callable[[Axes], ScalarMappable]
    title: str
    bar: str


def draw(
    image: RgbImage, features: Features, top_k: int | None, scores: ScoreMap | None, title: str
) -> Figure:
    """The keypoints on the image, and the map of scores beside them, if there is one.

    ``top_k`` keypoints are drawn, the best by score; None for all.
    """
    shown = features.top_k(top_k)
    size = (image.shape[1], image.shape[0])
    radius = _radius_of_one(shown, max(size))
    caption = f"{len(shown):,} best of " if len(shown) < len(features) else ""
    caption += f"{len(features):,} keypoints"
    if radius is not None:
        caption += f", radius {radius:g} px x scale"
    panels = [Panel(lambda axes: _draw_keypoints(axes, image, shown, radius), caption, "score")]
    if scores is not None:
        found = scores
        panels.append(Panel(lambda axes: _draw_map(axes, found), found.name, "score / mean score"))
    return _arrange(panels, size, title)


def _radius_of_one(features: Features, longer: int) -> float | None:
    """Pixels of a keypoint of scale 1: scales mean something else in each method.

    A number of one digit, with which the median keypoint is neither a dot nor hides the image.
    """
    if features.scales is None or not len(features):
        return None
    return float(f"{longer * MEDIAN_RADIUS / float(np.median(features.scales)):.0e}")


def _arrange(panels: list[Panel], size: tuple[int, int], title: str) -> Figure:
    """Panels with the shape of an image of (width, height) ``size`` side by side."""
    wide = min(WIDTH_IN, TALLEST_IN * size[0] / size[1])
    tall = wide * size[1] / size[0]
    step = wide + BAR_GAP_IN + BAR_IN + AFTER_BAR_IN
    total = LEFT_IN + len(panels) * step, BOTTOM_IN + tall + HEAD_IN
    figure = new_figure(*total)
    figure.suptitle(
        title, x=LEFT_IN / total[0], y=1 - 0.08 / total[1], ha="left", va="top", fontsize=11,
        parse_math=False,
    )  # fmt: skip

    def axes_at(x: float, width: float) -> Axes:
        box = (x / total[0], BOTTOM_IN / total[1], width / total[0], tall / total[1])
        return figure.add_axes(box)

    for index, panel in enumerate(panels):
        x = LEFT_IN + index * step
        axes, bar = axes_at(x, wide), axes_at(x + wide + BAR_GAP_IN, BAR_IN)
        colors = panel.draw(axes)
        axes.set(xlim=(-0.5, size[0] - 0.5), ylim=(size[1] - 0.5, -0.5), xticks=[], yticks=[])
        axes.set_title(panel.title, fontsize=10, loc="left", parse_math=False)
        figure.colorbar(colors, cax=bar, extend="both")
        bar.set_ylabel(panel.bar, fontsize=9)
        bar.tick_params(labelsize=8)
    return figure


def _limits(values: npt.NDArray[np.float32]) -> Normalize:
    """Where colours end, so that a few extreme scores don't leave one colour for the rest."""
    if not len(values):
        return Normalize(0, 1)
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    return Normalize(low, high if high > low else low + 1)


def _draw_keypoints(
    axes: Axes, image: RgbImage, features: Features, radius: float | None
) -> ScalarMappable:
    """Circles, the best on top; a line from the centre is the orientation."""
    axes.imshow(image)
    order = np.argsort(features.scores, kind="stable")
    points, scores = features.keypoints[order], features.scores[order]
    colors = ScalarMappable(_limits(scores), COLORS)
    rgba = colors.to_rgba(scores)
    if features.scales is None or radius is None:
        axes.scatter(points[:, 0], points[:, 1], DOT_PT**2, rgba, lw=0.5, edgecolors="black")
        return colors
    radii = radius * features.scales[order]
    ends = points
    if features.orientations is not None:
        angles = features.orientations[order]
        ends = points + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for line, color in ((HALO_PT, "#00000080"), (LINE_PT, rgba)):
        axes.add_collection(
            EllipseCollection(
                2 * radii, 2 * radii, np.zeros(len(radii)), units="xy", offsets=points,
                offset_transform=axes.transData, facecolors="none", edgecolors=color, lw=line,
            )
        )  # fmt: skip
        if features.orientations is not None:
            lines = np.stack([points, ends], axis=1)
            axes.add_collection(LineCollection(list(lines), colors=color, lw=line))
    return colors


def _draw_map(axes: Axes, scores: ScoreMap) -> ScalarMappable:
    """Each cell over the pixels around its centre; black where the image has no cell."""
    rows, columns = scores.values.shape
    relative = scores.values / (float(scores.values.mean()) or 1.0)
    left, top = (start - step / 2 for start, step in zip(scores.origin, scores.step, strict=True))
    extent = (left, left + columns * scores.step[0], top + rows * scores.step[1], top)
    axes.set_facecolor("black")
    return axes.imshow(
        relative, extent=extent, norm=_limits(relative), cmap=MAP_COLORS, interpolation="nearest"
    )
