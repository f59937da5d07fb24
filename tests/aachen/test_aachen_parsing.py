import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import aachen_folder
import numpy as np
import pycolmap
import pytest

from d2eval.aachen.parsing import read_database, read_intrinsics, read_nvm, read_pairs
from d2eval.errors import D2EvalError
from d2eval.localization import center

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, ""]))
    return path


def message(reader, path: Path) -> str:
    """The error without the file's name, which comes first."""
    with pytest.raises(D2EvalError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def change(path: Path, statement: str, *values: object) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)
    return path


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "database.db"
    aachen_folder.write_database(path, ["db/1.png", "query/a.png"])
    return path


def test_a_pose_from_nvm_by_hand(tmp_path):
    # A quarter turn about x: R = [[1 0 0] [0 0 -1] [0 1 0]], and c = (1, 2, 3): -R c = (-1, 3, -2)
    half = repr(0.5**0.5)
    path = write(
        tmp_path / "m.nvm",
        "NVM_V3",
        "",
        "2",
        f"db/1.jpg 500 {half} {half} 0 0 1 2 3 0.1 0",
        "db/2.jpg\t500 1 0 0 0 4 5 6 0 0",
        "",
        "1",
        "0 0 0 255 255 255 1 0 0 1 1",
    )
    poses = read_nvm(path)
    assert list(poses) == ["db/1.jpg", "db/2.jpg"]
    turned = poses["db/1.jpg"]
    expected = [[1, 0, 0, -1], [0, 0, -1, 3], [0, 1, 0, -2]]
    np.testing.assert_allclose(turned.matrix(), expected, atol=1e-12)
    np.testing.assert_allclose(center(turned), [1, 2, 3], atol=1e-12)
    np.testing.assert_allclose(poses["db/2.jpg"].translation, [-4, -5, -6])


CAMERA = "db/1.jpg 500 1 0 0 0 1 2 3 0 0"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "not NVM_V3 and a number"),
        (["NVM_V2", "1", CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", "2", CAMERA], "fewer than the 2 cameras"),
        (["NVM_V3", "", "2", CAMERA, "", "0"], "fewer than the 2 cameras"),
        (["NVM_V3", "", "0", "", "0"], "no camera in the first model"),
        (["NVM_V3", "", "2", CAMERA, CAMERA], "line 5: db/1.jpg stands twice"),
        (["NVM_V3", "", "1", CAMERA + " 0"], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", "db/1.jpg 500 1 0 0 0 1 2 3 0"], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", CAMERA.replace("500", "f")], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", CAMERA.replace("1 0 0 0", "0 0 0 0")], "line 4: no pose"),
        (["NVM_V3", "", "1", CAMERA.replace("1 2 3", "1 nan 3")], "line 4: no pose"),
    ],
)
def test_a_broken_nvm(tmp_path, lines, expected):
    assert message(read_nvm, write(tmp_path / "m.nvm", *lines)).startswith(expected)


def test_points_of_an_nvm_are_not_read(tmp_path):
    path = write(tmp_path / "m.nvm", "NVM_V3", "", "1", CAMERA, "", "1")
    path.write_bytes(path.read_bytes() + b"0 0 0 1\n" * 100_000 + b"\xff")  # the last is no text
    assert list(read_nvm(path)) == ["db/1.jpg"]


def test_intrinsics(tmp_path):
    path = write(
        tmp_path / "list.txt",
        "# a comment",
        "db/1.jpg SIMPLE_RADIAL 1600 1200 1199.91 800.0 600.5 -0.0324314",
        "",
        "db/2.jpg PINHOLE 640 480 500 501 320 240",
    )
    cameras = read_intrinsics(path)
    assert list(cameras) == ["db/1.jpg", "db/2.jpg"]
    first, second = cameras.values()
    assert (first.model, first.width, first.height) == (
        pycolmap.CameraModelId.SIMPLE_RADIAL,
        1600,
        1200,
    )
    assert first.params.tolist() == [1199.91, 800, 600.5, -0.0324314]
    assert (second.model, second.params.tolist()) == (
        pycolmap.CameraModelId.PINHOLE,
        [500, 501, 320, 240],
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.jpg", "line 2: not `name MODEL"),
        ("a.jpg SIMPLE_RADIAL 8 six 9 4 3 0", "line 2: not `name MODEL"),
        ("a.jpg SIMPLE_RADIAL 8 6 9 4 3 zero", "line 2: not `name MODEL"),
        ("a.jpg FISHY 8 6 9 4 3 0", "line 2: FISHY is no camera model"),
        ("a.jpg INVALID 8 6 9 4 3 0", "line 2: INVALID is no camera model"),
        ("a.jpg SIMPLE_RADIAL 8 6 9 4 3", "line 2: SIMPLE_RADIAL has 4 parameters (f, cx, cy, k)"),
        ("a.jpg PINHOLE 8 6 9 4 3 0 1", "line 2: PINHOLE has 4 parameters (fx, fy, cx, cy), found"),
        ("a.jpg SIMPLE_RADIAL 8 0 9 4 3 0", "line 2: 8 x 0 is no image size"),
        ("a.jpg SIMPLE_RADIAL 8 6 nan 4 3 0", "line 2: parameters not finite"),
        ("a.jpg PINHOLE 8 6 9 0 4 3", "line 2: parameters not finite, or a focal length <= 0"),
        ("z.jpg SIMPLE_RADIAL 8 6 9 4 3 0", "line 2: z.jpg stands twice"),
    ],
)
def test_a_broken_line_of_intrinsics(tmp_path, line, expected):
    path = write(tmp_path / "list.txt", "z.jpg SIMPLE_PINHOLE 8 6 9 4 3", line)
    assert message(read_intrinsics, path).startswith(expected)


def test_pairs_are_merged_either_way_round(tmp_path):
    path = write(tmp_path / "pairs.txt", "b a", "", "c d", "a b", "# x", "b a", "a c")
    pairs = read_pairs(path)
    assert pairs.pairs == (("b", "a"), ("c", "d"), ("a", "c"))
    assert pairs.lines == (1, 3, 7)
    assert pairs.merged == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", "line 2: not two image names"),
        ("a b c", "line 2: not two image names"),
        ("c c", "line 2: c is paired with itself"),
    ],
)
def test_a_broken_pair(tmp_path, line, expected):
    assert message(read_pairs, write(tmp_path / "p.txt", "a b", line)).startswith(expected)


@pytest.mark.parametrize("reader", [read_nvm, read_intrinsics, read_pairs])
def test_files_that_hold_nothing_of_use(tmp_path, reader):
    path = tmp_path / "file"
    assert message(reader, path) == "is missing; add it"
    path.write_bytes(b"\xff\xfe\x00")
    assert message(reader, path).startswith("can't be read (")
    path.write_text("# nothing\n\n")
    assert message(reader, path).startswith(("no camera;", "no pair", "not NVM_V3"))
    path.unlink()
    path.mkdir()
    assert message(reader, path).startswith("can't be read (")


def test_a_report_that_returns_hears_of_every_line(tmp_path):
    told: list[str] = []
    intrinsics = write(tmp_path / "i", "a X 1 1 1", "b PINHOLE 8 6 1 1 4 3", "c PINHOLE 8 6 1", "d")
    assert list(read_intrinsics(intrinsics, told.append)) == ["b"]
    nvm = write(tmp_path / "m", "NVM_V3", "", "3", "x 1", CAMERA, CAMERA)
    assert list(read_nvm(nvm, told.append)) == ["db/1.jpg"]
    pairs = write(tmp_path / "p", "a", "a b", "c c")
    assert read_pairs(pairs, told.append).pairs == (("a", "b"),)
    numbers = [int(line.split(": line ")[1].split(":")[0]) for line in told]
    assert numbers == [1, 3, 4, 4, 6, 1, 3]


def test_a_database(database):
    before = hashlib.sha256(database.read_bytes()).digest()
    found = read_database(database)
    assert found.image_ids == {"db/1.png": 2, "query/a.png": 1}
    camera = found.cameras["query/a.png"]
    assert (camera.camera_id, camera.width, camera.height) == (2, 8, 6)
    assert camera.model == pycolmap.CameraModelId.SIMPLE_RADIAL
    assert camera.params.tolist() == [102, 4, 3, 0]
    assert [c.has_prior_focal_length for c in found.cameras.values()] == [True, False]
    assert (found.keypoints, found.matches) == (0, 0)
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert list(database.parent.iterdir()) == [database]  # no journal beside it


def test_nothing_is_written_beside_a_database_that_keeps_a_journal(database):
    change(database, "PRAGMA journal_mode = WAL")
    before = database.read_bytes()
    assert len(read_database(database).image_ids) == 2
    assert list(database.parent.iterdir()) == [database]
    assert database.read_bytes() == before


def test_a_database_with_an_odd_name(database):
    odd = database.rename(database.with_name("a?b#c%20.db"))
    assert len(read_database(odd).image_ids) == 2


def test_features_in_a_database_are_counted(database):
    change(database, "INSERT INTO keypoints VALUES (1, 3, 2, x'00'), (2, 0, 2, NULL)")
    change(database, "INSERT INTO matches VALUES (7, 3, 2, x'00')")
    found = read_database(database)
    assert (found.keypoints, found.matches) == (1, 1)
    for table in ("keypoints", "matches"):
        change(database, f"DROP TABLE {table}")
    assert read_database(database).keypoints == 0


def test_a_database_that_a_newer_colmap_has_migrated(database):
    before = read_database(database)
    with pycolmap.Database.open(database):
        pass
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] > 3400
    after = read_database(database)
    assert after.image_ids == before.image_ids
    assert after.cameras == before.cameras


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP TABLE images", "not a COLMAP database that can be read (it has no table images; "),
        ("ALTER TABLE cameras DROP COLUMN params", "not a COLMAP database that can be read (table "
         "cameras lacks params; user_version 3400)"),
        ("UPDATE cameras SET model = 99 WHERE camera_id = 2", "camera 2: camera model 99"),
        ("UPDATE cameras SET model = -1 WHERE camera_id = 2", "camera 2: camera model -1"),
        ("UPDATE cameras SET params = x'00'", "camera 1: its parameters are no float64"),
        ("UPDATE cameras SET params = NULL", "camera 1: its parameters are no float64"),
        ("UPDATE cameras SET params = zeroblob(40)", "camera 1: SIMPLE_RADIAL has 4 parameters"),
        ("UPDATE cameras SET params = zeroblob(32)", "camera 1: parameters not finite, or a focal"),
        ("UPDATE cameras SET width = 0", "camera 1: 0 x 6 is no image size"),
        ("DELETE FROM cameras WHERE camera_id = 2", "image query/a.png: there is no camera 2"),
        ("DELETE FROM images", "no image in the database"),
    ],
)  # fmt: skip
def test_a_broken_database(database, statement, expected):
    assert message(read_database, change(database, statement)).startswith(expected)


def test_what_is_no_database(tmp_path):
    path = tmp_path / "database.db"
    assert message(read_database, path) == "is missing; add it"
    path.write_text("no database, but long enough for a header of one hundred bytes\n" * 3)
    assert message(read_database, path).startswith("not a database that can be read (file is not")
    path.write_bytes(b"")
    assert "it has no table cameras; user_version 0" in message(read_database, path)


def test_a_database_that_is_cut_short(database):
    database.write_bytes(database.read_bytes()[:-5000])
    assert message(read_database, database).startswith("not a database that can be read (")


def test_all_cameras_that_are_broken_are_reported(database):
    told: list[str] = []
    change(database, "UPDATE cameras SET width = -1")
    found = read_database(database, told.append)
    assert [line.split(": ")[1] for line in told] == ["camera 1", "camera 2"]
    assert (len(found.image_ids), found.cameras) == (2, {})


@pytest.mark.skipif(not (DATA / "aachen-meta").is_dir(), reason="no shared data")
def test_aachens_own_files():
    folder = DATA / "aachen-meta"
    found = read_database(folder / "database.db")
    assert len(found.image_ids) == len(found.cameras) == 5401
    focal_lengths = {n: c.params[0] for n, c in found.cameras.items() if n.startswith("db/")}
    assert len(focal_lengths) == 4479
    assert set(focal_lengths.values()) == {1920.0}
    assert not any(c.has_prior_focal_length for c in found.cameras.values())
    pairs = read_pairs(folder / "image_pairs_to_match.txt")
    assert (len(pairs.pairs), pairs.merged) == (14941, 0)
    night = read_intrinsics(folder / "night_time_queries_with_intrinsics_from_database.txt")
    assert len(night) == 98
    for name, camera in night.items():  # made from the database, so they agree
        np.testing.assert_allclose(camera.params, found.cameras[name].params, rtol=1e-12)
