import cv2
import numpy as np
import pycolmap
import pytest

from d2eval.foundation.images.photometry import to_srgb8
from d2eval.sample.photos import load_photo
from d2eval.sample.scene import Camera, Rectangle, Scene, look_at, render, to_camera
from d2eval.sample.square import PHOTOS, WALLS, make_square

IDENTITY = np.eye(3, 4)
PINHOLE = Camera(5, 3, 2.0, 2.5, 1.5)  # pixel (column, row) looks along ((c - 2) / 2, (r - 1) / 2)
FISHY = Camera(64, 48, 50.0, 31.0, 25.5, -0.05)
RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def plain(color) -> np.ndarray:
    return np.full((4, 4, 3), color, np.float32)


def facing(left, top, right, bottom, z, color=RED) -> Rectangle:
    """A rectangle at depth ``z`` of a camera with the identity as its pose."""
    return Rectangle(
        (left, top, z), (right - left, 0.0, 0.0), (0.0, bottom - top, 0.0), plain(color)
    )


@pytest.fixture(scope="module")
def square() -> Scene:
    return make_square({name: load_photo(name).decode() for name in PHOTOS})


def test_a_slanted_rectangle_is_hit_where_the_hand_says():
    # The plane z = 4 + x for x from -2 to 2: the ray (x, 0, 1) meets it at z = 4 / (1 - x).
    slanted = Rectangle((-2.0, -1.0, 2.0), (4.0, 0.0, 4.0), (0.0, 2.0, 0.0), plain(GREEN))
    view = render(Scene((slanted,), BLUE), PINHOLE, IDENTITY)
    nan = np.nan
    assert view.depth.dtype == view.xyz.dtype == view.rgb.dtype == np.float32
    # Column 3 would meet it at x = 4, column 4 never; rows 0 and 2 (at depth 2, y = -1 and 1) only
    # touch it on the left.
    np.testing.assert_allclose(view.depth[1], [2.0, 8 / 3, 4.0, nan, nan], rtol=1e-6)
    np.testing.assert_allclose(view.depth[[0, 2], 1:], np.full((2, 4), nan))
    np.testing.assert_allclose(view.xyz[1, 1], [-4 / 3, 0.0, 8 / 3], rtol=1e-6, atol=1e-6)
    assert np.isnan(view.xyz[1, 3]).all()
    np.testing.assert_allclose(view.rgb[1, 2], GREEN)
    np.testing.assert_allclose(view.rgb[1, 4], BLUE)


def test_world_coordinates_are_those_of_the_world():
    # From (10, 0, 1) due north: x of the camera is east, y down, z north.
    north = look_at((10.0, 0.0, 1.0), (10.0, 5.0, 1.0))
    wall = Rectangle((8.0, 6.0, 3.0), (4.0, 0.0, 0.0), (0.0, 0.0, -3.0), plain(RED))
    view = render(Scene((wall,)), PINHOLE, north)
    np.testing.assert_allclose(view.depth[1, 2], 6.0, rtol=1e-6)
    np.testing.assert_allclose(view.xyz[1, 2], [10.0, 6.0, 1.0], rtol=1e-6)
    assert np.isnan(view.depth[1, 3])  # 3 m to the east, where the wall has ended


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_wins_in_either_order(order):
    near, far = facing(-1, -1, 1, 1, 2.0, RED), facing(-9, -9, 9, 9, 4.0, GREEN)
    view = render(Scene((near, far)[::order]), PINHOLE, IDENTITY)
    assert view.depth[1].tolist() == [4.0, 2.0, 2.0, 2.0, 4.0]
    np.testing.assert_allclose(view.rgb[1, 2], RED)
    np.testing.assert_allclose(view.rgb[1, 4], GREEN)


def test_what_is_behind_the_camera_or_seen_edge_on_is_not_seen():
    behind = facing(-9, -9, 9, 9, -2.0)
    edge_on = Rectangle((0.0, -1.0, 1.0), (0.0, 0.0, 5.0), (0.0, 2.0, 0.0), plain(RED))
    view = render(Scene((behind, edge_on), BLUE), PINHOLE, IDENTITY)
    assert np.isnan(view.depth).all()
    np.testing.assert_allclose(view.rgb, np.broadcast_to(BLUE, (3, 5, 3)))


def test_a_floor_that_reaches_behind_the_camera_is_seen_before_it():
    floor = Rectangle((-50.0, 2.0, 50.0), (100.0, 0.0, 0.0), (0.0, 0.0, -100.0), plain(RED))
    view = render(Scene((floor,)), PINHOLE, IDENTITY)
    assert np.isnan(view.depth[:2]).all()
    np.testing.assert_allclose(view.depth[2], 4.0, rtol=1e-6)


def test_a_texture_runs_right_along_u_and_down_along_v():
    quarters = np.repeat(np.repeat(np.array([[0.1, 0.2], [0.3, 0.4]], np.float32), 8, 0), 8, 1)
    texture = np.repeat(quarters[..., None], 3, axis=2)
    camera = Camera(4, 4, 4.0, 2.0, 2.0)
    front = Rectangle((-2.0, -2.0, 4.0), (4.0, 0.0, 0.0), (0.0, 4.0, 0.0), texture)
    seen = render(Scene((front,)), camera, IDENTITY).rgb[..., 0]
    np.testing.assert_allclose(seen[[0, 0, 3, 3], [0, 3, 0, 3]], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    # from behind it is the mirror image
    turned = np.column_stack([np.diag([-1.0, 1.0, -1.0]), [0.0, 0.0, 8.0]])
    back = render(Scene((front,)), camera, turned).rgb[..., 0]
    np.testing.assert_allclose(back, seen[:, ::-1], rtol=1e-6)


def test_colours_lie_where_the_world_coordinates_say():
    # The texture's colour is its place, linear from texel centre to texel centre.
    v, u = (np.mgrid[:64, :96] + 0.5) / np.array([64, 96])[:, None, None]
    texture = np.stack([u, v, np.zeros_like(u)], axis=-1).astype(np.float32)
    corner, edge_u, edge_v = np.array([-2.0, 4.0, 3.0]), np.array([5.0, 1.0, 0.0]), (0.0, 0.5, -4.0)
    wall = Rectangle(tuple(corner), tuple(edge_u), edge_v, texture)
    view = render(Scene((wall,)), FISHY, look_at((0.3, -0.2, 1.2), (0.2, 4.0, 1.3), 8.0))
    basis = np.column_stack([edge_u, edge_v, np.cross(edge_u, edge_v)])
    place = ((view.xyz - corner) @ np.linalg.inv(basis).T)[..., :2]
    inside = (np.abs(place - 0.5) < 0.45).all(axis=2)
    assert inside.sum() > 1000
    # OpenCV rounds sampling positions to 1/32 of a texel; the mean over a pixel takes most out
    np.testing.assert_allclose(view.rgb[..., :2][inside], place[inside], atol=0.02 / 64)


def test_a_pixel_is_the_mean_over_its_area():
    # pixel 2 spans x from 0 to 1 at depth 2, of which the rectangle covers the right two thirds
    view = render(Scene((facing(-1 / 6, -9, 9, 9, 2.0),)), PINHOLE, IDENTITY)
    np.testing.assert_allclose(view.rgb[1, 1:4, 0], [0.0, 2 / 3, 1.0], rtol=1e-5)
    stripes = np.zeros((3, 30, 3), np.float32)
    stripes[:, ::2] = 1.0  # two texels to a pixel
    fine = Rectangle((-7.5, -1.5, 2.0), (15.0, 0.0, 0.0), (0.0, 3.0, 0.0), stripes)
    grey = render(Scene((fine,)), PINHOLE, IDENTITY).rgb
    np.testing.assert_allclose(grey[1], 0.5, atol=0.02)


def test_the_camera_is_colmaps():
    colmap = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=64, height=48, params=[50.0, 31.0, 25.5, -0.05]
    )
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -2, 3], [2, 2, 9], (50, 3))
    np.testing.assert_allclose(FISHY.img_from_cam(points), colmap.img_from_cam(points))
    centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5), axis=-1)
    rays = FISHY.rays()
    assert rays.shape == (3, 48, 64)
    np.testing.assert_allclose(FISHY.img_from_cam(rays.reshape(3, -1).T), centres.reshape(-1, 2))
    # of a finer grid the middle samples are the pixels' centres
    np.testing.assert_allclose(FISHY.rays(3)[:, 1::3, 1::3], rays)


def test_look_at_stands_upright_at_its_centre():
    pose = look_at((1.0, 2.0, 3.0), (4.0, 6.0, 3.0))
    np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:, :3]) == pytest.approx(1.0)
    world = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 3.0], [4.0, 6.0, 4.0], [8.0, 3.0, 3.0]])
    expected = [[0, 0, 0], [0, 0, 5], [0, -1, 5], [5, 0, 5]]  # itself, target, above, to the right
    np.testing.assert_allclose(to_camera(pose, world), expected, atol=1e-12)
    # a camera turned clockwise sees what was above on its left
    rolled = to_camera(look_at((1.0, 2.0, 3.0), (4.0, 6.0, 3.0), 90.0), world)
    np.testing.assert_allclose(rolled[2], [-1, 0, 5], atol=1e-12)


def slow_hit(scene: Scene, origin: np.ndarray, direction: np.ndarray) -> float:
    """Distance to the nearest rectangle in units of ``direction``, one plane at a time."""
    best = np.inf
    for rectangle in scene.rectangles:
        corner, u, v = map(np.array, (rectangle.corner, rectangle.edge_u, rectangle.edge_v))
        normal = np.cross(u, v)
        distance = (corner - origin) @ normal / (direction @ normal)
        offset = origin + distance * direction - corner
        place = np.linalg.lstsq(np.column_stack([u, v]), offset, rcond=None)[0]
        if 0 < distance < best and (place >= 0).all() and (place <= 1).all():
            best = distance
    return best


@pytest.mark.parametrize("center", [(4.0, -3.0, 1.0), (0.3, -0.4, 0.5)], ids=["outside", "inside"])
def test_random_rectangles_are_hit_as_a_slow_caster_hits_them(center):
    rng = np.random.default_rng(3)
    drawn = (rng.uniform(-2, 2, (3, 3)) for _ in range(20))
    scene = Scene(
        tuple(
            Rectangle(tuple(p - (u + v) / 2), tuple(u), tuple(v), plain(RED)) for p, u, v in drawn
        )
    )
    camera = Camera(24, 18, 14.0, 12.5, 8.0, -0.08)
    pose = look_at(center, (0.0, 0.0, 0.0), 20.0)
    rotation = pose[:, :3]
    rays = camera.rays().reshape(3, -1).T @ rotation
    expected = np.array([slow_hit(scene, -rotation.T @ pose[:, 3], ray) for ray in rays])
    depth = render(scene, camera, pose).depth.reshape(-1)
    assert 100 < np.isfinite(expected).sum() < 400
    expected[np.isinf(expected)] = np.nan
    np.testing.assert_allclose(depth, expected, rtol=1e-4)


def test_every_point_projects_to_its_pixels_centre(square):
    pose = look_at((2.0, 0.0, 1.7), (-1.0, 8.5, 1.2), -4.0)
    camera = Camera(120, 90, 100.0, 57.0, 46.0, -0.03)
    view = render(square, camera, pose)
    rows, columns = np.nonzero(np.isfinite(view.depth))
    assert len(rows) > 0.7 * view.depth.size
    local = to_camera(pose, view.xyz[rows, columns].astype(np.float64))
    np.testing.assert_allclose(local[:, 2], view.depth[rows, columns], rtol=1e-5)
    centres = np.column_stack([columns, rows]) + 0.5
    np.testing.assert_allclose(camera.img_from_cam(local), centres, atol=1e-3)


def test_sift_matches_between_two_views_agree_with_the_geometry(square):
    camera = Camera(512, 384, 432.0, 256.0, 192.0, -0.02)
    poses = [look_at((x, 1.2, 1.6), (x / 4, 8.5, 1.7)) for x in (-1.0, 0.2)]
    views = [render(square, camera, pose) for pose in poses]
    sift = cv2.SIFT_create(1500)
    found = [sift.detectAndCompute(to_srgb8(view.rgb), None) for view in views]
    matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(found[0][1], found[1][1])
    assert len(matches) > 500
    # OpenCV's origin is the centre of the first pixel
    first, second = (
        np.array([keypoints[index].pt for index in indices])
        for (keypoints, _), indices in zip(
            found, zip(*((m.queryIdx, m.trainIdx) for m in matches), strict=True), strict=True
        )
    )
    columns, rows = np.rint(first).astype(int).T
    local = to_camera(poses[1], views[0].xyz[rows, columns].astype(np.float64))
    true = camera.img_from_cam(local) - 0.5 + (first - np.rint(first))
    errors = second - true
    hit = np.isfinite(errors).all(axis=1)
    assert np.median(np.linalg.norm(errors[hit], axis=1)) < 0.7
    assert np.abs(np.median(errors[hit], axis=0)).max() < 0.1  # no shift either


def test_the_square_is_no_plane_and_no_two_walls_wear_the_same(square):
    normals = [np.cross(r.edge_u, r.edge_v) for r in square.rectangles]
    directions = {tuple(np.round(np.abs(n) / np.linalg.norm(n), 3)) for n in normals}
    assert len(directions) >= 4
    assert len({wall.paint for wall in WALLS}) == len(WALLS)
    for rectangle in square.rectangles:
        assert rectangle.texture.dtype == np.float32
        assert 0 <= rectangle.texture.min() < rectangle.texture.max() < 2
        # rough enough: hardly a patch of 32 texels is flat
        grey = np.log(rectangle.texture.mean(axis=2) + 1e-3)
        deviation = np.sqrt(cv2.blur(grey**2, (32, 32)) - cv2.blur(grey, (32, 32)) ** 2)
        assert (deviation[16:-16, 16:-16] > 0.05).mean() > 0.95
