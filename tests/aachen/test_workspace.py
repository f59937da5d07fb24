import sqlite3
import struct

import numpy as np
import pycolmap
import pytest
from aachen_folder import write_database
from synthetic import make_scene, shifted, with_pairs

from d2eval.aachen.protocol import load_benchmark
from d2eval.aachen.workspace import create_database, open_database, write_matches
from d2eval.foundation.errors import D2EvalError


def user_version(path):
    with sqlite3.connect(path) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return version


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path / "data", 1, images=3, points=40, prior=True, distortion=0.02)


def test_colmap_migrates_what_it_opens(tmp_path):
    # Why the dataset's database is never opened: if this fails, COLMAP has become harmless.
    write_database(tmp_path / "old.db", ["a.png"])
    before = (tmp_path / "old.db").read_bytes()
    with pycolmap.Database.open(tmp_path / "old.db"):
        pass
    assert (tmp_path / "old.db").read_bytes() != before
    assert user_version(tmp_path / "old.db") > 3400


def write_matches_of(scene, path):
    keypoints = shifted(scene, load_benchmark("aachen"))
    create_database(path, scene.dataset, keypoints)
    return write_matches(path, scene.dataset, scene.matches.items())


def test_the_copy_holds_ids_intrinsics_keypoints_and_matches(scene, tmp_path):
    counts = write_matches_of(scene, tmp_path / "work" / "copy.db")
    assert counts == {pair: len(m) for pair, m in scene.matches.items()}
    dataset = scene.dataset
    with pycolmap.Database.open(tmp_path / "work" / "copy.db") as database:
        assert {i.name: i.image_id for i in database.read_all_images()} == dataset.image_ids
        for image in database.read_all_images():
            expected = dataset.cameras[image.name]
            camera = database.read_camera(image.camera_id)
            assert str(camera) == str(expected)
            assert camera.params.tolist() == expected.params.tolist()
            assert camera.has_prior_focal_length
            stored = database.read_keypoints(image.image_id)
            points = scene.keypoints[image.name].keypoints
            np.testing.assert_array_equal(stored[:, :2], points)
        for (a, b), matches in scene.matches.items():
            stored = database.read_matches(dataset.image_ids[a], dataset.image_ids[b])
            assert sorted(stored.tolist()) == sorted(matches.tolist())
        assert database.num_verified_image_pairs() == 0


def test_keypoints_become_scale_one_without_orientation(scene, tmp_path):
    # As the challenge's script stores them: float32 x, y, scale, orientation or an equal affinity.
    write_matches_of(scene, tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as database:
        rows = database.execute("SELECT rows, cols, data FROM keypoints").fetchall()
    database.close()
    assert len(rows) == 5
    for count, columns, data in rows:
        assert len(data) == 4 * count * columns
        first = struct.unpack(f"<{columns}f", data[: 4 * columns])
        assert first[2:] in [(), (1.0, 0.0), (1.0, 0.0, 0.0, 1.0)]


def test_an_older_copy_is_replaced(scene, tmp_path):
    (tmp_path / "copy.db").write_bytes(b"what a killed run left")
    assert write_matches_of(scene, tmp_path / "copy.db")


def test_rows_rise_with_the_image_of_lower_id_first(scene, tmp_path):
    dataset = scene.dataset  # image ids fall by name
    matches = np.array([[0, 9], [1, 3], [2, 7]], np.int32)
    pairs = {("db/0.png", "db/1.png"): matches, ("db/2.png", "db/1.png"): matches[::-1]}
    database = tmp_path / "copy.db"
    keypoints = shifted(scene, load_benchmark("aachen"))
    create_database(database, dataset, keypoints)
    write_matches(database, dataset, with_pairs(scene, pairs).matches.items())
    with sqlite3.connect(database) as opened:
        rows = dict(opened.execute("SELECT pair_id, data FROM matches").fetchall())
    opened.close()
    ids = [dataset.image_ids[f"db/{k}.png"] for k in range(3)]
    pair_ids = [pycolmap.image_pair_to_pair_id(*pair) for pair in (ids[:2], ids[1:])]
    stored = [np.frombuffer(rows[i], "<u4").reshape(-1, 2).tolist() for i in pair_ids]
    assert stored == [[[3, 1], [7, 2], [9, 0]], [[0, 9], [1, 3], [2, 7]]]


def test_matches_of_nothing(scene, tmp_path):
    pair = ("db/0.png", "db/1.png")
    some = with_pairs(scene, {pair: np.zeros((0, 2), np.int32)})
    assert write_matches_of(some, tmp_path / "copy.db") == {pair: 0}
    with pycolmap.Database.open(tmp_path / "copy.db") as database:
        assert database.read_matches(1, 2).shape == (0, 2)


def test_a_database_that_can_t_be_written(scene, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(D2EvalError, match=r"new\.db: can't be written"):
        create_database(tmp_path / "file" / "new.db", scene.dataset, {})
    (tmp_path / "new.db").mkdir()
    with pytest.raises(D2EvalError, match=r"new\.db: can't be written"):
        create_database(tmp_path / "new.db", scene.dataset, {})


def test_a_file_that_colmap_can_t_use(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with (
        pytest.raises(D2EvalError, match=r"broken\.db: COLMAP can't use the database") as caught,
        open_database(tmp_path / "broken.db"),
    ):
        pass
    assert "\n" not in str(caught.value)
