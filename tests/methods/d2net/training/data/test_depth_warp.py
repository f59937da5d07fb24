"""Warps by depth and pose: worked out by hand, by loops, and there and back; crops at borders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from methods.d2net.training.data.depth_warp import (
    PosedView,
    crop_pair,
    sample_depth,
    shared_point,
    warp,
)
from methods.d2net.training.data.pairs import cell_centers

FOCAL = 100.0


def camera(width, height, focal=FOCAL):
    """The principal point is the image's centre, counted from its corner."""
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def pose(rotation=(0, 0, 0), translation=(0, 0, 0)):
    """World to camera, of a rotation vector in degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation, degrees=True).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def plane_view(size, cam_from_world, normal=(0, 0, 1.0), distance=4.0, focal=FOCAL):
    """A view of (width, height) of the plane normal . x = distance, its depth by ray casting."""
    width, height = size
    k = camera(width, height, focal)
    rotation, translation = cam_from_world[:3, :3], cam_from_world[:3, 3]
    depth = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            ray = np.linalg.inv(k) @ [x + 0.5, y + 0.5, 1]
            # normal . R^T (z ray - t) = distance
            toward = np.dot(normal, rotation.T @ ray)
            z = (distance + np.dot(normal, rotation.T @ translation)) / toward
            depth[y, x] = max(z, 0)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return PosedView(image, depth, k, cam_from_world)


def flat_view(size=(40, 30), depth=4.0, cam_from_world=None):
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    known = np.full((height, width), depth, np.float32)
    return PosedView(image, known, camera(width, height), pose() if cam_from_world is None else (
        cam_from_world
    ))  # fmt: skip


def test_depth_between_pixels():
    depth = np.array([[1, 2, 3], [5, 6, 0], [9, 10, 11]], np.float32)
    points = np.array([[0, 0], [0.5, 0], [0.25, 0.5], [1, 1], [2, 2], [0.5, 2], [2, 0]], float)
    values, known = sample_depth(depth, points)
    assert known.all()
    assert values == pytest.approx([1, 1.5, 0.75 * 3 + 0.25 * 4, 6, 11, 9.5, 3])


def test_depth_is_not_known_beside_holes_and_outside():
    depth = np.array([[1, 2, 3], [5, 6, 0], [9, 10, 11]], np.float32)
    points = [[2, 1], [1.01, 1], [1.5, 0.01], [1.5, 1.99], [-0.01, 0], [0, 2.01], [np.nan, 1]]
    values, known = sample_depth(depth, np.array([*points, [np.inf, 0]], float))
    assert not known.any()
    assert (values == 0).all()


def test_a_camera_that_steps_aside():
    # World points move by (-0.2, 0.1): 100 px * 0.2 / 4 = 5 px left, 2.5 px down.
    first, second = flat_view(), flat_view(cam_from_world=pose(translation=(-0.2, 0.1, 0)))
    points = np.array([[10.0, 10.0], [5.0, 3.0], [4.9, 3.0], [20.5, 26.5], [20.5, 26.6]])
    moved, seen = warp(first, second, points)
    assert moved[seen] == pytest.approx(points[seen] + (-5, 2.5))
    assert seen.tolist() == [True, True, False, True, False]


def test_a_camera_that_steps_forward():
    # At 4 m a point 10 px off the centre is 0.4 m off the axis; from 3.2 m it is at 12.5 px.
    first = flat_view()
    second = flat_view(depth=3.2, cam_from_world=pose(translation=(0, 0, -0.8)))
    center = np.array([19.5, 14.5])
    moved, seen = warp(first, second, center + np.array([[10.0, 0], [0, -8.0]]))
    assert seen.all()
    assert moved == pytest.approx(center + np.array([[12.5, 0], [0, -10.0]]))


def test_a_camera_that_turns_about_its_axis():
    # x to the right becomes y down.
    first, second = flat_view((40, 40)), flat_view((40, 40), cam_from_world=pose((0, 0, 90)))
    moved, seen = warp(first, second, np.array([[29.5, 19.5], [19.5, 10.0], [0.5, 0.25]]))
    assert seen.all()
    assert moved == pytest.approx(np.array([[19.5, 29.5], [29.0, 19.5], [38.75, 0.5]]))


def test_a_camera_that_turns_aside():
    # The axis of camera 1 is 10 degrees beside that of camera 2.
    turned = pose((0, 10, 0))
    first, second = plane_view((60, 40), pose()), plane_view((60, 40), turned)
    moved, seen = warp(first, second, np.array([[29.5, 19.5]]))
    assert seen.all()
    assert moved == pytest.approx(np.array([[29.5 + 100 * np.tan(np.deg2rad(10)), 19.5]]), abs=1e-4)


def test_intrinsics_of_both_cameras_count():
    first = flat_view()
    second = PosedView(
        np.zeros((80, 90, 3), np.uint8), np.full((80, 90), 4, np.float32),
        np.array([[200, 0, 40], [0, 150, 30], [0, 0, 1.0]]), pose(),
    )  # fmt: skip
    moved, seen = warp(first, second, np.array([[24.5, 16.5]]))  # 5 and 2 px off the axis
    assert seen.all()
    assert moved == pytest.approx(np.array([[40 + 10 - 0.5, 30 + 3 - 0.5]]))


@pytest.mark.parametrize(
    ("depth", "is_seen"),
    [(3.96, True), (4.04, True), (3.94, False), (4.06, False), (1.0, False), (0.0, False)],
)
def test_the_depths_must_agree_to_five_centimetres(depth, is_seen):
    _, seen = warp(flat_view(), flat_view(depth=depth), np.array([[10.0, 10.0]]))
    assert seen.tolist() == [is_seen]


def test_what_is_behind_something_is_not_seen():
    second = flat_view(cam_from_world=pose(translation=(-0.2, 0, 0)))
    second.depth[:, 10:20] = 2.0  # a post
    points = np.array([[x, 10.0] for x in range(5, 40)])
    moved, seen = warp(flat_view(), second, points)
    behind = (moved[:, 0] > 9) & (moved[:, 0] < 20)
    assert seen.tolist() == (~behind).tolist()


def test_what_is_behind_the_camera_is_not_seen():
    turned = pose((0, 180, 0))
    moved, seen = warp(flat_view(), flat_view(cam_from_world=turned), np.array([[10.0, 10.0]]))
    assert not seen.any()
    assert np.isnan(moved).all()


def slow_warp(first, second, point):
    """One point by scalar arithmetic; None if it isn't seen."""

    def interpolate(depth, x, y):
        height, width = depth.shape
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            return None
        total = 0.0
        for j in {int(np.floor(x)), int(np.ceil(x))}:
            for i in {int(np.floor(y)), int(np.ceil(y))}:
                if depth[i, j] <= 0:
                    return None
                total += float(depth[i, j]) * (1 - abs(x - j)) * (1 - abs(y - i))
        return total

    z = interpolate(first.depth, *point)
    if z is None:
        return None
    k = first.intrinsics
    local = [(point[0] + 0.5 - k[0, 2]) / k[0, 0] * z, (point[1] + 0.5 - k[1, 2]) / k[1, 1] * z, z]
    world = np.linalg.inv(first.cam_from_world) @ [*local, 1]
    x, y, depth, _ = second.cam_from_world @ world
    if depth <= 0:
        return None
    k = second.intrinsics
    u, v = k[0, 0] * x / depth + k[0, 2] - 0.5, k[1, 1] * y / depth + k[1, 2] - 0.5
    there = interpolate(second.depth, u, v)
    return (u, v) if there is not None and abs(there - depth) < 0.05 else None


def test_against_scalar_arithmetic():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(20):
        views = []
        for _ in range(2):
            view = plane_view((24, 18), pose(rng.normal(0, 3, 3), rng.normal(0, 0.1, 3)), focal=30)
            view.depth[rng.random(view.depth.shape) < 0.1] = 0
            view.depth[rng.random(view.depth.shape) < 0.1] += 0.2
            views.append(view)
        points = rng.uniform(-1, 24, (30, 2))
        moved, seen = warp(*views, points)
        for point, there, is_seen in zip(points, moved, seen, strict=True):
            expected = slow_warp(*views, point)
            assert is_seen == (expected is not None)
            if expected is not None:
                found += 1
                assert there == pytest.approx(expected, abs=1e-6)
    assert found > 50


small = st.floats(-1, 1)


@given(st.tuples(small, small, small), st.tuples(small, small, small), small, small)
@settings(max_examples=25, deadline=None)
def test_there_and_back_is_the_same_place(turn, step, slope_x, slope_y):
    normal = (0.2 * slope_x, 0.2 * slope_y, 1.0)
    moved_pose = pose(np.multiply(turn, 8), np.multiply(step, 0.3))
    first = plane_view((32, 24), pose(), normal)
    second = plane_view((32, 24), moved_pose, normal)
    points = np.stack(np.meshgrid(np.arange(0, 32, 4.3), np.arange(0, 24, 3.7)), -1).reshape(-1, 2)
    there, seen = warp(first, second, points)
    back, returned = warp(second, first, there[seen])
    # Depth is interpolated, which on a slanted plane is off by a little.
    assert back[returned] == pytest.approx(points[seen][returned], abs=0.02)
    inner = ((points[seen] > 1) & (points[seen] < (30, 22))).all(axis=1)
    assert returned[inner].all()


def numbered_view(width, height, cam_from_world=None):
    """Red and green of a pixel are its column and row; fronto-parallel at 4 m."""
    view = flat_view((width, height), cam_from_world=cam_from_world)
    view.image[:, :, 0] = np.arange(width) % 256
    view.image[:, :, 1] = np.arange(height)[:, None] % 256
    return view


@pytest.mark.parametrize(
    ("center", "left", "top"),
    [
        ((200.0, 150.0), 72, 22),
        ((200.4, 149.6), 72, 22),  # the pixel that holds it
        ((200.6, 149.4), 73, 21),
        ((0.0, 0.0), 0, 0),
        ((399.0, 299.0), 144, 44),
        ((130.0, 290.0), 2, 44),
    ],
)
def test_crops_stay_inside(center, left, top):
    view = numbered_view(400, 300)
    crop = view.crop(np.array(center))
    assert crop.image.shape == (256, 256, 3)
    assert crop.depth.shape == (256, 256)
    assert crop.image[0, 0].tolist() == [left, top, 0]
    assert crop.intrinsics[0, 2] == view.intrinsics[0, 2] - left
    assert crop.intrinsics[1, 2] == view.intrinsics[1, 2] - top
    assert view.intrinsics[0, 2] == 200  # as before


def test_crops_warp_as_the_images_do():
    first = numbered_view(400, 300)
    second = numbered_view(380, 320, pose((1, 2, 3), (-0.3, 0.2, 0.01)))
    center_1 = np.array([[180.0, 140.0]])
    center_2, seen = warp(first, second, center_1)
    assert seen.all()
    crops = first.crop(center_1[0]), second.crop(center_2[0])
    corners = [
        np.array(view.intrinsics[:2, 2] - crop.intrinsics[:2, 2])
        for view, crop in zip((first, second), crops, strict=True)
    ]
    points = np.array([[128.0, 128.0], [100.0, 90.5]])
    whole, _ = warp(first, second, points + corners[0])
    part, _ = warp(*crops, points)
    assert part + corners[1] == pytest.approx(whole)


def test_images_smaller_than_a_crop_are_padded_without_correspondences():
    view = numbered_view(200, 300)
    crop = view.crop(np.array([100.0, 200.0]))
    assert crop.image.shape == (256, 256, 3)
    assert (crop.image[:, :200] == view.image[44:, :]).all()
    assert not crop.image[:, 200:].any()
    assert not crop.depth[:, 200:].any()
    center = np.array([100.0, 150.0])
    pair = crop_pair("small", (view, view), (center, center))
    assert set(np.unique(pair.cells_1[:, 1])) == set(range(25))
    assert set(np.unique(pair.cells_1[:, 0])) == set(range(32))


def test_cells_of_a_pair_show_the_same_place():
    first = numbered_view(300, 280)
    second = numbered_view(300, 280, pose(translation=(-0.64, 0.32, 0)))  # 16 px left, 8 down
    pair = crop_pair("pair", (first, second), (np.array([150.0, 140.0]), np.array([134.0, 148.0])))
    assert pair.name == "pair"
    # Crops begin at column 22 and 6, both 16 px apart as the places are, and at row 12 and 20.
    assert (pair.cells_1 == pair.cells_2).all()
    assert len(pair.cells_1) == 32 * 32
    shown = [
        image[(y - 0.5).astype(int), (x - 0.5).astype(int), :2].astype(int)
        for image, (x, y) in (
            (pair.image_1, cell_centers(pair.cells_1).T),
            (pair.image_2, cell_centers(pair.cells_2).T),
        )
    ]
    assert ((shown[1] - shown[0] - (-16, 8)) % 256 == 0).all()


@pytest.mark.parametrize(("side", "cells"), [(11 * 8, None), (12 * 8, 144)])
def test_fewer_than_128_correspondences_give_no_pair(side, cells):
    view = numbered_view(256, 256)
    view.depth[side:] = 0
    view.depth[:, side:] = 0
    center = np.array([128.0, 128.0])
    pair = crop_pair("few", (view, view), (center, center))
    assert (pair and len(pair.cells_1)) == cells


def test_a_shared_point_is_seen_in_both_images_and_random():
    first, second = numbered_view(80, 60), numbered_view(80, 60, pose(translation=(-1.2, 0, 0)))
    second.depth[:30] = 0
    drawn = [shared_point(first, second, np.random.default_rng(n)) for n in range(40)]
    for one, other in drawn:
        assert other == pytest.approx((one[0] - 30, one[1]))
        assert (one % 8 == 3.5).all()
        assert other[0] >= 0
        assert other[1] >= 30
    assert len({tuple(one) for one, _ in drawn}) > 5
    again = shared_point(first, second, np.random.default_rng(3))
    assert (again[0] == drawn[3][0]).all()
    assert shared_point(first, flat_view(depth=1.0), np.random.default_rng(0)) is None
