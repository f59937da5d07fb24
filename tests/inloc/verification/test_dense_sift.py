import math

import numpy as np
import pytest

from d2eval.inloc.verification.dense_sift import DenseSiftSettings, dense_sift, root_sift

PHOW = DenseSiftSettings(
    bin_size=8, step=4, magnification=6.0, window_size=1.5, contrast_threshold=0.005
)
SMALL = DenseSiftSettings(
    bin_size=3, step=2, magnification=6.0, window_size=1.5, contrast_threshold=0.005
)


def smooth(image, sigma):
    reach = math.ceil(4 * sigma)
    weights = [math.exp(-((d / sigma) ** 2) / 2) for d in range(-reach, reach + 1)]
    weights = np.array(weights) / sum(weights)
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], "edge")
        image = sum(
            w * np.take(padded, range(k, k + image.shape[axis]), axis)
            for k, w in enumerate(weights)
        )
    return image


def arcus(gy, gx):
    """vl_fast_atan2_f."""
    away = abs(gy) + 1.19209290e-07
    r = (gx - away) / (gx + away) if gx >= 0 else (gx + away) / (away - gx)
    angle = math.pi / 4 if gx >= 0 else 3 * math.pi / 4
    angle += (0.1821 * r * r - 0.9675) * r
    return (-angle if gy < 0 else angle) % (2 * math.pi)


def gradients(image):
    """(H, W, 8) by vl_dsift_process: one-sided differences at the border."""
    gy, gx = np.gradient(image)
    split = np.zeros((*image.shape, 8))
    for y, x in np.ndindex(image.shape):
        turn = arcus(gy[y, x], gx[y, x]) / (2 * math.pi) * 8
        low, length = math.floor(turn), math.hypot(gy[y, x], gx[y, x])
        split[y, x, low % 8] += (low + 1 - turn) * length
        split[y, x, (low + 1) % 8] += (turn - low) * length
    return split


def describe(split, top, left, settings):
    """One descriptor, gradient by gradient; its first bin lies on (left, top)."""
    size, (height, width) = settings.bin_size, split.shape[:2]

    def window(b):
        sigma = size * settings.window_size
        places = [d - size * (b - 1.5) for d in range(1 - size, size)]
        return sum(math.exp(-0.5 * (p / sigma) ** 2) for p in places) / len(places)

    histogram = np.zeros((4, 4, 8))
    for by, bx in np.ndindex(4, 4):
        for dy in range(1 - size, size):
            for dx in range(1 - size, size):
                y = min(max(top + by * size + dy, 0), height - 1)
                x = min(max(left + bx * size + dx, 0), width - 1)
                share = (1 - abs(dy) / size) * (1 - abs(dx) / size)
                histogram[by, bx] += share * window(by) * window(bx) * split[y, x]
    values = histogram.ravel()
    if values.sum() / (3 * size + 1) ** 2 < settings.contrast_threshold:
        return np.zeros(128, int)
    values = np.minimum(values / (np.linalg.norm(values) + 1.19209290e-07), 0.2)
    values = values / (np.linalg.norm(values) + 1.19209290e-07)
    return np.minimum(512 * values, 255).astype(int)


def photo(height, width, seed=0):
    rough = np.random.default_rng(seed).normal(size=(height, width))
    return smooth(rough, 1.0).astype(np.float32) * 3


@pytest.mark.parametrize(("settings", "size"), [(SMALL, (15, 18)), (PHOW, (30, 34))])
def test_equals_a_loop_over_gradients(settings, size):
    image = photo(*size)
    split = gradients(smooth(image.astype(float), settings.bin_size / settings.magnification))
    found = dense_sift(image, settings)
    expected, centers = [], []
    extent = 3 * settings.bin_size
    for top in range(0, size[0] - extent, settings.step):
        for left in range(0, size[1] - extent, settings.step):
            expected.append(describe(split, top, left, settings))
            centers.append([left + extent // 2, top + extent // 2])
    assert found.centers.tolist() == centers
    difference = np.abs(found.descriptors.astype(int) - np.array(expected))
    assert difference.max() <= 1  # where the rounding to bytes falls the other way
    assert (difference == 0).mean() > 0.99


def test_the_grid_of_the_protocol():
    found = dense_sift(photo(60, 80), PHOW)
    # Centres from 12 (1 + 3/2 * 8 in MATLAB) every 4 pixels, as long as the last bin is inside.
    assert sorted(set(found.centers[:, 0].tolist())) == list(range(12, 80 - 12, 4))
    assert sorted(set(found.centers[:, 1].tolist())) == list(range(12, 60 - 12, 4))
    assert found.descriptors.shape == (len(found.centers), 128)


@pytest.mark.parametrize(
    ("x_slope", "y_slope", "orientation"), [(1, 0, 0), (0, 1, 2), (-1, 0, 4), (0, -1, 6), (1, 1, 1)]
)
def test_a_ramp_has_one_orientation(x_slope, y_slope, orientation):
    y, x = np.mgrid[:80, :80].astype(np.float32)
    found = dense_sift(x_slope * x + y_slope * y, PHOW)
    middle = found.descriptors[(found.centers == 40).all(axis=1)].reshape(4, 4, 8)
    others = np.delete(middle, orientation, axis=2)
    assert others.max() <= 1
    # A ramp's bins differ by the window alone: outer, inner, inner, outer. All but the corners are
    # above 0.2 after the first normalisation.
    z = [(np.arange(-7, 8) + offset) / 12 for offset in (12, 4)]
    outer, inner = (np.exp(-0.5 * part**2).mean() for part in z)
    weights = np.outer([outer, inner, inner, outer], [outer, inner, inner, outer])
    first = weights / np.linalg.norm(weights)
    assert (first > 0.2).sum() == 12
    clipped = np.minimum(first, 0.2)
    expected = np.minimum(512 * clipped / np.linalg.norm(clipped), 255)
    np.testing.assert_allclose(middle[:, :, orientation], expected, atol=1.5)


def test_a_shift_by_one_step_moves_descriptors():
    image = photo(100, 120)
    whole, moved = dense_sift(image, PHOW), dense_sift(image[4:, 8:], PHOW)
    descriptors = {
        tuple(c): d for c, d in zip(whole.centers.tolist(), whole.descriptors, strict=True)
    }
    inner = [
        (d, descriptors[x + 8, y + 4])
        for (x, y), d in zip(moved.centers.tolist(), moved.descriptors, strict=True)
        if 30 <= x < 80 and 30 <= y < 65  # untouched by the border
    ]
    assert len(inner) > 50
    for one, other in inner:
        np.testing.assert_array_equal(one, other)


def test_a_mirror_and_a_quarter_turn_permute_descriptors():
    image = photo(49, 49)  # (49 - 25) is a multiple of the step: the grid is symmetric
    bins = dense_sift(image, PHOW).descriptors.reshape(7, 7, 4, 4, 8).astype(int)
    mirrored = dense_sift(image[:, ::-1], PHOW).descriptors.reshape(7, 7, 4, 4, 8).astype(int)
    opposite = [(4 - t) % 8 for t in range(8)]
    assert np.abs(mirrored[:, ::-1, :, ::-1][..., opposite] - bins).max() <= 1
    turned = dense_sift(np.rot90(image), PHOW).descriptors.reshape(7, 7, 4, 4, 8).astype(int)
    back = np.rot90(np.rot90(turned, -1), -1, axes=(2, 3))
    # x to the right becomes up: orientation 0 lies in bin 6 of the turned image.
    assert np.abs(back[..., [(t + 6) % 8 for t in range(8)]] - bins).max() <= 1


def test_low_contrast_is_zero_and_contrast_else_has_no_effect():
    image = photo(60, 60)
    strong, weak = dense_sift(image, PHOW), dense_sift(image * 0.5, PHOW)
    assert np.abs(strong.descriptors.astype(int) - weak.descriptors).max() <= 1
    assert dense_sift(image * 1e-3, PHOW).descriptors.max() == 0
    assert dense_sift(np.zeros((60, 60), np.float32), PHOW).descriptors.max() == 0


@pytest.mark.parametrize(("size", "count"), [((25, 25), 1), ((24, 100), 0), ((3, 3), 0)])
def test_images_that_hardly_hold_a_descriptor(size, count):
    found = dense_sift(photo(*size), PHOW)
    assert found.descriptors.shape == (count, 128)
    assert found.centers.shape == (count, 2)


def test_root_sift_by_hand():
    descriptors = np.zeros((2, 128), np.uint8)
    descriptors[0, :3] = [64, 128, 64]
    roots = root_sift(descriptors)
    np.testing.assert_allclose(roots[0, :3], [0.5, math.sqrt(0.5), 0.5], rtol=1e-6)
    assert roots[0, 3:].max() == 0
    assert roots[1].max() == 0
