"""The test-time network, streamed over rows of the image so that memory stays small.

VGG16 through conv4_3; pool3 is an average pool of stride 1 and conv4_1..4_3 have dilation 2, which
gives a stride of 4 (d2-net 0a3356c, ``model_test.py``; D2-Net paper, section 4.2). The map of an
H x W image has (H // 4 - 1) x (W // 4 - 1) cells of 512 channels.

Whole activations of a large image take gigabytes. Here the image's rows are pushed through all
layers a strip at a time: every layer keeps the last rows of its input, which its next output rows
need, so each row of each layer is computed once and the result is that of the whole image.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from d2eval.contracts.weights import check_tensor
from d2eval.foundation.errors import D2EvalError
from methods.d2net.flat import Flags, WindowConvolution, equal_neighbours
from methods.d2net.stages import (
    AveragePool,
    Convolution,
    Layer,
    MaxPool,
    Stage,
    as_nchw,
    as_rows,
    follow_equal,
)
from methods.d2net.winograd import TILE, WinogradConvolution, Workers

CHANNELS = 512
STRIDE = 4
# name, index in the authors' nn.Sequential, input and output channels
CONVOLUTIONS = (
    ("conv1_1", 0, 3, 64), ("conv1_2", 2, 64, 64),
    ("conv2_1", 5, 64, 128), ("conv2_2", 7, 128, 128),
    ("conv3_1", 10, 128, 256), ("conv3_2", 12, 256, 256), ("conv3_3", 14, 256, 256),
    ("conv4_1", 17, 256, 512), ("conv4_2", 19, 512, 512), ("conv4_3", 21, 512, 512),
)  # fmt: skip
DILATIONS = {"conv4": 2}  # by block; 1 in the others
PREFIX = "dense_feature_extraction.model."
WINOGRAD_MIN_CHANNELS = 128  # of the output; narrower layers gain nothing (SPEED.md)
STRIP_ROWS = 32  # strips are multiples: 8 map rows, one tile row of a dilated Winograd tile

Precision = torch.dtype
PRECISIONS: dict[str, Precision] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def dilation_of(name: str) -> int:
    """The dilation of the convolution ``name``."""
    return DILATIONS.get(name.partition("_")[0], 1)


def map_size(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the feature map of an image; 0 where the image is too small."""
    return max(height // STRIDE - 1, 0), max(width // STRIDE - 1, 0)


POOLS: dict[str, type[MaxPool] | type[AveragePool]] = {  # by the convolution that they follow
    "conv1_2": MaxPool,
    "conv2_2": MaxPool,
    "conv3_3": AveragePool,
}


class ImageRows(Protocol):
    """An image of one pyramid level, given by rows."""

    size: tuple[int, int]  # (height, width)

    def rows(self, first: int, last: int) -> torch.Tensor:
        """(last - first, width, 3) float32, preprocessed."""


def check_state(state: Mapping[str, torch.Tensor]) -> None:
    """Makes sure that weights are D2-Net's.

    Raises:
        D2EvalError: a name is missing or extra, a shape differs, or a value is not finite.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for _, index, inputs, outputs in CONVOLUTIONS:
        expected[f"{PREFIX}{index}.weight"] = (outputs, inputs, 3, 3)
        expected[f"{PREFIX}{index}.bias"] = (outputs,)
    for name, shape in expected.items():
        check_tensor(state, name, shape)
    extra = sorted(set(state) - set(expected))
    if extra:
        raise D2EvalError(f"weights of another architecture: {extra[0]} is not part of D2-Net")


def direct_convolution(
    weight: torch.Tensor, bias: torch.Tensor, dilation: int, relu: bool
) -> Layer:
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


class D2Network:
    """Dense features of an image, from the authors' weights."""

    def __init__(
        self,
        state: Mapping[str, torch.Tensor],
        relu: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = torch.float32,
    ) -> None:
        """Takes the weights.

        Args:
            state: tensors by the authors' names; other entries are not allowed.
            relu: whether a ReLU follows conv4_3 (the authors' default at test time).
            device: where it runs. In float32 on the CPU, wide layers run as `WinogradConvolution`.
            precision: of weights and activations; features come out in float32.

        Raises:
            D2EvalError: as `check_state`.
        """
        check_state(state)
        self.device = torch.device(device)
        self.precision = precision
        self._layers: dict[str, tuple[Layer, WindowConvolution, int]] = {}
        winograd = self.device.type == "cpu" and precision == torch.float32
        workers = Workers(CHANNELS) if winograd else None
        for name, index, _, outputs in CONVOLUTIONS:
            weight = state[f"{PREFIX}{index}.weight"].to(self.device, precision)
            bias = state[f"{PREFIX}{index}.bias"].to(self.device, precision)
            dilation = dilation_of(name)
            with_relu = relu or name != "conv4_3"
            windows = WindowConvolution(weight, bias, dilation, with_relu)
            if workers and outputs >= WINOGRAD_MIN_CHANNELS:
                layer: Layer = WinogradConvolution(weight, bias, dilation, with_relu, workers)
                self._layers[name] = (layer, windows, TILE * dilation)
            else:
                layer = direct_convolution(weight, bias, dilation, with_relu)
                self._layers[name] = (layer, windows, 1)

    def operations(self, height: int, width: int) -> float:
        """Floating-point operations of the direct convolutions on an image of this size."""
        cells = {"conv1": height * width, "conv2": (height // 2) * (width // 2)}
        cells["conv3"] = (height // STRIDE) * (width // STRIDE)
        rows, columns = map_size(height, width)
        cells["conv4"] = rows * columns
        return float(
            sum(
                2 * 9 * inputs * outputs * cells[name[:5]]
                for name, _, inputs, outputs in CONVOLUTIONS
            )
        )

    def _stages(self) -> list[Stage]:
        stages: list[Stage] = []
        for name, layer in self._layers.items():
            stages.append(Convolution(*layer))
            if name in POOLS:
                stages.append(POOLS[name]())
        return stages

    @torch.inference_mode()
    def feature_rows(self, image: ImageRows, strip_bytes: int) -> Iterator[torch.Tensor]:
        """Yields the feature map from top to bottom, (rows, w, 512) float32 at a time.

        Args:
            image: at least 8 pixels in either direction, so that there is a map.
            strip_bytes: the most bytes of one activation at the image's full size.
        """
        height, width = image.size
        item = torch.finfo(self.precision).bits // 8
        rows = max(strip_bytes // (width * 64 * item) // STRIP_ROWS, 1) * STRIP_ROWS
        stages = self._stages()
        strips = list(pairwise([*range(0, height, rows), height]))
        follow_equal(stages, self._equal_pixels(image, strips))
        for first, last in strips:
            # Whoever is handed rows is the only one to hold them, and can let go of them early.
            held = [image.rows(first, last).to(self.precision)]
            for stage in stages:
                held.append(stage.push(held.pop(), last == height))
            if len(held[0]):
                yield held.pop().float()

    def _equal_pixels(self, image: ImageRows, strips: list[tuple[int, int]]) -> Flags:
        """Which pixels of an image equal their neighbours, (H, W)."""
        above: torch.Tensor | None = None
        flags = []
        for first, last in strips:
            pixels = image.rows(first, last).to(self.precision)
            flags.append(equal_neighbours(pixels, above))
            above = pixels[-1]
        return np.concatenate(flags)
