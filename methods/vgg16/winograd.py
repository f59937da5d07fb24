"""3x3 convolutions on the CPU by Winograd's minimal filtering F(4x4, 3x3).

A tile of 4x4 outputs needs 36 products for each pair of channels instead of 144 (Lavin and Gray,
"Fast algorithms for convolutional neural networks", CVPR 2016). The products are 36 matrix
products, which `d2eval.foundation.arrays.gemm` does; the transforms before and after them are
additions along contiguous channels, compiled by Numba, for a block of tiles at a time that stays in
the caches. A dilation of 2 is four plain convolutions on interleaved grids, so a tile takes every
second pixel.

What was measured, and what was tried and dropped, is in ``methods/d2net/SPEED.md``.
"""

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
import torch

from d2eval.foundation.arrays.compiled import compiled
from d2eval.foundation.arrays.gemm import multiply_transposed, prepack

FloatArray = npt.NDArray[np.float32]

TILE = 4  # outputs along a side of a tile; its input is two wider
POINTS = 36
BLOCK_TILES = 128  # transformed and multiplied at a time by one thread
BLOCK_FILTERS = 8192  # transformed at a time, in double precision

# The transform of the filter for the points 0, 1, -1, 2, -2 and infinity.
FILTER_TRANSFORM = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


# Sums may be fused with products but not reordered: see `_input_line`.
FUSED = {"contract"}


@numba.njit(fastmath=FUSED, inline="always")
def _input_line(x0, x1, x2, x3, x4, x5, y0, y1, y2, y3, y4, y5):  # type: ignore[no-untyped-def]
    """Transforms six pixels in a line, channel by channel: y = B^T x.

    Differences of pixels come first, so that where pixels are equal all but y1 are exactly zero,
    and where they are nearly equal the others are as precise as they are small. Pixels of one tile
    then differ by what the image says and not by rounding.
    """
    for c in range(len(x0)):
        even, odd = x4[c] - x2[c], x3[c] - x1[c]
        y0[c] = 4 * (x0[c] - x2[c]) + even
        y1[c] = (x3[c] + x4[c]) - 4 * (x1[c] + x2[c])
        y2[c] = (x4[c] - x3[c]) - 4 * (x2[c] - x1[c])
        y3[c] = even + 2 * odd
        y4[c] = even - 2 * odd
        y5[c] = (x5[c] - x3[c]) - 4 * odd


@numba.njit(fastmath=FUSED, inline="always")
def _output_line(x0, x1, x2, x3, x4, x5, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    """Transforms six products in a line back to four pixels: y = A^T x."""
    for c in range(len(x0)):
        a = x1[c] + x2[c]
        b = x1[c] - x2[c]
        d = x3[c] + x4[c]
        e = x3[c] - x4[c]
        y0[c] = x0[c] + a + d
        y1[c] = b + 2 * e
        y2[c] = a + 4 * d
        y3[c] = b + 8 * e + x5[c]


@numba.njit(inline="always")
def _tile_origin(tile, rows, columns, dilation):  # type: ignore[no-untyped-def]
    """First output pixel of a tile; tiles run over the interleaved grids one after the other."""
    grid = tile // (rows * columns)
    in_grid = tile - grid * rows * columns
    row = in_grid // columns
    column = in_grid - row * columns
    grid_row = grid // dilation
    grid_column = grid - grid_row * dilation
    return grid_row + dilation * TILE * row, grid_column + dilation * TILE * column


@compiled(fastmath=FUSED, nogil=True)
def _transform_input(x, zero, out, first, count, rows, columns, dilation):  # type: ignore[no-untyped-def]
    """Tiles [first, first + count) of ``x`` (rows, W, C) to ``out`` (36, tiles, C).

    The output row r looks at the input rows r, r + dilation and r + 2 dilation: there is no
    padding above and below. Tiles may overhang below; what they make there is not written.
    """
    height, width, channels = x.shape
    half = np.empty((6, 6, channels), np.float32)
    for t in range(count):
        top, left = _tile_origin(first + t, rows, columns, dilation)
        y0, y1, y2 = top, top + dilation, top + 2 * dilation
        y3, y4, y5 = top + 3 * dilation, top + 4 * dilation, top + 5 * dilation
        for j in range(6):
            column = left + dilation * (j - 1)
            inside = 0 <= column < width
            _input_line(
                x[y0, column] if inside and y0 < height else zero,
                x[y1, column] if inside and y1 < height else zero,
                x[y2, column] if inside and y2 < height else zero,
                x[y3, column] if inside and y3 < height else zero,
                x[y4, column] if inside and y4 < height else zero,
                x[y5, column] if inside and y5 < height else zero,
                half[0, j], half[1, j], half[2, j], half[3, j], half[4, j], half[5, j],
            )  # fmt: skip
        for i in range(6):
            _input_line(
                half[i, 0], half[i, 1], half[i, 2], half[i, 3], half[i, 4], half[i, 5],
                out[6 * i, t], out[6 * i + 1, t], out[6 * i + 2, t],
                out[6 * i + 3, t], out[6 * i + 4, t], out[6 * i + 5, t],
            )  # fmt: skip


@compiled(fastmath=FUSED, nogil=True)
def _transform_output(m, bias, relu, out, first, count, rows, columns, dilation):  # type: ignore[no-untyped-def]
    """Products ``m`` (36, tiles, C) to pixels of ``out`` (H, W, C), with bias and ReLU."""
    height, width, channels = out.shape
    half = np.empty((4, 6, channels), np.float32)
    pixels = np.empty((4, channels), np.float32)
    for t in range(count):
        top, left = _tile_origin(first + t, rows, columns, dilation)
        for j in range(6):
            _output_line(
                m[j, t], m[6 + j, t], m[12 + j, t], m[18 + j, t], m[24 + j, t], m[30 + j, t],
                half[0, j], half[1, j], half[2, j], half[3, j],
            )  # fmt: skip
        for i in range(4):
            row = top + dilation * i
            if row >= height:
                continue
            _output_line(
                half[i, 0], half[i, 1], half[i, 2], half[i, 3], half[i, 4], half[i, 5],
                pixels[0], pixels[1], pixels[2], pixels[3],
            )  # fmt: skip
            for j in range(4):
                column = left + dilation * j
                if column < width:
                    target, source = out[row, column], pixels[j]
                    if relu:
                        for c in range(channels):
                            target[c] = max(source[c] + bias[c], np.float32(0))
                    else:
                        for c in range(channels):
                            target[c] = source[c] + bias[c]


class Workers:
    """Threads that take whole blocks of tiles, each with its own memory for one block.

    A block's transforms and products stay in one thread. Dividing every small step among threads
    instead makes them wait for each other thousands of times an image, which takes ten times as
    long as soon as another process wants the same cores.
    """

    def __init__(self, channels: int) -> None:
        """Starts as many threads as PyTorch has.

        Args:
            channels: the most that a layer has.
        """
        self.threads = torch.get_num_threads()
        self._channels = channels
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(self.threads, "winograd", self._start)

    def _start(self) -> None:
        torch.set_num_threads(1)  # of this thread's matrix products
        size = POINTS * BLOCK_TILES * self._channels
        self._own.inputs, self._own.products = torch.empty(size), torch.empty(size)

    def blocks(self, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        """This thread's memory: (36, tiles, inputs) and (36, tiles, outputs)."""
        tiles = POINTS * BLOCK_TILES
        return (
            self._own.inputs[: tiles * inputs].view(POINTS, BLOCK_TILES, inputs),
            self._own.products[: tiles * outputs].view(POINTS, BLOCK_TILES, outputs),
        )

    def run(self, work: Callable[[int, int], None], bounds: Sequence[int]) -> None:
        """Calls ``work(first, end)`` for each block and waits for all."""
        done = [self._pool.submit(work, *block) for block in itertools.pairwise(bounds)]
        for future in done:
            future.result()
        # Threads that start later take their number from what was set last, so it is set back.
        torch.set_num_threads(self.threads)


class WinogradConvolution:
    """A 3x3 convolution of stride 1 with bias and optional ReLU; zero padding at the sides only."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, dilation: int, relu: bool, workers: Workers
    ) -> None:
        """Transforms the filters.

        Args:
            weight: (outputs, inputs, 3, 3) float32.
            bias: (outputs,) float32.
            dilation: 1 or 2; the padding at the sides is the same.
            relu: whether a ReLU follows.
            workers: with memory for at least as many channels as inputs and outputs.
        """
        outputs, inputs = weight.shape[:2]
        # Rows and columns at once: (36, 9).
        both = torch.from_numpy(np.kron(FILTER_TRANSFORM, FILTER_TRANSFORM))
        filters, by_point = weight.reshape(-1, 9), torch.empty(POINTS, outputs * inputs)
        for some, place in zip(
            filters.split(BLOCK_FILTERS), by_point.split(BLOCK_FILTERS, dim=1), strict=True
        ):
            place.copy_(both @ some.double().T)
        by_point = by_point.reshape(POINTS, outputs, inputs)
        self._filters = [prepack(of_point, BLOCK_TILES) for of_point in by_point]
        self._bias: FloatArray = bias.float().numpy()
        self._zero: FloatArray = np.zeros(inputs, np.float32)
        self._dilation = dilation
        self._relu = relu
        self._workers = workers

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(H, W, inputs) float32 to (H - 2 dilation, W, outputs), both contiguous."""
        outputs, dilation = len(self._bias), self._dilation
        height, width, inputs = len(x) - 2 * dilation, x.shape[1], x.shape[2]
        rows, columns = (math.ceil(size / (dilation * TILE)) for size in (height, width))
        tiles = rows * columns * dilation * dilation
        pixels, out = x.numpy(), torch.empty(height, width, outputs)
        written = out.numpy()

        def convolve_block(first: int, end: int) -> None:
            transformed, products = self._workers.blocks(inputs, outputs)
            where = (first, end - first, rows, columns, dilation)
            _transform_input(pixels, self._zero, transformed.numpy(), *where)
            for point, filters in enumerate(self._filters):
                products[point, : end - first] = multiply_transposed(
                    transformed[point, : end - first], filters
                )
            _transform_output(products.numpy(), self._bias, self._relu, written, *where)

        # Blocks of like size: a small last one would take another path through the BLAS, which
        # sums in another order.
        blocks = math.ceil(tiles / BLOCK_TILES)
        self._workers.run(convolve_block, [tiles * i // blocks for i in range(blocks + 1)])
        return out
