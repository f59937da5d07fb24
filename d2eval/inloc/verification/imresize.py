"""Images made smaller as MATLAB's imresize makes them: bicubic with antialiasing."""

import math

import numpy as np
import numpy.typing as npt
from scipy import sparse

KERNEL_RADIUS = 2.0


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys's kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= KERNEL_RADIUS, far, 0.0))


def _weights(length: int, factor: int) -> sparse.csr_array:
    """(smaller length, length) float32: what each pixel takes from which; mirrored at the ends."""
    count = math.ceil(length / factor)
    centers = np.arange(count) * factor + (factor - 1) / 2
    reach = math.ceil(2 * KERNEL_RADIUS * factor) + 2
    sources = np.floor(centers - KERNEL_RADIUS * factor)[:, None] + np.arange(reach)
    weights = _cubic((centers[:, None] - sources) / factor)
    weights /= weights.sum(axis=1, keepdims=True)
    period = np.mod(sources.astype(np.int64), 2 * length)
    columns = np.minimum(period, 2 * length - 1 - period)
    rows = np.repeat(np.arange(count), reach)
    entries = (weights.ravel().astype(np.float32), (rows, columns.ravel()))
    return sparse.csr_array(entries, shape=(count, length))


def _apply(weights: sparse.csr_array, plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Rows of ``plane`` weighted and rounded, halves up."""
    values = weights @ plane.astype(np.float32)
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def shrink(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """An image smaller by a whole ``factor``, as ``imresize(image, 1 / factor)``.

    First columns, then rows; both results are rounded to whole numbers, as MATLAB does with
    images of bytes. A side that isn't a multiple of ``factor`` is rounded up.

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) uint8.
    """
    height, width = image.shape[:2]
    down, across = _weights(height, factor), _weights(width, factor)
    planes = [_apply(across, _apply(down, image[..., c]).T).T for c in range(image.shape[2])]
    return np.ascontiguousarray(np.stack(planes, axis=2))
