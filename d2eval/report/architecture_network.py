"""The network's part of an architecture's drawing: blocks of layers, from left to right.

Cuboids are as high and deep as their maps and as thick as their channels are many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from d2eval.contracts.architecture import Architecture, Layer, TracedLayer
from d2eval.report.canvas import FONT_PT, HEAD_PT, LINE_IN, SMALL_PT, TIMES, Canvas, by, text_width

GIGA, MEGA = 1e9, 1e6
GAP_IN = 0.3  # between clusters of layers, for the arrow
TALLEST_IN, WIDEST_IN = 2.0, 3.2  # of a feature map's height and width before it is slanted
SLANT = (0.26, 0.2)  # where the width of a map goes, right and up
CHANNEL_IN, THINNEST_IN = 0.0012, 0.05
BETWEEN_LAYERS_IN = 0.03
COLORS = {
    "image": "#e2e2e2",
    "convolution": "#a9c6e8",
    "dilated convolution": "#5f93c9",
    "fully connected": "#a8cfa0",
    "max pool": "#d9665c",
    "average pool": "#f0b24a",
}


def role_of(layer: Layer) -> str:
    """What decides a layer's colour; a key of `COLORS`."""
    return "dilated convolution" if layer.dilation > 1 else layer.kind


@dataclass(frozen=True)
class Cluster:
    """Layers drawn together: a pool and the convolutions of one block after it."""

    layers: tuple[TracedLayer, ...]

    @property
    def pool(self) -> TracedLayer | None:
        """The pool that it begins with."""
        return self.layers[0] if self.layers[0].layer.is_pool else None

    def above(self) -> list[str]:
        """Lines on its pool."""
        if self.pool is None:
            return []
        layer = self.pool.layer
        return [layer.kind, f"{by(layer.kernel, layer.kernel)}, stride {layer.stride}"]

    def below(self) -> list[str]:
        """The block's name, what its layers with weights are, and the size of its maps."""
        convolutions = [t.layer for t in self.layers if not t.layer.is_pool]
        lines = [(convolutions or [self.layers[0].layer])[-1].block]
        for what, equal in groupby(convolutions, _convolution_line):
            lines.append(f"{len(list(equal))} {TIMES} {what}")
        width, height = self.layers[-1].size
        lines.append(by(width, height, self.layers[-1].layer.outputs))
        dilations = sorted({layer.dilation for layer in convolutions if layer.dilation > 1})
        lines += [f"dilation {dilation}" for dilation in dilations]
        return lines


def _convolution_line(layer: Layer) -> str:
    if layer.kind == "fully connected":
        return f"{layer.kind}, {layer.outputs}"
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    return f"conv {by(layer.kernel, layer.kernel)}, {layer.outputs}{stride}"


def clusters(traced: Sequence[TracedLayer]) -> list[Cluster]:
    """Cuts the layers before each pool and wherever the block changes."""
    groups: list[list[TracedLayer]] = []
    for item in traced:
        last = groups[-1][-1].layer if groups else None
        follows_pool = last is not None and last.is_pool
        same_block = last is not None and last.block == item.layer.block
        if not item.layer.is_pool and (follows_pool or same_block):
            groups[-1].append(item)
        else:
            groups.append([item])
    return [Cluster(tuple(group)) for group in groups]


@dataclass(frozen=True)
class Geometry:
    """Inches of the network's feature maps."""

    per_pixel: float

    def slant(self, size: tuple[int, int]) -> tuple[float, float]:
        """Right and up, of a map's edge to the back."""
        return tuple(part * size[0] * self.per_pixel for part in SLANT)  # type: ignore[return-value]

    def height(self, size: tuple[int, int]) -> float:
        """Of a slanted map, its edge to the back included."""
        return size[1] * self.per_pixel + self.slant(size)[1]

    def thickness(self, layer: Layer) -> float:
        """Of a layer's cuboid: its channels, or a slice for a pool."""
        if layer.is_pool:
            return THINNEST_IN
        return max(layer.outputs * CHANNEL_IN, THINNEST_IN)

    def width(self, cluster: Cluster) -> float:
        """Of a cluster, from its first front to its last back edge."""
        fronts = [self.thickness(item.layer) for item in cluster.layers]
        between = BETWEEN_LAYERS_IN * (len(fronts) - 1)
        return sum(fronts) + between + self.slant(cluster.layers[-1].size)[0]

    def advance(self, cluster: Cluster) -> float:
        """Of a cluster with what is written below and above it, without the gap."""
        below = max(text_width(line, FONT_PT, bold=not i) for i, line in enumerate(cluster.below()))
        above = max((text_width(line, SMALL_PT) for line in cluster.above()), default=0.0)
        return max(self.width(cluster), below, above)


def _layer_geometry(architecture: Architecture) -> Geometry:
    width, height = architecture.input_size
    return Geometry(min(TALLEST_IN / height, WIDEST_IN / width))


def network_size(architecture: Architecture) -> tuple[float, float]:
    """Inches, width and height, that `draw_network` takes."""
    geometry = _layer_geometry(architecture)
    groups = clusters(architecture.trace())
    slant = geometry.slant(architecture.input_size)
    width = max(slant[0] + THINNEST_IN, text_width(_input_label(architecture), FONT_PT))
    width += sum(GAP_IN + geometry.advance(group) for group in groups) + 0.7
    tallest = architecture.input_size[1] * geometry.per_pixel + slant[1]
    lines = max(len(group.below()) for group in groups)
    return width, max(tallest, 1.6) + 0.15 + lines * LINE_IN


def _input_label(architecture: Architecture) -> str:
    width, height = architecture.input_size
    return by(width, height, architecture.layers[0].inputs)


def draw_network(canvas: Canvas, architecture: Architecture, x: float, bottom: float) -> None:
    """Blocks from left to right, standing on one line, what they are below them."""
    geometry = _layer_geometry(architecture)
    groups = clusters(architecture.trace())
    ground = bottom + 0.15 + max(len(group.below()) for group in groups) * LINE_IN
    smallest = min(group.layers[-1].size[1] for group in groups) * geometry.per_pixel
    middle = ground + smallest / 2
    slant = geometry.slant(architecture.input_size)
    height = architecture.input_size[1] * geometry.per_pixel
    advance = max(slant[0] + THINNEST_IN, text_width(_input_label(architecture), FONT_PT))
    canvas.cuboid(x, ground, THINNEST_IN, height, slant, COLORS["image"])
    for i, line in enumerate(("image", _input_label(architecture))):
        canvas.text(x, ground - 0.12 - i * LINE_IN, line, bold=not i)
    back = x + THINNEST_IN
    x += advance + GAP_IN
    for group in groups:
        # From the middle of the front that was drawn last, over its slanted side.
        canvas.arrow((back + 0.02, middle), (x - 0.02, middle))
        left = x
        for item in group.layers:
            thickness = geometry.thickness(item.layer)
            tall = item.size[1] * geometry.per_pixel
            color = COLORS[role_of(item.layer)]
            canvas.cuboid(left, ground, thickness, tall, geometry.slant(item.size), color)
            left += thickness + BETWEEN_LAYERS_IN
        back = left - BETWEEN_LAYERS_IN
        top = ground + max(geometry.height(item.size) for item in group.layers)
        for i, line in enumerate(reversed(group.above())):
            canvas.text(x, top + 0.12 + i * LINE_IN, line, SMALL_PT)
        for i, line in enumerate(group.below()):
            canvas.text(x, ground - 0.12 - i * LINE_IN, line, bold=not i)
        x += geometry.advance(group) + GAP_IN
    end = back + geometry.slant(groups[-1].layers[-1].size)[0] + 0.3
    canvas.arrow((back + 0.02, middle), (end, middle))
    if architecture.steps:  # which say what is done on the map F
        canvas.text(end + 0.07, middle, "F", HEAD_PT, bold=True)


def headline(architecture: Architecture) -> str:
    """The network's numbers in one line."""
    traced = architecture.trace()
    flop = sum(item.flop for item in traced) / GIGA
    width, height = architecture.input_size
    return (
        f"{architecture.name}: {architecture.parameters / MEGA:.2f} M parameters, stride "
        f"{traced[-1].jump}, receptive field {traced[-1].receptive_field} px, "
        f"{flop:,.{1 if flop >= 0.05 else 4}f} GFLOP at {by(width, height)}"
    )


def draw_legend(canvas: Canvas, architecture: Architecture, right: float, top: float) -> None:
    """Says what the colours are, in a column that ends at ``right``."""
    roles = list(dict.fromkeys(role_of(layer) for layer in architecture.layers))
    rectified = {role_of(layer) for layer in architecture.layers if layer.relu}
    normalized = {role_of(layer) for layer in architecture.layers if layer.batch_norm}
    names = [
        role + " + ReLU" * (role in rectified) + " + batch norm" * (role in normalized)
        for role in roles
    ]
    left = right - max(text_width(name, FONT_PT) for name in names) - 0.3
    for i, (role, name) in enumerate(zip(roles, names, strict=True)):
        y = top - (i + 0.5) * 0.19
        canvas.rectangle(left, y - 0.06, 0.18, 0.12, COLORS[role])
        canvas.text(left + 0.26, y, name)
