"""The test-time network, streamed over rows of the image so that memory stays small.

VGG16 through conv4_3; pool3 is an average pool of stride 1 and conv4_1..4_3 have dilation 2, which
gives a stride of 4 (d2-net 0a3356c, ``model_test.py``; D2-Net paper, section 4.2). The map of an
H x W image has (H // 4 - 1) x (W // 4 - 1) cells of 512 channels.

Whole activations of a large image take gigabytes. Here the image's rows are pushed through all
layers a strip at a time: every layer keeps the last rows of its input, which its next output rows
need, so each row of each layer is computed once and the result is that of the whole image.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from d2eval.errors import D2EvalError
from d2eval.weights import check_values
from methods.d2net.flat import Flags, WindowConvolution, equal_neighbours, propagate
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


# Rows of an image or map: (rows, width, channels), contiguous, so that rows are joined by copying
# memory. PyTorch's layers see them as (1, channels, rows, width), channels last.
Layer = Callable[[torch.Tensor], torch.Tensor]


def _as_nchw(rows: torch.Tensor) -> torch.Tensor:
    return rows.permute(2, 0, 1)[None]


def _as_rows(x: torch.Tensor) -> torch.Tensor:
    return x[0].permute(1, 2, 0).contiguous()


class Stage(Protocol):
    """A layer that is fed rows and gives the rows that they complete.

    Its windows are ``kernel`` wide and lie ``stride`` apart, in an input with ``padding`` zeros on
    every side.
    """

    @property
    def kernel(self) -> int:
        """How far a window reaches."""

    @property
    def stride(self) -> int:
        """From one window to the next."""

    @property
    def padding(self) -> int:
        """Zeros on every side."""

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """Further input rows, perhaps none, to the output rows that they complete."""


class Convolution:
    """A 3x3 convolution with "same" zero padding, fed by rows."""

    stride = 1

    def __init__(self, convolve: Layer, windows: WindowConvolution, multiple: int) -> None:
        """Takes a convolution that pads the sides only.

        Args:
            convolve: gives 2 dilations of rows less than it is given.
            windows: the same for single windows.
            multiple: rows are passed on by so many, except the last ones. A Winograd tile then
                lies at the same place, and rounds alike, whatever the strips are.
        """
        self._convolve = convolve
        self._windows = windows
        self.padding = windows.dilation
        self.kernel = 2 * windows.dilation + 1
        self._multiple = multiple
        self._tail: torch.Tensor | None = None
        self._done = 0
        self.equal: Flags | None = None  # of the whole output; None where nothing equals

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """Rows become complete ``dilation`` rows late; zeros lie above and below the image."""
        margin = 2 * self.padding
        zeros = x.new_zeros(self.padding, *x.shape[1:])
        above = zeros if self._tail is None else self._tail
        x = torch.cat([above, x, zeros] if last else [above, x])
        complete = max(len(x) - margin, 0)
        if not last:
            complete -= complete % self._multiple
        self._tail = x[complete:].clone()
        if not complete:
            return x.new_empty(0, x.shape[1], self._windows.outputs)
        x = x[: complete + margin]
        y = self._convolve(x)
        if self.equal is not None:
            self._windows.unify(x, y, self.equal[self._done : self._done + complete + 1])
        self._done += complete
        return y


class MaxPool:
    """Max pool 2x2 of stride 2; a last odd row or column is dropped."""

    kernel, stride, padding = 2, 2, 0

    def __init__(self) -> None:
        """Starts with no row."""
        self._odd: torch.Tensor | None = None

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """Rows are pooled two by two."""
        if self._odd is not None:
            x = torch.cat([self._odd, x])
        pairs, width = len(x) // 2, x.shape[1] // 2
        self._odd = x[2 * pairs :].clone() if len(x) % 2 else None
        # Maxima of two halves: three times as fast as max_pool2d, which also finds where they are.
        rows = torch.maximum(x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2])
        return torch.maximum(rows[:, 0 : 2 * width : 2], rows[:, 1 : 2 * width : 2])


class AveragePool:
    """Average pool 2x2 of stride 1, without padding."""

    kernel, stride, padding = 2, 1, 0

    def __init__(self) -> None:
        """Starts with no row."""
        self._tail: torch.Tensor | None = None

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """A row is complete when the next one is there."""
        if self._tail is not None:
            x = torch.cat([self._tail, x])
        self._tail = x[-1:].clone()
        if len(x) < 2:
            return x.new_empty(0, x.shape[1] - 1, x.shape[2])
        return _as_rows(functional.avg_pool2d(_as_nchw(x), 2, stride=1))


POOLS: dict[str, type[MaxPool] | type[AveragePool]] = {  # by the convolution that they follow
    "conv1_2": MaxPool,
    "conv2_2": MaxPool,
    "conv3_3": AveragePool,
}


def follow_equal(stages: Iterable[Stage], equal: Flags) -> None:
    """Tells each convolution which of its outputs equal their neighbours, by those of the image."""
    for stage in stages:
        if not equal.any():
            return
        equal = propagate(equal, stage.kernel, stage.stride, stage.padding)
        if isinstance(stage, Convolution) and equal.any():
            stage.equal = equal


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
        if name not in state:
            raise D2EvalError(f"weights of another architecture: {name} is missing")
        if tuple(state[name].shape) != shape:
            raise D2EvalError(
                f"weights of another architecture: {name} is {tuple(state[name].shape)}, "
                f"not {shape}"
            )
        check_values(name, state[name])
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
                _as_nchw(x), weight, bias, padding=(0, dilation), dilation=dilation
            )
        return _as_rows(functional.relu_(y) if relu else y)

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
