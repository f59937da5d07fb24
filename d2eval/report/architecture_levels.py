"""The lower half of an architecture's drawing: the pyramid, and the steps on its maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from d2eval.contracts.architecture import Architecture, Step, TracedLayer, trace
from d2eval.report.architecture_network import COLORS, GIGA, role_of
from d2eval.report.canvas import FONT_PT, LINE_IN, SMALL_PT, Canvas, by, text_width

LEVEL_IN = 1.0  # height of the largest image of the pyramid
NETWORK_BOX = "network (a)"
CELLS_PER_PIXEL = 2  # maps are drawn larger than images by this, or they would hardly be seen
ROW_IN = 0.3  # of a step
BETWEEN_PARTS_IN = 0.35
BRANCHES = {  # title and colour
    "detection": ("detection", "#fdebd3"),
    "description": ("description", "#e0f0dc"),
}


@dataclass(frozen=True)
class PyramidLayout:
    """Inches of the pyramid: a column for each level.

    Attributes:
        per_pixel: of the images.
        columns: width of each column.
        image, cells: heights of the rows of images and maps.
        notes: lines below all.
    """

    per_pixel: float
    columns: tuple[float, ...]
    image: float
    cells: float
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of all."""
        notes = max(text_width(note, SMALL_PT) for note in self.notes)
        return max(sum(self.columns), notes), self.image + self.cells + 6 * LINE_IN + 1.4


def pyramid_layout(architecture: Architecture) -> PyramidLayout:
    """The layout for this image's shape."""
    levels = architecture.levels
    per_pixel = min(
        LEVEL_IN / max(level.size[1] for level in levels),
        1.6 * LEVEL_IN / max(level.size[0] for level in levels),
    )
    columns, cells = [], []
    for level in levels:
        last = trace(architecture.layers, level.size)[-1]
        texts = [NETWORK_BOX + "  ", *_map_lines(last, 1e15)]
        drawn = max(level.size[0], last.size[0] * CELLS_PER_PIXEL) * per_pixel
        columns.append(max(drawn, *(text_width(text, FONT_PT) for text in texts)) + 0.35)
        cells.append(last.size[1] * per_pixel * CELLS_PER_PIXEL)
    image = max(level.size[1] for level in levels) * per_pixel
    drawn_larger = f"drawn to scale, maps {CELLS_PER_PIXEL} times as large as images"
    notes = tuple(note for note in (architecture.fusion, drawn_larger) if note)
    return PyramidLayout(per_pixel, tuple(columns), image, max(cells), notes)


def _map_lines(last: TracedLayer, flop: float) -> list[str]:
    return [f"F: {by(*last.size, last.layer.outputs)}", f"{flop / GIGA:,.1f} GFLOP"]


def draw_pyramid(canvas: Canvas, architecture: Architecture, x: float, top: float) -> None:
    """A column for each level: the image, the network, the sum with the coarser map, the map."""
    layout = pyramid_layout(architecture)
    for i, note in enumerate(reversed(layout.notes)):
        canvas.text(x, top - layout.size[1] + 0.1 + i * LINE_IN, note, SMALL_PT)
    coarser: tuple[float, float] | None = None  # the right edge of the coarser map
    for level, column in zip(architecture.levels, layout.columns, strict=True):
        traced = trace(architecture.layers, level.size)
        middle, y = x + column / 2, top - layout.image
        wide, tall = (part * layout.per_pixel for part in level.size)
        canvas.rectangle(middle - wide / 2, y, wide, tall, COLORS["image"])
        canvas.text(middle, y - 0.12, f"scale {level.scale:g}", align="center", bold=True)
        canvas.text(middle, y - 0.12 - LINE_IN, by(*level.size), align="center")
        y -= 2 * LINE_IN + 0.06
        canvas.arrow((middle, y), (middle, y - 0.2))
        y -= 0.2
        box = text_width(NETWORK_BOX, FONT_PT) + 0.2
        canvas.box(middle - box / 2, y - 0.25, box, 0.25, COLORS["convolution"])
        canvas.text(middle, y - 0.125, NETWORK_BOX, align="center")
        y -= 0.25
        lowest = y - 0.62
        if coarser is None:
            canvas.arrow((middle, y), (middle, lowest))
        else:
            plus = y - 0.28
            canvas.arrow((middle, y), (middle, plus + 0.085))
            canvas.circle(middle, plus, 0.085)
            canvas.text(middle, plus, "+", FONT_PT, align="center", bold=True)
            canvas.arrow((middle, plus - 0.085), (middle, lowest))
            canvas.elbow(coarser, (middle - 0.085, plus))
        wide, tall = (part * layout.per_pixel * CELLS_PER_PIXEL for part in traced[-1].size)
        color = COLORS[role_of(traced[-1].layer)]
        canvas.rectangle(middle - wide / 2, lowest - tall, wide, tall, color)
        coarser = middle + wide / 2, lowest - min(tall / 2, 0.08)
        flop = sum(item.flop for item in traced)
        bottom = lowest - layout.cells - 0.12
        for i, line in enumerate(_map_lines(traced[-1], flop)):
            canvas.text(middle, bottom - i * LINE_IN, line, align="center")
        x += column


def _branches(architecture: Architecture) -> list[list[Step]]:
    return [list(steps) for _, steps in groupby(architecture.steps, lambda step: step.branch)]


def _steps_size(steps: Sequence[Step]) -> tuple[float, float, float]:
    """Width of the names' column, of all, and height, for the steps of one branch."""
    names = max(text_width(f"9  {step.name}", FONT_PT, bold=True) for step in steps) + 0.3
    formulas = max(text_width(step.formula, FONT_PT) for step in steps)
    return names, names + formulas + 0.15, 0.3 + len(steps) * (ROW_IN + 0.06)


def _draw_steps(
    canvas: Canvas,
    steps: Sequence[Step],
    first: int,
    place: tuple[float, float],
    widths: tuple[float, float],
) -> None:
    """A row for each step of one branch, numbered from ``first``, from ``place`` downwards.

    ``widths`` are those of the names' column and of all.
    """
    names, width = widths
    x, y = place
    title, color = BRANCHES[steps[0].branch]
    canvas.text(x, y - 0.13, title, bold=True)
    y -= 0.27
    for number, step in enumerate(steps, first):
        canvas.box(x, y - ROW_IN, width, ROW_IN, color)
        canvas.text(x + 0.1, y - ROW_IN / 2, f"{number}  {step.name}", bold=True)
        canvas.text(x + names, y - ROW_IN / 2, step.formula)
        y -= ROW_IN + 0.06


def draw_branches(
    canvas: Canvas, architecture: Architecture, box: tuple[float, float, float], stacked: bool
) -> None:
    """The branches below each other or side by side, within (left, right, top) ``box``."""
    branches = _branches(architecture)
    left, right, top = box
    first = 1
    spare = right - left - branches_size(architecture, stacked)[0]
    for steps in branches:
        names, width, _ = _steps_size(architecture.steps if stacked else steps)
        width = right - left if stacked else width + spare / len(branches)
        _draw_steps(canvas, steps, first, (left, top), (names, width))
        first += len(steps)
        if stacked:
            top -= _steps_size(steps)[2]
        else:
            left += width + BETWEEN_PARTS_IN


def branches_size(architecture: Architecture, stacked: bool) -> tuple[float, float]:
    """Inches, width and height, that `draw_branches` takes."""
    if not architecture.steps:
        return 0.0, 0.0
    sizes = [_steps_size(steps)[1:] for steps in _branches(architecture)]
    widths, heights = zip(*sizes, strict=True)
    if stacked:
        return _steps_size(architecture.steps)[1], sum(heights)
    return sum(widths) + BETWEEN_PARTS_IN * (len(widths) - 1), max(heights)
