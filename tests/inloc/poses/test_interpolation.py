import numpy as np
import pytest
import torch

from d2eval.inloc.poses.interpolation import interpolate_xyz

MODES = ["bilinear", "nearest", "hloc"]


def ramp(width=6, height=5):
    """x, y and 10 x + y at every pixel: bilinear interpolation gives the place itself."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y, 10 * x + y], axis=2).astype(np.float64)


def at(xyz, mode, *points):
    return interpolate_xyz(xyz, np.array(points, np.float32).reshape(-1, 2), mode)


@pytest.mark.parametrize("mode", ["bilinear", "hloc"])
def test_bilinear_weights(mode):
    xyz = ramp()
    xyz[2, 3] += [0, 0, 8]  # one corner more: with weight 1/4 * 3/4
    found = at(xyz, mode, (0.5, 1.25), (2.25, 2.25), (4.75, 3.5))
    corner = 8 * 0.25 * 0.75
    np.testing.assert_allclose(
        found, [[0.5, 1.25, 6.25], [2.25, 2.25, 24.75 + corner], [4.75, 3.5, 51]]
    )


def test_nearest_takes_the_right_and_lower_of_two():
    found = at(ramp(), "nearest", (1.49, 2.51), (1.5, 2.5), (0.2, 0), (5, 4))
    np.testing.assert_array_equal(found[:, :2], [[1, 3], [2, 3], [0, 0], [5, 4]])


def test_all_four_neighbours_need_depth():
    xyz = ramp()
    xyz[2, 3] = np.nan
    around = [(2.5, 1.5), (3.5, 1.5), (2.5, 2.5), (3.5, 2.5)]
    assert np.isnan(at(xyz, "bilinear", *around)).all()
    assert np.isfinite(at(xyz, "bilinear", (1.99, 1.5), (4.01, 2.5), (3, 0.99), (3, 3.01))).all()


def test_a_neighbour_without_depth_spoils_a_point_on_a_pixel():
    """As in interp2: its weight is 0, but 0 NaN is NaN. The neighbours are right and below."""
    xyz = ramp()
    xyz[2, 3] = np.nan
    found = at(xyz, "bilinear", (2, 2), (3, 1), (2, 1), (4, 2), (3, 3))
    assert np.isnan(found).all(axis=1).tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(at(xyz, "hloc", (2, 2), (3, 1))[:, :2], [[2, 2], [3, 1]])


def test_one_unknown_coordinate_makes_the_point_unknown():
    xyz = ramp()
    xyz[2, 3, 1] = np.nan
    for mode in MODES:
        assert np.isnan(at(xyz, mode, (3.1, 2.1))).all()


def test_hloc_takes_the_nearest_where_bilinear_fails():
    xyz = ramp()
    xyz[2, 3] = np.nan
    found = at(xyz, "hloc", (2.3, 1.6), (3.6, 2.4), (2.6, 2.4), (1.5, 1.5))
    np.testing.assert_allclose(found[:, :2], [[2, 2], [4, 2], [np.nan] * 2, [1.5, 1.5]])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_borders(mode):
    corners = [(0, 0), (5, 0), (0, 4), (5, 4)]
    np.testing.assert_array_equal(at(ramp(), mode, *corners)[:, :2], corners)
    np.testing.assert_allclose(
        at(ramp(), "bilinear", (5, 1.5), (2.5, 4))[:, :2], [(5, 1.5), (2.5, 4)]
    )
    beyond = [(-0.01, 2), (5.01, 2), (2, -0.01), (2, 4.01)]
    assert np.isnan(at(ramp(), mode, *beyond)).all()


def test_hloc_leaves_the_border_out():
    border = [(0, 2), (5, 2), (2, 0), (2, 4), (-0.3, 2), (2, 4.3)]
    assert np.isnan(at(ramp(), "hloc", *border)).all()
    assert np.isfinite(at(ramp(), "hloc", (0.001, 2), (4.999, 2), (2, 0.001), (2, 3.999))).all()


@pytest.mark.parametrize("mode", MODES)
def test_narrow_maps_and_no_points(mode):
    assert interpolate_xyz(ramp(), np.zeros((0, 2)), mode).shape == (0, 3)
    if mode != "hloc":
        found = at(ramp(1, 3), mode, (0, 2), (0, 0))
        np.testing.assert_array_equal(found, [[0, 2, 2], [0, 0, 0]])


def test_hloc_equals_its_grid_sample():
    """interpolate_scan written with the function that hloc uses."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(30, 40, 3))
    xyz[rng.random((30, 40)) < 0.3] = np.nan
    points = rng.uniform(0.01, [38.9, 28.9], (500, 2))
    scan = torch.from_numpy(xyz).permute(2, 0, 1)[None]
    grid = torch.from_numpy(points / [[39, 29]] * 2 - 1)[None, None]
    linear, nearest = (
        torch.nn.functional.grid_sample(scan, grid, mode=mode, align_corners=True)[
            0, :, 0
        ].T.numpy()
        for mode in ("bilinear", "nearest")
    )
    expected = np.where(np.isnan(linear), nearest, linear)
    found = interpolate_xyz(xyz, points, "hloc")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    filled = np.isnan(linear).any(axis=1) & ~np.isnan(expected).any(axis=1)
    assert filled.mean() > 0.2


@pytest.mark.parametrize("mode", MODES)
def test_single_precision_maps_keep_double_weights(mode):
    single = at(ramp().astype(np.float32), mode, (1.1, 2.2))
    assert single.dtype == np.float64
    np.testing.assert_array_equal(single, at(ramp(), mode, (1.1, 2.2)))
