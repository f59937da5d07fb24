import numpy as np
import pycolmap
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2eval.inloc.verification.render import (
    _nearest_by_torch,
    _nearest_on_cpu,
    render,
    scaled_intrinsics,
)

SIZE = (6, 4)
K = np.array([[2.0, 0, 3], [0, 2, 2], [0, 0, 1]])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def show(points, colors=None, pose=None, device="cpu"):
    points = np.array(points, np.float32).reshape(-1, 3)
    colors = [RED] * len(points) if colors is None else colors
    cloud = np.array(colors, np.uint8).reshape(-1, 3)
    return render(points, cloud, K, pose or pycolmap.Rigid3d(), SIZE, device)


def brute_force(points, P, size):
    """Point by point, as ht_Points2Persp."""
    width, height = size
    depth, nearest = np.full((height, width), np.inf), np.full((height, width), -1)
    for index, point in enumerate(points.astype(float)):
        x, y, z = (a * point[0] + b * point[1] + c * point[2] + d for a, b, c, d in P)
        if z > 0:
            u, v = x / z, y / z
            if 0 <= u < width and 0 <= v < height and z <= depth[int(v), int(u)]:
                depth[int(v), int(u)], nearest[int(v), int(u)] = z, index
    return depth, nearest


def test_a_point_lies_where_it_does_by_hand():
    # u = 2 * 1.5 / 2 + 3 = 4.5 and v = 2 * -0.6 / 2 + 2 = 1.4
    view = show([[1.5, -0.6, 2]], [(10, 20, 30)])
    assert view.valid.sum() == 1
    assert view.rgb[1, 4].tolist() == [10, 20, 30]
    assert view.depth[1, 4] == 2
    assert view.rgb.sum() == 60
    assert view.rgb.dtype == np.uint8
    assert view.depth.dtype == np.float32


@pytest.mark.parametrize("near_first", [True, False])
def test_the_nearest_of_two_points_is_seen(near_first):
    points, colors = [[0.5, 0.5, 1], [2.2, 2.2, 4]], [RED, GREEN]
    order = [0, 1] if near_first else [1, 0]
    view = show([points[i] for i in order], [colors[i] for i in order])
    assert view.valid.sum() == 1
    assert view.rgb[3, 4].tolist() == list(RED)
    assert view.depth[3, 4] == 1


def test_the_last_of_equally_near_points_is_seen():
    view = show([[0.1, 0.1, 1], [0.2, 0.2, 1], [0.3, 0.1, 2]], [RED, GREEN, BLUE])
    assert view.rgb[2, 3].tolist() == list(GREEN)


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ([0, 0, -2], "behind"),
        ([1, 1, 0], "in the plane of the camera"),
        ([-3.01, 0, 2], "left"),
        ([3, 0, 2], "right: u = 6"),
        ([0, -2.01, 2], "above"),
        ([0, 2, 2], "below: v = 4"),
        ([np.nan, 0, 2], "unknown"),
    ],
)
def test_points_out_of_view_leave_nothing(point, why):
    view = show([point])
    assert not view.valid.any(), why
    assert np.isnan(view.depth).all()
    assert view.rgb.sum() == 0


def test_the_outermost_pixels_are_seen():
    view = show([[-3, -2, 2], [2.99, 1.99, 2]])
    assert np.argwhere(view.valid).tolist() == [[0, 0], [3, 5]]


def test_the_pose_takes_the_world_to_the_camera():
    # The camera stands at x = 5 in the world and looks along +x; the world's y is up to it.
    R = np.array([[0, 0, 1.0], [0, -1, 0], [1, 0, 0]])
    pose = pycolmap.Rigid3d(np.hstack([R, (-R @ [5, 0, 0])[:, None]]))
    view = show([[7, 0, 0], [7, 0.6, 0]], [RED, GREEN], pose)
    assert view.rgb[2, 3].tolist() == list(RED)
    assert view.rgb[1, 3].tolist() == list(GREEN)  # v = 2 * -0.6 / 2 + 2
    assert view.depth[2, 3] == 2


def test_nothing_is_seen_of_no_points_and_from_a_pose_of_nan():
    assert not show(np.zeros((0, 3))).valid.any()
    nowhere = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.full(3, np.nan))
    assert not show([[0, 0, 2]], pose=nowhere).valid.any()


# Points on a coarse grid: many share a pixel, and many of them are equally near.
CLOUDS = st.integers(0, 60).flatmap(
    lambda n: arrays(np.float32, (n, 3), elements=st.integers(-6, 6).map(lambda v: v / 2))
)
ROTATIONS = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: q @ q > 0.01)


@settings(max_examples=100, deadline=None)
@given(CLOUDS, ROTATIONS, st.booleans())
@example(np.array([[-1, 3, -1]], np.float32), np.array([1.0, 1, 0, 0]), True)  # u / w rounds to < 6
def test_both_ways_to_render_equal_a_loop(points, quaternion, turned):
    rotation = pycolmap.Rotation3d(quaternion / np.linalg.norm(quaternion))
    pose = pycolmap.Rigid3d(rotation if turned else pycolmap.Rotation3d(), np.array([0, 0, 1.0]))
    P = K @ pose.matrix()
    depth, nearest = brute_force(points, P, SIZE)
    for found in (_nearest_on_cpu(points, P, SIZE), _nearest_by_torch(points, P, SIZE, "cpu")):
        np.testing.assert_array_equal(found[1], nearest)
        np.testing.assert_array_equal(found[0], depth)


@pytest.mark.parametrize("nearest_of", [_nearest_on_cpu, lambda *a: _nearest_by_torch(*a, "cpu")])
def test_a_read_only_cloud_is_rendered_without_a_warning(nearest_of, recwarn):
    points = np.array([[0.5, 0.5, 1]], np.float32)
    points.flags.writeable = False
    assert nearest_of(points, K @ np.eye(3, 4), SIZE)[1].max() == 0
    assert not recwarn.list


def test_intrinsics_are_divided():
    camera = pycolmap.Camera(
        model="PINHOLE", width=4032, height=3024, params=[3136, 3136, 2016, 1512]
    )
    expected = [[392, 0, 252], [0, 392, 189], [0, 0, 1]]
    assert scaled_intrinsics(camera, 8).tolist() == expected
