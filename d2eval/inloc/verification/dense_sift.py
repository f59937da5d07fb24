"""Dense SIFT as VLFeat computes it: vl_phow of one size, with the flat window ("fast").

Source: VLFeat 0.9.20, toolbox/sift/vl_phow.m, toolbox/imop/vl_imsmooth.c, vl/dsift.c. Its
approximate arcus tangent (0.35 degrees) is kept, its approximate square roots are not.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse

from d2eval.foundation.arrays.compiled import compiled

FloatArray = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.uint8]

BINS = 4  # along each axis
ORIENTATIONS = 8
CLIP = 0.2
QUANTUM = 512  # a descriptor's element 1.0 in bytes, before they are cut to 255
EPSILON = 1.19209290e-07  # of float32
L1_EPSILON = 1e-12


@dataclass(frozen=True)
class DenseSiftSettings:
    """What vl_phow is given."""

    bin_size: int  # side of a spatial bin, pixels
    step: int  # distance of neighbouring descriptors, pixels
    magnification: float  # the image is smoothed by a Gaussian of bin_size / magnification pixels
    window_size: float  # standard deviation of the Gaussian that weights bins, in bins
    contrast_threshold: float  # a descriptor of a lower mean gradient is zero


@dataclass(frozen=True, eq=False)
class DenseSift:
    """Descriptors on a grid, row by row."""

    centers: npt.NDArray[np.int64]  # (N, 2) int, x and y of the middle pixel
    descriptors: Descriptors  # (N, 128) uint8: bins by y, by x, orientations


def _smooth(image: FloatArray, sigma: float) -> FloatArray:
    """Gaussian of 4 standard deviations, the outermost pixels repeated."""
    radius = math.ceil(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    smooth = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)


@compiled(nogil=True)
def _angle(gy, gx):  # type: ignore[no-untyped-def]
    """VLFeat's approximation of atan2, in 0..2 pi."""
    away = abs(gy) + np.float32(EPSILON)
    if gx >= 0:
        r, angle = (gx - away) / (gx + away), np.float32(math.pi / 4)
    else:
        r, angle = (gx + away) / (away - gx), np.float32(3 * math.pi / 4)
    angle += (np.float32(0.1821) * r * r - np.float32(0.9675)) * r
    if gy < 0:
        angle = -angle
    return angle + np.float32(2 * math.pi) if angle < 0 else angle


@compiled(nogil=True)
def _split_gradients(image):  # type: ignore[no-untyped-def]
    """(H, W, 8) gradient magnitude, shared between the two nearest orientations."""
    height, width = image.shape
    planes = np.zeros((height, width, ORIENTATIONS), np.float32)
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            gy = (image[down, x] - image[up, x]) / np.float32(down - up)
            gx = (image[y, right] - image[y, left]) / np.float32(right - left)
            magnitude = math.sqrt(gx * gx + gy * gy)
            position = _angle(gy, gx) * np.float32(ORIENTATIONS / (2 * math.pi))
            lower = int(position)
            share = position - np.float32(lower)
            planes[y, x, lower % ORIENTATIONS] = (np.float32(1) - share) * magnitude
            planes[y, x, (lower + 1) % ORIENTATIONS] = share * magnitude
    return planes


def _triangle(length: int, size: int, spacing: int) -> sparse.csr_array:
    """(positions, length): sums under a triangle of height 1 around every ``spacing``-th pixel."""
    positions = np.arange(0, length, spacing)
    offsets = np.arange(1 - size, size)
    columns = (positions[:, None] + offsets).clip(0, length - 1)
    weights = np.tile(1 - np.abs(offsets) / size, (len(positions), 1)).astype(np.float32)
    rows = np.repeat(np.arange(len(positions)), len(offsets))
    return sparse.csr_array(
        (weights.ravel(), (rows, columns.ravel())), shape=(len(positions), length)
    )


def _bin_weights(settings: DenseSiftSettings) -> FloatArray:
    """(4,) means of the Gaussian window over the bins of an axis."""
    size = settings.bin_size
    middles = size * (np.arange(BINS) - (BINS - 1) / 2)
    z = (np.arange(1 - size, size) - middles[:, None]) / (size * settings.window_size)
    return np.exp(-0.5 * z**2).mean(axis=1).astype(np.float32)


@compiled(nogil=True)
def _normalize(histogram):  # type: ignore[no-untyped-def]
    """Divides by the length, in place."""
    square = np.float32(0)
    for k in range(len(histogram)):
        square += histogram[k] * histogram[k]
    inverse = np.float32(1) / (np.float32(math.sqrt(square)) + np.float32(EPSILON))
    for k in range(len(histogram)):
        histogram[k] *= inverse


@compiled(nogil=True)
def _describe(sums, shape, stride, reach, weights, least_mass):  # type: ignore[no-untyped-def]
    """(rows * columns, 128) bytes from sums around bin centres.

    Descriptors are ``stride`` centres apart, their bins ``reach`` centres.
    """
    rows, columns = shape
    found = np.zeros((rows * columns, BINS * BINS * ORIENTATIONS), np.uint8)
    histogram = np.empty(BINS * BINS * ORIENTATIONS, np.float32)
    for n in range(rows * columns):
        top, left = n // columns * stride, n % columns * stride
        mass = np.float32(0)
        for b in range(BINS * BINS):
            by, bx = b // BINS, b % BINS
            weight = weights[by] * weights[bx]
            for t in range(ORIENTATIONS):
                value = weight * sums[left + bx * reach, top + by * reach, t]
                histogram[b * ORIENTATIONS + t] = value
                mass += value
        if mass < least_mass:
            continue
        _normalize(histogram)
        for k in range(len(histogram)):
            histogram[k] = min(histogram[k], np.float32(CLIP))
        _normalize(histogram)
        for k in range(len(histogram)):
            found[n, k] = np.uint8(min(np.float32(QUANTUM) * histogram[k], np.float32(255)))
    return found


def dense_sift(image: FloatArray, settings: DenseSiftSettings) -> DenseSift:
    """Upright descriptors of one size on a grid whose first bin lies on the top-left pixel.

    As ``vl_phow(image, 'sizes', bin_size, 'step', step)``: descriptors are normalised, clipped at
    0.2, normalised and cut to bytes; those of low contrast are zero.

    ``image`` is (H, W) grey, of any range; the contrast threshold is in its unit.

    Returns:
        None in an image that is smaller than a descriptor (3 bins and a pixel).
    """
    size, step = settings.bin_size, settings.step
    height, width = image.shape
    extent = (BINS - 1) * size
    rows, columns = (max(0, (side - 1 - extent) // step + 1) for side in (height, width))
    x, y = np.meshgrid(np.arange(columns) * step, np.arange(rows) * step)
    centers = np.stack([x.ravel(), y.ravel()], axis=1) + extent // 2
    if not len(centers):
        return DenseSift(centers, np.zeros((0, BINS * BINS * ORIENTATIONS), np.uint8))
    planes = _split_gradients(_smooth(image.astype(np.float32), size / settings.magnification))
    spacing = math.gcd(size, step)  # bins' centres lie on this grid; nothing else is computed
    down, across = (_triangle(side, size, spacing) for side in (height, width))
    sums = (down @ planes.reshape(height, -1)).reshape(-1, width, ORIENTATIONS)
    sums = (across @ sums.transpose(1, 0, 2).reshape(width, -1)).reshape(
        across.shape[0], down.shape[0], ORIENTATIONS
    )
    least_mass = np.float32(settings.contrast_threshold * (extent + 1) ** 2)
    stride, reach = step // spacing, size // spacing
    weights = _bin_weights(settings)
    return DenseSift(centers, _describe(sums, (rows, columns), stride, reach, weights, least_mass))


def root_sift(descriptors: Descriptors) -> FloatArray:
    """(N, 128) float32: square roots of shares of the sum; zero stays zero.

    Source: Arandjelovic and Zisserman, Three things everyone should know (CVPR 2012).
    """
    values = descriptors.astype(np.float32)
    return np.sqrt(values / (values.sum(axis=1, keepdims=True) + np.float32(L1_EPSILON)))
