"""A figure that is drawn in inches, and what drawings of architectures are made of.

Everything is placed in inches on one canvas, so that what is drawn and what is written fit together
whatever their sizes are.
"""

import functools
from collections.abc import Sequence

from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.textpath import TextPath

from d2eval.report.figures import new_figure

FONT_PT, SMALL_PT, HEAD_PT = 8.5, 8.0, 10.0
LINE_IN = 0.155  # between lines of text
EDGE = "#333333"
TIMES = "\N{MULTIPLICATION SIGN}"


def by(*numbers: int) -> str:
    """Numbers with multiplication signs between them."""
    return TIMES.join(map(str, numbers))


@functools.cache  # a drawing asks for the same widths many times, and each takes 40 ms
def text_width(text: str, points: float, bold: bool = False) -> float:
    """Inches that a line of text takes."""
    if not text.strip():
        return 0.0
    font = FontProperties(weight="bold" if bold else "normal")
    return (
        float(TextPath((0, 0), text.replace("$", r"\$"), points, prop=font).get_extents().x1) / 72
    )


class Canvas:
    """A figure whose coordinates are inches, from its lower left corner."""

    def __init__(self, width: float, height: float) -> None:
        """An empty one."""
        self.figure = new_figure(width, height)
        self._axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self._axes.set_axis_off()

    def text(
        self, x: float, y: float, text: str, points: float = FONT_PT, align: str = "left",
        bold: bool = False, rotation: float = 0,
    ) -> None:  # fmt: skip
        """Writes one line, its middle at the height ``y``."""
        self._axes.text(
            x, y, text, fontsize=points, ha=align, va="center", rotation=rotation,
            fontweight="bold" if bold else "normal", parse_math=False,
        )  # fmt: skip

    def polygon(self, corners: Sequence[tuple[float, float]], color: str, shade: float = 0) -> None:
        """Fills a polygon, darker by ``shade``."""
        red, green, blue = (int(color[i : i + 2], 16) / 255 * (1 - shade) for i in (1, 3, 5))
        self._axes.add_patch(
            Polygon(corners, facecolor=(red, green, blue), edgecolor=EDGE, linewidth=0.5)
        )

    def rectangle(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Fills a rectangle."""
        self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color)

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Fills a rectangle with round corners."""
        style = "round,pad=0,rounding_size=0.05"
        self._axes.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle=style, facecolor=color, edgecolor=EDGE,
                linewidth=0.6, mutation_aspect=1,
            )
        )  # fmt: skip

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws an arrow."""
        self._axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=8, linewidth=0.9, color=EDGE,
                shrinkA=0, shrinkB=0,
            )
        )  # fmt: skip

    def elbow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws an arrow that turns twice by a right angle."""
        halfway = (start[0] + end[0]) / 2
        xs, ys = (start[0], halfway, halfway), (start[1], start[1], end[1])
        self._axes.plot(xs, ys, color=EDGE, linewidth=0.9, solid_joinstyle="miter")
        self.arrow((halfway, end[1]), end)

    def circle(self, x: float, y: float, radius: float) -> None:
        """Draws a white disc."""
        self._axes.add_patch(
            Circle((x, y), radius, facecolor="white", edgecolor=EDGE, linewidth=0.8)
        )

    def cuboid(
        self, x: float, y: float, thickness: float, height: float, slant: tuple[float, float],
        color: str,
    ) -> None:  # fmt: skip
        """A feature map seen from its left front; ``slant`` is its edge to the back."""
        right, top = x + thickness, y + height
        dx, dy = slant
        self.polygon([(x, y), (right, y), (right, top), (x, top)], color)
        lid = [(x, top), (right, top), (right + dx, top + dy), (x + dx, top + dy)]
        self.polygon(lid, color, 0.1)
        side = [(right, y), (right + dx, y + dy), (right + dx, top + dy), (right, top)]
        self.polygon(side, color, 0.22)
