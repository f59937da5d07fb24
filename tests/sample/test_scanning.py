import numpy as np
import pytest

from d2eval.sample.rooms import Box, Station
from d2eval.sample.scanning import cutout_pose, measure, overlap, scan, scan_from_room
from d2eval.sample.scene import Camera, Rectangle, Scene, render
from d2eval.sample.walls import Paint, Wall

CAMERA = Camera(60, 40, 40.0, 30.0, 20.0)
PAINT = Paint("brick", (0, 0, 8, 8), "gravel", (0, 0, 8, 8))
STATION = Station((2.0, 3.0, 1.5), 90.0, ((0, 0),))  # its zero direction is north
NORTH_WALL = Wall((-20.0, 7.0, 8.0), (44.0, 0.0, 0.0), (0.0, 0.0, -16.0), PAINT)


def grey(*walls) -> Scene:
    texture = np.full((2, 2, 3), 0.5, np.float32)
    return Scene(tuple(Rectangle(w.corner, w.edge_u, w.edge_v, texture) for w in walls))


def test_the_scanner_is_its_frames_origin_and_looks_along_x():
    matrix = scan_from_room(STATION)
    places = np.array([[2, 3, 1.5, 1], [2, 5, 1.5, 1], [1, 3, 1.5, 1], [2, 3, 2.5, 1]])
    # itself, two metres north, one west, one up
    expected = [[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose((places @ matrix.T)[:, :3], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("yaw", "pitch", "seen"),
    [(0, 0, (2, 4, 1.5)), (90, 0, (1, 3, 1.5)), (270, 0, (3, 3, 1.5)), (0, 45, (2, 4, 2.5)),
     (180, -45, (2, 2, 0.5))],
)  # fmt: skip
def test_yaw_turns_left_and_pitch_looks_up(yaw, pitch, seen):
    pose = cutout_pose(STATION, yaw, pitch)
    x, y, z = pose[:, :3] @ seen + pose[:, 3]
    assert (x, y) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert z > 0.9
    above = pose[:, :3] @ np.add(seen, (0, 0, 0.1)) + pose[:, 3]
    assert above[1] < 0
    np.testing.assert_allclose(-pose[:, :3].T @ pose[:, 3], STATION.center)


def test_measurements_are_in_the_scanners_frame_with_holes_on_glass_and_far_away():
    # A wall 4 m to the north; glass 1 cm before it for x from 2 to 3, z from 1.5 to 2.5.
    pane = Wall((2.0, 6.99, 2.5), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), PAINT)
    view = render(grey(NORTH_WALL, pane), CAMERA, cutout_pose(STATION, 0, 0))
    measured = measure(view, STATION, (pane,))
    seen = np.isfinite(measured).all(axis=2)
    # x of the scan is north, y is west, z is up; pixels' centres lie half a pixel off
    right, down = (np.arange(60) + 0.5 - 30) / 40, (np.arange(40)[:, None] + 0.5 - 20) / 40
    rays = np.stack(np.broadcast_arrays(1.0, -right, -down), axis=-1)
    expected = 4.0 * rays
    hole = (right * 3.99 >= 0) & (right * 3.99 <= 1) & (down <= 0) & (-down * 3.99 <= 1)
    np.testing.assert_array_equal(seen, ~hole)
    assert np.abs(measured - expected)[seen].max() <= 0.5 / 512 + 1e-5
    np.testing.assert_array_equal(measured[seen] * 512, np.rint(measured[seen] * 512))
    # without panes the glass is a surface like others
    assert np.isfinite(measure(view, STATION, ())).all()


def test_what_is_too_far_too_near_or_under_the_tripod_is_not_measured():
    ground = Wall((-50.0, 50.0, 0.0), (100.0, 0.0, 0.0), (0.0, -100.0, 0.0), PAINT)
    near = Wall((1.9, 3.3, 1.6), (0.2, 0.0, 0.0), (0.0, 0.0, -0.2), PAINT)
    points, colors = scan(grey(ground, near), STATION, ())
    assert len(points) == len(colors) > 1000
    assert colors.dtype == np.uint8
    assert set(np.unique(colors)) <= {187, 188}  # linear 0.5 as sRGB; the sky is not measured
    np.testing.assert_allclose(points[:, 2], -1.5, atol=1e-3)
    distance = np.linalg.norm(points, axis=1)
    assert 6.0 < distance.max() < 6.301
    assert np.degrees(np.arcsin(1.5 / distance.min())) == pytest.approx(62, abs=1)
    # all around, and no two directions the same
    assert np.histogram(np.arctan2(points[:, 1], points[:, 0]), 8)[0].min() > 500
    directions = np.rint(points / distance[:, None] * 1e4)
    assert len(np.unique(directions, axis=0)) == len(points)


def test_overlap_is_the_share_of_points_that_are_seen_at_their_depth():
    pose = np.eye(3, 4)
    depth = np.full((40, 60), 2.0)
    depth[:, 30:] = np.nan
    points = np.array(
        [
            [-0.5, 0.0, 2.0],  # seen
            [-0.5, 0.0, 2.04],  # within the tolerance
            [-0.5, 0.0, 2.2],  # behind the surface
            [0.5, 0.0, 2.0],  # where there is no depth
            [-4.0, 0.0, 2.0],  # outside of the image
            [0.5, 0.0, -2.0],  # behind the camera, would project into the image
            [np.nan, np.nan, np.nan],
            [-1.49, -0.99, 2.0],  # the first pixel
        ]
    )
    assert overlap(points, CAMERA, pose, depth, 0.05) == 3 / 8


def test_a_room_is_scanned_on_all_its_sides():
    sides = dict.fromkeys(("south", "east", "north", "west", "bottom", "top"), (PAINT,))
    room = Box((0.0, 0.0, 0.0), (4.0, 5.0, 3.0), **sides)
    points, _ = scan(grey(*room.walls()), STATION, ())
    matrix = np.linalg.inv(scan_from_room(STATION))
    places = points @ matrix[:3, :3].T + matrix[:3, 3]
    gaps = np.abs(np.stack([places, places - [4.0, 5.0, 3.0]]))
    assert gaps.min(axis=(0, 2)).max() < 1e-3
    for side in range(2):
        for axis in range(3):
            assert (gaps[side, :, axis] < 1e-3).sum() > 500
