"""One value for all outputs of a convolution that see the same.

Where an image is constant, or constant along rows or columns, so is every map of it. Rounding
breaks that: Winograd's depends on an output's place in its tile, and library routines may sum in
another order at the end of a row or of a block. The bumps of a millionth that come of it, on a
plateau, are local maxima and were keypoints. Therefore it is followed through the layers, from the
pixels on, which outputs must be equal to their neighbours, and what a layer gave there is replaced
by the convolution of one such window in a fixed order, the same on every device and in every strip.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch

from d2eval.foundation.arrays.compiled import compiled

Flags = npt.NDArray[np.uint8]
LEFT, UP = 1, 2  # equal to the left neighbour, to the upper one
CELLS_AT_ONCE = 4096  # written; what is gathered for them stays small


@compiled(nogil=True)
def _compare(pixels, above, flags):  # type: ignore[no-untyped-def]
    """Flags of the rows (R, W, C); ``above`` (W, C) lies above them."""
    rows, width, channels = pixels.shape
    for i in range(rows):
        upper = above if i == 0 else pixels[i - 1]
        for j in range(width):
            left, up = j > 0, True
            for c in range(channels):
                value = pixels[i, j, c]
                left = left and value == pixels[i, j - 1, c]
                up = up and value == upper[j, c]
                if not (left or up):
                    break
            flags[i, j] = LEFT * left + UP * up


def equal_neighbours(pixels: torch.Tensor, above: torch.Tensor | None) -> Flags:
    """Which pixels equal their left and upper neighbours.

    Args:
        pixels: (R, W, C), on any device.
        above: (W, C), the row above; None at the top of the image.

    Returns:
        (R, W) of `LEFT` and `UP`.
    """
    rows = pixels.float().cpu().numpy()
    flags = np.empty(rows.shape[:2], np.uint8)
    _compare(rows, rows[0] if above is None else above.float().cpu().numpy(), flags)
    if above is None:
        flags[0] &= LEFT
    return flags


def _all(flags: Flags, length: int, stride: int) -> Flags:
    """Bits that are set in all of ``length`` rows, for a window every ``stride`` rows."""
    end = len(flags) - length + 1
    found = flags[0:end:stride].copy()
    for i in range(1, length):
        found &= flags[i : end + i : stride]
    return found


def propagate(flags: Flags, kernel: int, stride: int, padding: int) -> Flags:
    """Which outputs of a layer equal their neighbours because all that they see does.

    Args:
        flags: of its input, (H, W).
        kernel: how far its windows reach in either direction, also between a dilated one's points.
        stride: between windows.
        padding: zeros on every side.
    """
    if padding:
        height, width = flags.shape
        flags = np.pad(flags, padding, constant_values=LEFT | UP)  # zeros are equal
        flags[padding : padding + height, padding + width] &= UP
        flags[padding + height, padding : padding + width] &= LEFT
    # The windows of two neighbours together are longer by the stride; the first has no neighbour.
    both = kernel + stride - 1
    beside = np.pad(flags, ((0, 0), (stride - 1, 0)))
    left = _all(_all(beside, kernel, stride).T, both, stride).T
    if stride == 1:
        return left  # the two unions are windows of the same shape
    up = _all(_all(np.pad(flags, ((stride - 1, 0), (0, 0))), both, stride).T, kernel, stride).T
    return (left & np.uint8(LEFT)) | (up & np.uint8(UP))


@compiled(nogil=True)
def _groups(flags, rows):  # type: ignore[no-untyped-def]
    """Cells of the first ``rows`` rows that equal a neighbour, and which are equal to which.

    Returns:
        cells (N,): row * width + column; groups (N,): the number of each one's group; and firsts
        (G,): the first cell of each group. Groups may be equal among each other.
    """
    height, width = flags.shape
    cells = np.empty(rows * width, np.int64)
    groups = np.empty(rows * width, np.int64)
    firsts = np.empty(rows * width, np.int64)
    group_of = np.full((2, width), -1, np.int64)  # of the row above and of this one
    found = made = 0
    for i in range(rows):
        above, here = group_of[(i + 1) % 2], group_of[i % 2]
        for j in range(width):
            up, left = flags[i, j] & UP, flags[i, j] & LEFT
            below = i + 1 < height and flags[i + 1, j] & UP
            right = j + 1 < width and flags[i, j + 1] & LEFT
            here[j] = -1
            if not (up or left or below or right):
                continue
            if up and i > 0:
                here[j] = above[j]
            elif left:
                here[j] = here[j - 1]
            else:
                here[j] = made
                firsts[made] = i * width + j
                made += 1
            cells[found] = i * width + j
            groups[found] = here[j]
            found += 1
    return cells[:found], groups[:found], firsts[:made]


@compiled(nogil=True)
def _convolve_windows(windows, taps, bias, out):  # type: ignore[no-untyped-def]
    """Windows (N, K) times taps (K, O) plus bias (O,), each sum from the first tap to the last.

    Products of two float32 are exact in float64, so fusing them with sums changes nothing.
    """
    outputs = len(bias)
    total = np.empty(outputs, np.float64)
    for n in range(len(windows)):
        for o in range(outputs):  # assigned as a whole, they take 3 s more to be compiled
            total[o] = bias[o]
        for k in range(len(taps)):
            value = np.float64(windows[n, k])
            if value != 0:
                for o in range(outputs):
                    total[o] += value * np.float64(taps[k, o])
        for o in range(outputs):
            out[n, o] = total[o]


class WindowConvolution:
    """A 3x3 convolution of single windows, whose sums depend on nothing but the window."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dilation: int, relu: bool) -> None:
        """Takes the weights.

        Args:
            weight: (outputs, inputs, 3, 3), of any precision, on any device.
            bias: (outputs,).
            dilation: 1 or 2.
            relu: whether a ReLU follows.
        """
        self.outputs = len(weight)
        self.dilation = dilation
        self._weight = weight
        self._bias = bias.float().cpu().numpy()
        self._relu = relu

    @functools.cached_property
    def _taps(self) -> npt.NDArray[np.float32]:
        """The weights as (9 inputs, outputs), laid out when a flat image first needs them."""
        taps = self._weight.float().cpu().permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        del self._weight
        return taps.numpy()

    def _windows(self, x: torch.Tensor, cells: torch.Tensor, width: int) -> torch.Tensor:
        """(N, 9 inputs): what the output cells see of ``x``, zeros beside it."""
        step = self.dilation * torch.arange(3, device=x.device)
        rows = (cells // width)[:, None, None] + step[:, None]
        columns = (cells % width)[:, None, None] + step - self.dilation
        inside = (columns >= 0) & (columns < width)
        return (x[rows, columns.clamp(0, width - 1)] * inside[..., None]).flatten(1)

    def unify(self, x: torch.Tensor, y: torch.Tensor, flags: Flags) -> None:
        """Writes one value into all cells of ``y`` that see the same.

        Args:
            x: the layer's input, (rows + 2 dilation, W, inputs).
            y: its output, (rows, W, outputs), contiguous; changed in place.
            flags: of ``y``, and of the row that follows unless that is the end of the map.
        """
        rows, width = y.shape[:2]
        cells, groups, firsts = (torch.from_numpy(v) for v in _groups(flags, rows))
        if not len(cells):
            return
        windows = self._windows(x, firsts.to(x.device), width).float().cpu()
        values = np.empty((len(firsts), self.outputs), np.float32)
        _convolve_windows(windows.numpy(), self._taps, self._bias, values)
        of_group = torch.from_numpy(values).to(y)
        if self._relu:
            of_group.relu_()
        at = y.view(rows * width, self.outputs)
        for some, their in zip(
            cells.to(y.device).split(CELLS_AT_ONCE), groups.to(y.device).split(CELLS_AT_ONCE),
            strict=True,
        ):  # fmt: skip
            at[some] = of_group[their]
