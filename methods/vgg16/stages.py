"""Layers that are fed an image's rows and give the rows that they complete."""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch.nn import functional

from methods.vgg16.flat import Flags, WindowConvolution, propagate

# Rows of an image or map: (rows, width, channels), contiguous, so that rows are joined by copying
# memory. PyTorch's layers see them as (1, channels, rows, width), channels last.
Convolve = Callable[[torch.Tensor], torch.Tensor]


def as_nchw(rows: torch.Tensor) -> torch.Tensor:
    """Rows as PyTorch's layers see them."""
    return rows.permute(2, 0, 1)[None]


def as_rows(x: torch.Tensor) -> torch.Tensor:
    """The other way round."""
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

    def __init__(self, convolve: Convolve, windows: WindowConvolution, multiple: int) -> None:
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
        return as_rows(functional.avg_pool2d(as_nchw(x), 2, stride=1))


def follow_equal(stages: Iterable[Stage], equal: Flags) -> None:
    """Tells each convolution which of its outputs equal their neighbours, by those of the image."""
    for stage in stages:
        if not equal.any():
            return
        equal = propagate(equal, stage.kernel, stage.stride, stage.padding)
        if isinstance(stage, Convolution) and equal.any():
            stage.equal = equal
