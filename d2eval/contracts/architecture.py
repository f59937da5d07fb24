"""What a method's network is made of: layers as data, and what follows from them.

Output sizes, receptive fields, parameters and operations are computed from the layers by `trace`;
a method only says which layers there are, and at which sizes it runs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["convolution", "fully connected", "max pool", "average pool"]
Branch = Literal["detection", "description"]

OPERATIONS_PER_PRODUCT = 2  # a product and the sum that it enters


@dataclass(frozen=True)
class Layer:
    """A layer with a square kernel, the same in both directions.

    Attributes:
        block: the layers drawn together, e.g. "conv1".
        name: e.g. "conv1_1".
        kind: what it computes; the kernel of a fully connected layer covers its whole input.
        kernel, stride, dilation: in cells of its input.
        padding: cells added on each side.
        inputs, outputs: channels.
        relu: whether a ReLU follows.
        batch_norm: whether a batch normalization follows that.
    """

    block: str
    name: str
    kind: Kind
    kernel: int
    stride: int
    dilation: int
    padding: int
    inputs: int
    outputs: int
    relu: bool = False
    batch_norm: bool = False

    @property
    def is_pool(self) -> bool:
        """Whether it is one, without weights."""
        return self.kind in ("max pool", "average pool")

    @property
    def parameters(self) -> int:
        """Weights and biases, and those of the normalization."""
        if self.is_pool:
            return 0
        return self.outputs * (self.inputs * self.kernel**2 + 1 + 2 * self.batch_norm)

    def output_length(self, length: int) -> int:
        """Cells along one side, of so many of its input; 0 where there are too few."""
        reach = self.dilation * (self.kernel - 1)
        return max((length + 2 * self.padding - reach - 1) // self.stride + 1, 0)


@dataclass(frozen=True)
class TracedLayer:
    """A layer on an input of a certain size.

    Attributes:
        layer: as it is.
        size: (width, height) of its output.
        receptive_field: pixels of the network's input, along one side, that one output sees.
        jump: pixels of the network's input between neighbouring outputs.
        flop: floating-point operations of the plain convolution, a product and a sum counted as
            two. Biases, ReLUs and pools are not counted.
    """

    layer: Layer
    size: tuple[int, int]
    receptive_field: int
    jump: int
    flop: int


def trace(layers: Sequence[Layer], size: tuple[int, int]) -> list[TracedLayer]:
    """Follows an input of (width, height) ``size`` through ``layers``.

    The receptive field r and the jump j obey r' = r + dilation (kernel - 1) j and j' = j stride,
    from r = j = 1 (Araujo et al., "Computing receptive fields of convolutional neural networks",
    Distill 2019, with dilation).
    """
    field = jump = 1
    traced = []
    for layer in layers:
        size = layer.output_length(size[0]), layer.output_length(size[1])
        field += layer.dilation * (layer.kernel - 1) * jump
        jump *= layer.stride
        flop = 0
        if not layer.is_pool:
            products = layer.inputs * layer.outputs * layer.kernel**2
            flop = OPERATIONS_PER_PRODUCT * products * size[0] * size[1]
        traced.append(TracedLayer(layer, size, field, jump, flop))
    return traced


@dataclass(frozen=True)
class Step:
    """Something without parameters that happens to the network's maps.

    Attributes:
        branch: what it is part of.
        name: two or three words.
        formula: what it does, short enough for a drawing.
        description: the same in one sentence.
    """

    branch: Branch
    name: str
    formula: str
    description: str


@dataclass(frozen=True)
class Level:
    """The image at one scale of a pyramid.

    Attributes:
        scale: 1 is the network's input at its own size.
        size: (width, height).
    """

    scale: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Architecture:
    """A network and what its method does with its maps.

    Attributes:
        name: of the network.
        image_size: (width, height) of the image.
        input_size: (width, height) after the method's own limits, at scale 1.
        layers: in their order, each fed by the one before.
        levels: every scale that the network runs at, in that order.
        fusion: how the maps of several levels are combined; empty for a single level.
        steps: in their order.
    """

    name: str
    image_size: tuple[int, int]
    input_size: tuple[int, int]
    layers: tuple[Layer, ...]
    levels: tuple[Level, ...]
    fusion: str
    steps: tuple[Step, ...]

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(layer.parameters for layer in self.layers)

    def trace(self) -> list[TracedLayer]:
        """The layers on the input at scale 1."""
        return trace(self.layers, self.input_size)

    def flop(self) -> int:
        """Floating-point operations of all levels."""
        return sum(layer.flop for level in self.levels for layer in trace(self.layers, level.size))
