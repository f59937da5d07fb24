"""Training's rendered scenes: pictures, depth, poses and the sparse model tell of one world."""

import json
from itertools import pairwise

import cv2
import h5py
import numpy as np
import pycolmap
import pytest
from megadepth_scene import write_megadepth_scene
from PIL import Image

from d2eval.foundation.files.folders import RECORD
from d2eval.sample.training import (
    CAMERA,
    TRAINING_SHOTS,
    VALIDATION_SHOTS,
    make_training_sample,
    take,
    write_posed_scene,
)

SHOTS = {shot.name: shot for shot in TRAINING_SHOTS + VALIDATION_SHOTS}
TRAINING = [shot.name for shot in TRAINING_SHOTS]
K = np.array([[330.0, 0, 192], [0, 330, 144], [0, 0, 1]])


@pytest.fixture(scope="module")
def taken():
    return take(TRAINING_SHOTS) | take(VALIDATION_SHOTS)


@pytest.fixture(scope="module")
def training(taken):
    return {name: taken[name] for name in TRAINING}


@pytest.fixture(scope="module")
def posed(training, tmp_path_factory):
    folder = tmp_path_factory.mktemp("posed") / "scene"
    write_posed_scene(folder, training)
    return folder


@pytest.fixture(scope="module")
def megadepth(training, tmp_path_factory):
    root = tmp_path_factory.mktemp("megadepth")
    write_megadepth_scene(root, "0000", training)
    return root


@pytest.fixture(scope="module")
def model(megadepth):
    return pycolmap.Reconstruction(megadepth / "Undistorted_SfM/0000/sparse-txt")


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def project(shot, places):
    """Pixels from the upper left corner of the first one, and depths, of (N, 3) places."""
    R, t = shot.cam_from_world[:3, :3], shot.cam_from_world[:3, 3]
    image = K @ (R @ places.T + t[:, None])
    return (image[:2] / image[2]).T, image[2]


@pytest.mark.parametrize("name", SHOTS)
def test_depth_pose_and_intrinsics_lead_to_the_place_that_was_rendered(taken, name):
    shot = taken[name]
    assert shot.image.shape == (288, 384, 3)
    assert shot.depth.shape == (288, 384)
    R, t = shot.cam_from_world[:3, :3], shot.cam_from_world[:3, 3]
    np.testing.assert_array_equal(shot.cam_from_world[3], [0, 0, 0, 1])
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) > 0
    for row, column in [(0, 0), (287, 383), (200, 5), (143, 191), (144, 192), (90, 300), (287, 0)]:
        z = float(shot.depth[row, column])
        assert 3 < z < 10 or (z == 0 and row < 60)  # the sky has no depth
        if z:
            local = np.array([(column + 0.5 - 192) / 330 * z, (row + 0.5 - 144) / 330 * z, z])
            place = R.T @ (local - t)
            np.testing.assert_allclose(place, shot.xyz[row, column], atol=1e-4)
            # The square: houses end at y = 10, the ground is at 0.
            assert -6 < place[0] < 6
            assert 0 < place[1] <= 10.001
            assert -0.001 <= place[2] < 4.7


@pytest.mark.parametrize("name", SHOTS)
def test_cameras_stand_and_look_as_they_were_told(taken, name):
    pose = taken[name].cam_from_world
    center = -pose[:3, :3].T @ pose[:3, 3]
    np.testing.assert_allclose(center, SHOTS[name].center, atol=1e-12)
    pixel, depth = project(taken[name], np.array([SHOTS[name].target]))
    np.testing.assert_allclose(pixel, [(192, 144)], atol=1e-9)
    assert depth > 0
    # What is higher up is further up in the picture, but for the camera's roll.
    above, _ = project(taken[name], np.add([SHOTS[name].target], (0, 0, 0.5)))
    across, down = above[0] - (192, 144)
    assert down < -15
    assert np.rad2deg(np.arctan2(across, -down)) == pytest.approx(-SHOTS[name].roll_deg, abs=0.5)


def test_holes_are_zero_and_nothing_is_nan(taken):
    for shot in taken.values():
        assert shot.depth.dtype == np.float32
        assert np.isfinite(shot.depth).all()
        assert 0.02 < np.mean(shot.depth == 0) < 0.2
        assert np.isnan(shot.xyz[shot.depth == 0]).all()


@pytest.mark.parametrize("name", SHOTS)
def test_the_sky_is_where_depth_is_not_known(taken, name):
    image, sky = taken[name].image.astype(int), taken[name].depth == 0
    color = np.median(image[sky], axis=0)
    blue = np.abs(image - color).max(axis=2) < 20

    def agreement(right, down):
        return np.mean(np.roll(blue, (-down, -right), (0, 1))[2:-2, 2:-2] == sky[2:-2, 2:-2])

    shifts = [(right, down) for right in (-1, 0, 1) for down in (-1, 0, 1)]
    assert max(shifts, key=lambda shift: agreement(*shift)) == (0, 0)
    assert agreement(0, 0) > 0.98


@pytest.mark.parametrize(("one", "other"), [("a0.jpg", "a1.jpg"), ("a3.jpg", "a2.jpg")])
def test_two_pictures_show_the_same_at_the_same_place(taken, one, other):
    first, second = taken[one], taken[other]
    rows, columns = np.nonzero(first.depth[::3, ::3])
    rows, columns = 3 * rows, 3 * columns
    pixels, depth = project(second, first.xyz[rows, columns].astype(float))
    # OpenCV counts from the first pixel's centre, and wants rows.
    x, y = (pixels - 0.5).astype(np.float32).T[:, None]
    there = cv2.remap(second.depth, x, y, cv2.INTER_LINEAR)
    inner = (x > 3) & (x < 380) & (y > 3) & (y < 284)
    seen = inner & (np.abs(there - depth) < 0.02)
    assert np.mean(seen) > 0.5
    grey_1, grey_2 = (cv2.cvtColor(shot.image, cv2.COLOR_RGB2GRAY) for shot in (first, second))
    ours = grey_1[rows, columns][seen[0]].astype(float)

    def likeness(right, down):
        moved = cv2.remap(grey_2.astype(np.float32), x + right, y + down, cv2.INTER_LINEAR)
        return np.corrcoef(ours, moved[seen])[0, 1]

    shifts = [(right / 2, down / 2) for right in (-1, 0, 1) for down in (-1, 0, 1)]
    assert max(shifts, key=lambda shift: likeness(*shift)) == (0, 0)
    assert likeness(0, 0) > 0.95


@pytest.mark.parametrize("shots", [TRAINING_SHOTS, VALIDATION_SHOTS])
def test_images_next_to_each_other_show_more_than_half_of_one_another(taken, shots):
    for one, other in pairwise(shots):
        for first, second in ((one, other), (other, one)):
            first, second = taken[first.name], taken[second.name]
            pixels, depth = project(second, first.xyz[first.depth > 0].astype(float))
            x, y = np.floor(pixels).astype(int).T
            inside = (x >= 0) & (x < 384) & (y >= 0) & (y < 288)
            near = np.abs(second.depth[y[inside], x[inside]] - depth[inside]) < 0.1
            assert np.count_nonzero(near) > 0.5 * len(depth)


def test_two_renderings_are_the_same(taken):
    again = take(TRAINING_SHOTS[:2])
    for name, shot in again.items():
        for field in ("image", "depth", "xyz", "cam_from_world"):
            np.testing.assert_array_equal(getattr(shot, field), getattr(taken[name], field))


def test_lights_differ(taken):
    brightness = {name: taken[name].image.mean() for name in SHOTS}
    assert brightness["a1.jpg"] < 0.95 * brightness["a3.jpg"]
    assert not np.array_equal(taken["a0.jpg"].image, taken["a2.jpg"].image)


def test_the_layout_of_a_posed_scene(posed, training):
    stems = [name.removesuffix(".jpg") for name in training]
    assert files_in(posed) == {
        "cameras.json", *(f"images/{stem}.jpg" for stem in stems),
        *(f"depth/{stem}.npy" for stem in stems),
    }  # fmt: skip
    cameras = json.loads((posed / "cameras.json").read_text())
    assert list(cameras) == list(training)
    for name, shot in training.items():
        assert set(cameras[name]) == {"intrinsics", "cam_from_world"}
        np.testing.assert_array_equal(cameras[name]["intrinsics"], K)
        np.testing.assert_array_equal(cameras[name]["cam_from_world"], shot.cam_from_world)
        depth = np.load(posed / "depth" / name.replace(".jpg", ".npy"), allow_pickle=False)
        np.testing.assert_array_equal(depth, shot.depth)
        assert_same_picture(posed / "images" / name, shot.image)


def assert_same_picture(path, image):
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (384, 288))
        assert np.abs(np.asarray(picture).astype(int) - image).mean() < 4


def test_the_layout_of_a_megadepth_scene(megadepth, training):
    undistorted, depths = "Undistorted_SfM/0000", "MegaDepth_v1/0000/dense0/depths"
    assert files_in(megadepth) == {
        *(f"{undistorted}/images/{name}" for name in training),
        *(f"{undistorted}/sparse-txt/{part}.txt" for part in ("cameras", "images", "points3D")),
        *(f"{depths}/{name.removesuffix('.jpg')}.h5" for name in training),
    }
    for name, shot in training.items():
        assert_same_picture(megadepth / undistorted / "images" / name, shot.image)
        path = megadepth / depths / name.replace(".jpg", ".h5")
        assert path.stat().st_size >= 102_400  # smaller files are taken for masks
        with h5py.File(path, "r") as file:
            assert set(file) == {"depth"}
            np.testing.assert_array_equal(file["depth"][:], shot.depth)


def test_the_model_holds_the_cameras(model, training):
    assert sorted(image.name for image in model.images.values()) == sorted(training)
    (camera,) = model.cameras.values()
    assert camera.model == pycolmap.CameraModelId.PINHOLE
    assert (camera.width, camera.height) == (CAMERA.width, CAMERA.height) == (384, 288)
    np.testing.assert_array_equal(camera.calibration_matrix(), K)
    for image in model.images.values():
        pose = image.cam_from_world().matrix()
        np.testing.assert_allclose(pose, training[image.name].cam_from_world[:3], atol=1e-12)


def test_points_are_seen_where_the_model_says(model, training):
    for image in model.images.values():
        shot = training[image.name]
        observed = [point for point in image.points2D if point.has_point3D()]
        assert len(observed) == len(image.points2D) > 500
        places = np.array([model.points3D[point.point3D_id].xyz for point in observed])
        listed = np.array([point.xy for point in observed])
        pixels, depth = project(shot, places)
        assert np.abs(pixels - listed).max() < 0.01
        assert listed.min() >= 0
        assert (listed <= (384, 288)).all()
        # and nothing hides them
        x, y = np.floor(listed).astype(int).T
        assert np.abs(shot.depth[y, x] - depth).max() < 0.021
        assert np.median(np.linalg.norm(shot.xyz[y, x] - places, axis=1)) < 0.02


def test_tracks_and_images_agree(model, training):
    listed = {
        (image.image_id, index): point.point3D_id
        for image in model.images.values()
        for index, point in enumerate(image.points2D)
    }
    tracks = {
        (element.image_id, element.point2D_idx): number
        for number, point in model.points3D.items()
        for element in point.track.elements
    }
    assert tracks == listed
    lengths = np.array([point.track.length() for point in model.points3D.values()])
    assert lengths.min() >= 1
    assert lengths.max() == len(training)
    assert lengths.mean() > 2
    for point in model.points3D.values():  # nobody sees a point twice
        images = [element.image_id for element in point.track.elements]
        assert len(set(images)) == len(images)


def test_a_point_is_listed_in_every_image_that_shows_it(model, training):
    by_name = {image.name: image for image in model.images.values()}
    numbers = np.array(sorted(model.points3D))
    places = np.array([model.points3D[number].xyz for number in numbers])
    for name, shot in training.items():
        pixels, depth = project(shot, places)
        x, y = np.floor(pixels).astype(int).T
        inside = (depth > 0) & (x >= 0) & (x < 384) & (y >= 0) & (y < 288)
        near = np.full(len(places), np.inf)
        near[inside] = np.abs(shot.depth[y[inside], x[inside]] - depth[inside])
        listed = {point.point3D_id for point in by_name[name].points2D}
        assert set(numbers[near < 0.019]) <= listed <= set(numbers[near < 0.021])


def test_the_sample_is_rendered_once_and_mended(posed, tmp_path, monkeypatch):
    folder = make_training_sample(tmp_path)
    assert folder.parent == tmp_path / "sample"
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "held_out", "walk"]
    walk = {path.relative_to(posed): path.read_bytes() for path in posed.rglob("*.*")}
    assert len(walk) == 2 * len(TRAINING) + 1
    written = {
        p.relative_to(folder / "walk"): p.read_bytes() for p in (folder / "walk").rglob("*.*")
    }
    assert written == walk
    with monkeypatch.context() as patch:
        patch.setattr("d2eval.sample.training.take", None)  # is not called
        assert make_training_sample(tmp_path) == folder
    lost = folder / "held_out" / "depth" / "b1.npy"
    content = lost.read_bytes()
    lost.unlink()
    assert make_training_sample(tmp_path) == folder
    assert lost.read_bytes() == content
