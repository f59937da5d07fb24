"""Layers of VGG16 streamed over the rows of an image.

Whole activations of a large image take gigabytes. Here the image's rows are pushed through all
layers a strip at a time: every layer keeps the last rows of its input, which its next output rows
need, so each row of each layer is computed once and the result is that of the whole image.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from d2eval.contracts.architecture import Layer
from methods.vgg16.flat import Flags, WindowConvolution, equal_neighbours
from methods.vgg16.layers import Weights
from methods.vgg16.stages import (
    AveragePool,
    Convolution,
    Convolve,
    MaxPool,
    Stage,
    as_nchw,
    as_rows,
    follow_equal,
)
from methods.vgg16.winograd import TILE, WinogradConvolution, Workers

WINOGRAD_MIN_CHANNELS = 128  # of the output; narrower layers gain nothing
WIDEST = 64  # channels at the image's full size
# Strips are multiples: one tile row of a Winograd tile of dilation 2 at a stride of 4, and two
# cells of a map of stride 16.
STRIP_ROWS = 32

Precision = torch.dtype
PRECISIONS: dict[str, Precision] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


class ImageRows(Protocol):
    """An image given by rows."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""

    def rows(self, first: int, last: int) -> torch.Tensor:
        """(last - first, width, 3) float32, preprocessed."""


def direct_convolution(
    weight: torch.Tensor, bias: torch.Tensor, dilation: int, relu: bool
) -> Convolve:
    """PyTorch's convolution of rows, with bias, optional ReLU and padding at the sides only."""
    weight = weight.contiguous(memory_format=torch.channels_last)

    def convolve(x: torch.Tensor) -> torch.Tensor:
        # TensorFloat-32 would drop 13 bits of "float32" products on recent GPUs.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            y = functional.conv2d(
                as_nchw(x), weight, bias, padding=(0, dilation), dilation=dilation
            )
        return as_rows(functional.relu_(y) if relu else y)

    return convolve


class StreamedVgg16:
    """Maps of an image from some layers of VGG16."""

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Weights,
        device: torch.device | str = "cpu",
        precision: Precision = torch.float32,
    ) -> None:
        """Takes the weights.

        Args:
            layers: as `methods.vgg16.layers.layers_of` gives them.
            weights: of each convolution among them.
            device: where it runs. In float32 on the CPU, wide layers run as `WinogradConvolution`.
            precision: of weights and activations.
        """
        self.device = torch.device(device)
        self.precision = precision
        winograd = self.device.type == "cpu" and precision == torch.float32
        workers = Workers(max(layer.outputs for layer in layers)) if winograd else None
        self._stages: list[tuple[str, Callable[[], Stage]]] = []
        for layer in layers:
            if layer.kind == "convolution":
                weight, bias = (part.to(self.device, precision) for part in weights[layer.name])
                self._stages.append((layer.name, _convolution(layer, weight, bias, workers)))
            else:
                pool = MaxPool if layer.kind == "max pool" else AveragePool
                self._stages.append((layer.name, pool))

    def stages(self) -> list[tuple[str, Stage]]:
        """New stages for an image, with the names of their layers."""
        return [(name, make()) for name, make in self._stages]

    @torch.inference_mode()
    def maps(
        self, image: ImageRows, strip_bytes: int, wanted: Collection[str]
    ) -> Iterator[list[torch.Tensor]]:
        """Yields, from top to bottom, the next rows of the outputs of some layers.

        Args:
            image: on any device.
            strip_bytes: the most bytes of one activation at the image's full size.
            wanted: names of layers.

        Returns:
            For each strip a list of (rows, w, C) for each layer in their order, perhaps of no
            rows. Only this list holds them: who takes them out can let go of them early.
        """
        height, width = image.size
        item = torch.finfo(self.precision).bits // 8
        rows = max(strip_bytes // (width * WIDEST * item) // STRIP_ROWS, 1) * STRIP_ROWS
        stages = self.stages()
        strips = list(pairwise([*range(0, height, rows), height]))
        follow_equal([stage for _, stage in stages], self._equal_pixels(image, strips))
        for first, last in strips:
            held = [image.rows(first, last).to(self.device, self.precision)]
            found = []
            for name, stage in stages:
                held.append(stage.push(held.pop(), last == height))
                if name in wanted:
                    found.append(held[0])
            held.clear()
            yield found

    def _equal_pixels(self, image: ImageRows, strips: list[tuple[int, int]]) -> Flags:
        """Which pixels of an image equal their neighbours, (H, W)."""
        above: torch.Tensor | None = None
        flags = []
        for first, last in strips:
            pixels = image.rows(first, last).to(self.precision)
            flags.append(equal_neighbours(pixels, above))
            above = pixels[-1]
        return np.concatenate(flags)


def _convolution(
    layer: Layer, weight: torch.Tensor, bias: torch.Tensor, workers: Workers | None
) -> Callable[[], Convolution]:
    """Makes stages of a layer: by Winograd's algorithm where there are workers and it is wide."""
    windows = WindowConvolution(weight, bias, layer.dilation, layer.relu)
    if workers and layer.outputs >= WINOGRAD_MIN_CHANNELS:
        winograd = WinogradConvolution(weight, bias, layer.dilation, layer.relu, workers)
        return partial(Convolution, winograd, windows, TILE * layer.dilation)
    direct = direct_convolution(weight, bias, layer.dilation, layer.relu)
    return partial(Convolution, direct, windows, 1)
