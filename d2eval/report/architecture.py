"""The drawing of an architecture: its network, its pyramid, and the steps on its maps."""

from matplotlib.figure import Figure

from d2eval.contracts.architecture import Architecture
from d2eval.report.architecture_levels import (
    BETWEEN_PARTS_IN,
    branches_size,
    draw_branches,
    draw_pyramid,
    pyramid_layout,
)
from d2eval.report.architecture_network import (
    GIGA,
    draw_legend,
    draw_network,
    headline,
    network_size,
)
from d2eval.report.canvas import HEAD_PT, Canvas, text_width

MARGIN_IN, HEAD_IN = 0.15, 0.3


def draw(architecture: Architecture) -> Figure:
    """The network above; the pyramid, if there is one, and the steps below.

    Cuboids are as high and deep as their maps and as thick as their channels are many.
    """
    with_pyramid = len(architecture.levels) > 1
    network = network_size(architecture)
    pyramid = pyramid_layout(architecture).size if with_pyramid else (0.0, 0.0)
    steps = branches_size(architecture, stacked=with_pyramid)
    between = BETWEEN_PARTS_IN if with_pyramid and architecture.steps else 0.0
    titles = _titles(architecture)
    title = text_width(titles[0], HEAD_PT, bold=True)
    width = max(network[0], pyramid[0] + between + steps[0], title)
    lower = max(pyramid[1], steps[1])
    height = HEAD_IN + network[1] + (HEAD_IN + 0.2 + lower if lower else 0)
    canvas = Canvas(width + 2 * MARGIN_IN, height + 2 * MARGIN_IN)
    left, right, top = MARGIN_IN, MARGIN_IN + width, MARGIN_IN + height
    canvas.text(left, top - 0.1, titles[0], HEAD_PT, bold=True)
    draw_legend(canvas, architecture, right, top - HEAD_IN)
    top -= HEAD_IN + network[1]
    draw_network(canvas, architecture, left, top)
    top -= 0.2
    if with_pyramid:
        canvas.text(left, top - 0.1, titles[1], HEAD_PT, bold=True)
        draw_pyramid(canvas, architecture, left, top - HEAD_IN)
        left += pyramid[0] + between
    if architecture.steps:
        canvas.text(left, top - 0.1, titles[-1], HEAD_PT, bold=True)
        draw_branches(canvas, architecture, (left, right, top - HEAD_IN), with_pyramid)
    return canvas.figure


def _titles(architecture: Architecture) -> list[str]:
    """Of the parts that are drawn."""
    titles = [headline(architecture)]
    if len(architecture.levels) > 1:
        titles.append(f"Pyramid: {architecture.flop() / GIGA:,.1f} GFLOP")
    if architecture.steps:
        titles.append("On the map F" if len(titles) == 1 else "On the map F of each level")
    return [f"({letter}) {title}" for letter, title in zip("abc", titles, strict=False)]
