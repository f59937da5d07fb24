import shutil
import sqlite3
from contextlib import closing
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.folders import RECORD
from d2eval.sample import aachen, photos
from d2eval.sample.aachen import DAY_SHOTS, DB_SHOTS, NIGHT_SHOTS, SHOTS, make_aachen_sample
from d2eval.sample.photos import load_photo
from d2eval.sample.scene import render
from d2eval.sample.square import PHOTOS, make_square

DB = [f"db/000{k}.jpg" for k in range(10)]
DAY = [f"query/day/nexus5x/day_000{k}.jpg" for k in range(3)]
NIGHT = [f"query/night/nexus5x/night_000{k}.jpg" for k in range(3)]
BY_NAME = {shot.name: shot for shot in SHOTS}
MODEL = "3D-models/aachen_cvpr2018_db.nvm"
INTRINSICS = {
    "3D-models/database_intrinsics.txt": DB,
    "queries/day_time_queries_with_intrinsics.txt": DAY,
    "queries/night_time_queries_with_intrinsics.txt": NIGHT,
}


@pytest.fixture(scope="module")
def sample(rendered):
    return rendered(make_aachen_sample)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def rotation(wxyz) -> np.ndarray:
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def read_poses(sample: Path) -> dict[str, np.ndarray]:
    """(3, 4) poses of all images from the model and the reference file."""
    poses = {}
    for name, _, *words in lines(sample / MODEL)[3:-2]:
        values = np.array(words[:7], float)
        R, c = rotation(values[:4]), values[4:]
        poses[name] = np.column_stack([R, -R @ c])
    for name, *words in lines(sample / "reference_poses.txt"):
        values = np.array(words, float)
        poses[name] = np.column_stack([rotation(values[:4]), values[4:]])
    return poses


def read_cameras(sample: Path) -> dict[str, pycolmap.Camera]:
    return {
        name: pycolmap.Camera(
            model=model, width=int(width), height=int(height), params=[float(p) for p in parameters]
        )
        for file in INTRINSICS
        for name, model, width, height, *parameters in lines(sample / file)
    }


def read_grey(sample: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(sample / "images/images_upright" / name).convert("L"))


def rows_of(database: Path) -> list:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("delete",)
        return [
            connection.execute(f"select * from {table} order by 1").fetchall()  # noqa: S608
            for table in ("cameras", "images", "keypoints", "matches", "two_view_geometries")
        ]


def contents(folder: Path) -> dict:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != RECORD]
    files = {str(p.relative_to(folder)): p.read_bytes() for p in paths}
    return files | {"database.db": rows_of(folder / "database.db")}


def test_the_layout_is_that_of_aachen(sample):
    assert set(contents(sample)) == {
        "database.db", "image_pairs_to_match.txt", "reference_poses.txt", MODEL, *INTRINSICS,
        *(f"images/images_upright/{name}" for name in DB + DAY + NIGHT),
    }  # fmt: skip
    cameras = read_cameras(sample)
    for file, names in INTRINSICS.items():
        assert [words[0] for words in lines(sample / file)] == names
    for name, camera in cameras.items():
        with Image.open(sample / "images/images_upright" / name) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert image.size == (camera.width, camera.height)
    assert len({(c.width, c.height) for c in cameras.values()}) > 1
    # (first radial parameter) the lenses differ, none is a pinhole
    assert len({c.params[3] for c in cameras.values()} - {0.0}) >= 3


def test_the_files_hold_the_poses_that_the_images_were_rendered_from(sample):
    model = (sample / MODEL).read_text().splitlines()
    assert model[:3] == ["NVM_V3", "", "10"]
    assert model[-2:] == ["", "0"]
    assert [line.split()[0] for line in model[3:-2]] == DB
    assert all(len(line.split()) == 11 and line.endswith(" 0") for line in model[3:-2])
    assert [words[0] for words in lines(sample / "reference_poses.txt")] == DAY + NIGHT
    poses = read_poses(sample)
    for name, shot in BY_NAME.items():
        np.testing.assert_allclose(poses[name], shot.cam_from_world, atol=1e-10)
        R, t = poses[name][:, :3], poses[name][:, 3]
        np.testing.assert_allclose(-R.T @ t, shot.center, atol=1e-10)
    for words in lines(sample / MODEL)[3:-2]:
        np.testing.assert_allclose(np.array(words[6:9], float), BY_NAME[words[0]].center)
        assert float(words[1]) == BY_NAME[words[0]].camera.focal


def test_each_query_is_paired_with_its_six_nearest_and_those_with_each_other(sample):
    pairs = [tuple(words) for words in lines(sample / "image_pairs_to_match.txt")]
    assert len(set(pairs)) == len(pairs)
    of_query = {
        query: [second for first, second in pairs if first == query] for query in DAY + NIGHT
    }
    for query, names in of_query.items():
        place = np.array(BY_NAME[query].center)
        far = {name: np.linalg.norm(np.array(BY_NAME[name].center) - place) for name in DB}
        assert len(names) == 6
        assert max(far[name] for name in names) <= min(far[n] for n in set(DB) - set(names))
    union = {pair for names in of_query.values() for pair in combinations(sorted(names), 2)}
    assert set(pairs) - {(q, name) for q, names in of_query.items() for name in names} == union
    assert {name for names in of_query.values() for name in names} == set(DB)


def test_the_database_holds_cameras_and_images_alone(sample, tmp_path):
    cameras, images, *features = rows_of(sample / "database.db")
    assert features == [[], [], []]
    # COLMAP turns write-ahead logging on in whatever it opens.
    copy = shutil.copy(sample / "database.db", tmp_path)
    with pycolmap.Database.open(copy) as database:
        by_id = {camera.camera_id: camera for camera in database.read_all_cameras()}
        found = {image.name: by_id[image.camera_id] for image in database.read_all_images()}
    assert len(cameras) == len(images) == len(found) == 16
    true = read_cameras(sample)
    assert set(found) == set(true)
    for name, camera in found.items():
        assert not camera.has_prior_focal_length
        assert camera.model == pycolmap.CameraModelId.SIMPLE_RADIAL
        assert (camera.width, camera.height) == (true[name].width, true[name].height)
        if name in DB:
            placeholder = [1.2 * 512, camera.width / 2, camera.height / 2, 0.0]
            np.testing.assert_allclose(camera.params, placeholder)
        else:
            np.testing.assert_allclose(camera.params, true[name].params)
    names = [row[1] for row in images]
    assert names != sorted(names)  # ids don't follow names, as in Aachen's


@pytest.fixture(scope="module")
def scene():
    return make_square({name: load_photo(name).decode() for name in PHOTOS})


QUERIES = [pytest.param(q, marks=[pytest.mark.slow] * (q != NIGHT[0])) for q in DAY + NIGHT]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_localized_from_its_nearest_database_image(sample, scene, query):
    # Everything from the files but the depth of the database image.
    pairs = lines(sample / "image_pairs_to_match.txt")
    nearest = min(
        (b for a, b in pairs if a == query),
        key=lambda name: np.linalg.norm(np.subtract(BY_NAME[name].center, BY_NAME[query].center)),
    )
    sift = cv2.SIFT_create(2500, contrastThreshold=0.01)
    found = [sift.detectAndCompute(read_grey(sample, name), None) for name in (query, nearest)]
    matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(found[0][1], found[1][1])
    in_query = np.array([found[0][0][m.queryIdx].pt for m in matches]) + 0.5  # COLMAP's origin
    in_db = np.array([found[1][0][m.trainIdx].pt for m in matches]) + 0.5
    cameras, poses = read_cameras(sample), read_poses(sample)
    shot = BY_NAME[nearest]
    depth = render(scene, shot.camera, shot.cam_from_world).depth
    columns, rows = in_db.astype(int).T
    rays = np.column_stack([cameras[nearest].cam_from_img(in_db), np.ones(len(in_db))])
    local = rays * depth[rows, columns][:, None]
    world = (local - poses[nearest][:, 3]) @ poses[nearest][:, :3]
    solid = np.isfinite(world).all(axis=1)
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = 4.0, 0
    estimate = pycolmap.estimate_and_refine_absolute_pose(
        in_query[solid], world[solid], cameras[query], options
    )
    assert estimate["num_inliers"] > 100
    pose = estimate["cam_from_world"].matrix()
    true = poses[query]
    moved = -pose[:, :3].T @ pose[:, 3] + true[:, :3].T @ true[:, 3]
    assert np.linalg.norm(moved) < 0.02
    turned = np.arccos(np.clip((np.trace(pose[:, :3] @ true[:, :3].T) - 1) / 2, -1, 1))
    assert np.rad2deg(turned) < 0.1


def test_night_is_dark_blue_and_lit_by_lanterns(sample):
    pictures = {
        name: np.asarray(Image.open(sample / "images/images_upright" / name), float)
        for name in DAY + NIGHT
    }
    day = min(pictures[name].mean() for name in DAY)
    for name in NIGHT:
        picture = pictures[name]
        assert picture.mean() < day / 2
        sky = picture[:40, 230:280].mean(axis=(0, 1))
        assert sky[2] > 1.5 * sky[0]
        assert sky.max() < 80
        # the warm light of the lanterns: reddest where it is brightest
        bright = picture.sum(axis=2) > np.percentile(picture.sum(axis=2), 90)
        ratio = picture[..., 0] / (picture[..., 2] + 1)
        assert np.median(ratio[bright]) > 1.2


def test_a_set_that_is_there_is_not_made_again(sample, monkeypatch):
    def fail(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(aachen, "render", fail)
    assert make_aachen_sample(sample.parents[1]) == sample


@pytest.mark.slow
def test_half_a_set_does_not_count_and_two_builds_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(aachen, "SHOTS", (DB_SHOTS[0], NIGHT_SHOTS[0]))
    first = make_aachen_sample(tmp_path / "a")
    robbed = tmp_path / "b" / "sample" / first.name
    robbed.mkdir(parents=True)
    (robbed / "image_pairs_to_match.txt").write_text("")
    again = make_aachen_sample(tmp_path / "b")
    assert again == robbed
    assert contents(again) == contents(first)


def test_the_folder_follows_the_recipe(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "build_once", lambda target, *_: target)
    assert make_aachen_sample(tmp_path).name == sample.name
    monkeypatch.setattr(aachen, "LANTERNS", aachen.LANTERNS[:-1])
    assert make_aachen_sample(tmp_path).name != sample.name


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "sample").write_text("in the way")
    with pytest.raises(D2EvalError, match=r"sample.*can't be written"):
        make_aachen_sample(tmp_path)


def test_queries_stand_where_no_database_camera_stands():
    for query in DAY_SHOTS + NIGHT_SHOTS:
        distances = [np.linalg.norm(np.subtract(query.center, db.center)) for db in DB_SHOTS]
        assert 0.2 < min(distances) < 1.5
