"""Pictures of matches: two images beside each other, each match in the colour of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.foundation.images.decoding import RgbImage
from d2eval.report.figures import new_figure

# From right to wrong, blue to red by way of yellow: apart for colour-blind readers, too
COLORS = ("#1F6FEB", "#7CCBF7", "#FFE23D", "#FB8B32", "#D21F2B")
UNMEASURED = "#FFE23D"  # of matches that nothing is known of
_WIDTH_IN = 10.0
_GAP = 0.02  # between the images, as a share of their height
_HEAD_IN, _TITLE_IN, _LEGEND_IN = 0.3, 0.4, 0.34
_LINE_PT, _DOT_PT = 0.9, 2.2
_OPAQUE_LINES, _LEAST_OPACITY = 100, 0.65  # more lines let the images shine through
_FADED = 0.35  # how far images are towards white, without colours of their own


@dataclass(frozen=True)
class MatchKind:
    """A kind of matches."""

    name: str  # in the legend
    color: str  # of lines and dots


@dataclass(frozen=True)
class MatchedImages:
    """Two images and the matches between them."""

    title: str
    left: RgbImage
    right: RgbImage
    # (M, 2) pixels, origin at the centre of the top-left pixel
    points_left: npt.NDArray[np.floating]
    points_right: npt.NDArray[np.floating]  # (M, 2) likewise
    kind: npt.NDArray[np.integer]  # (M,) index into ``kinds`` of each
    kinds: Sequence[MatchKind]  # the first ones are drawn over the others


def kinds_by_error(
    errors: npt.NDArray[np.floating], bins: Sequence[float], unit: str = "px"
) -> tuple[npt.NDArray[np.int64], list[MatchKind]]:
    """The kind of each match, and the kinds from the smallest errors on.

    Args:
        errors: (M,), infinite or NaN where a match can't be right.
        bins: rising upper ends of all kinds but the last.
        unit: of the errors.
    """
    colors = LinearSegmentedColormap.from_list("errors", COLORS)(np.linspace(0, 1, len(bins) + 1))
    unit = f" {unit}" if unit else ""
    names = [
        f"\N{LESS-THAN OR EQUAL TO} {bins[0]:g}{unit}",
        *(f"{low:g} to {high:g}{unit}" for low, high in pairwise(bins)),
        f"> {bins[-1]:g}{unit}",
    ]
    kinds = [MatchKind(name, to_hex(color)) for name, color in zip(names, colors, strict=True)]
    return np.searchsorted(bins, errors, "left"), kinds


def draw_matches(rows: Sequence[MatchedImages], heading: str, most_lines: int) -> Figure:
    """A row for each two images, the right one as high as the left one, with a legend below.

    Every match has a dot in both images, and ``most_lines`` of a row a line: as many of each kind
    as it has a share of all.
    """
    widths = [_aspect(row.left) + _GAP + _aspect(row.right) for row in rows]
    heights = [_WIDTH_IN / width for width in widths]
    total = _HEAD_IN + sum(_TITLE_IN + height + _LEGEND_IN for height in heights)
    figure = new_figure(_WIDTH_IN, total)
    figure.suptitle(
        heading, x=0, y=1 - 0.04 / total, ha="left", va="top", fontsize=12, parse_math=False
    )
    top = total - _HEAD_IN
    for row, width, height in zip(rows, widths, heights, strict=True):
        top -= _TITLE_IN + height
        axes = figure.add_axes((0, top / total, 1, height / total))
        _draw_row(axes, row, most_lines)
        axes.set(xlim=(0, width), ylim=(1, 0))
        axes.set_axis_off()
        top -= _LEGEND_IN
    return figure


def _aspect(image: RgbImage) -> float:
    return image.shape[1] / image.shape[0]


def _placed(points: npt.NDArray[np.floating], image: RgbImage, x: float) -> npt.NDArray[np.float64]:
    """Pixels as places in axes where each image is 1 high, and begins at ``x``."""
    return (np.asarray(points, np.float64) + 0.5) / image.shape[0] + np.array([x, 0.0])


def chosen_lines(kind: npt.NDArray[np.integer], most: int) -> npt.NDArray[np.intp]:
    """Which matches have a line: all, or ``most`` at equal steps through them, kind by kind."""
    order = np.argsort(kind, kind="stable")
    if len(order) <= most:
        return order
    return order[np.linspace(0, len(order) - 1, most).round().astype(int)]


def _draw_row(axes: Axes, row: MatchedImages, most_lines: int) -> None:
    start = _aspect(row.left) + _GAP
    for image, x in ((row.left, 0.0), (row.right, start)):
        grey = image.mean(axis=2)
        axes.imshow(
            grey + _FADED * (255 - grey), cmap="gray", vmin=0, vmax=255,
            extent=(x, x + _aspect(image), 1, 0), aspect="auto",
        )  # fmt: skip
    ends = np.stack(
        [_placed(row.points_left, row.left, 0.0), _placed(row.points_right, row.right, start)],
        axis=1,
    )
    shown = chosen_lines(row.kind, most_lines)
    opacity = max(min(_OPAQUE_LINES / max(len(shown), 1), 1.0), _LEAST_OPACITY)
    handles = []
    for index in reversed(range(len(row.kinds))):
        kind, order = row.kinds[index], 2 + len(row.kinds) - index
        own = ends[row.kind == index]
        lines = list(ends[shown[row.kind[shown] == index]])
        axes.add_collection(
            LineCollection(
                lines, colors=kind.color, linewidths=_LINE_PT, alpha=opacity, zorder=order
            )
        )
        dots = own.reshape(-1, 2)
        axes.scatter(
            dots[:, 0], dots[:, 1], s=_DOT_PT**2, c=kind.color, edgecolors="black",
            linewidths=0.2, zorder=order,
        )  # fmt: skip
        handles.append(Line2D([], [], color=kind.color, lw=3, label=f"{kind.name}: {len(own):,}"))
    title = row.title
    if len(shown) < len(row.kind):
        title += f" ({len(shown):,} of the matches have a line)"
    axes.set_title(title, fontsize=9, loc="left", pad=3, parse_math=False)
    axes.legend(
        handles=handles[::-1], loc="upper left", bbox_to_anchor=(0, 0), ncols=len(handles),
        fontsize=9, frameon=False, borderaxespad=0.2, handlelength=1.5,
    )  # fmt: skip
