import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import aachen_folder
import pycolmap
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import CASES, needs

from d2eval.aachen.data.database import read_database
from d2eval.foundation.errors import D2EvalError


def message(path: Path) -> str:
    """The error without the file's name, which comes first."""
    with pytest.raises(D2EvalError) as caught:
        read_database(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def change(path: Path, statement: str, *values: object) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "set" / "database.db"
    path.parent.mkdir()
    aachen_folder.write_database(path, ["db/1.png", "query/a.png"])
    return path


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
        ("UPDATE cameras SET model = 99 WHERE camera_id = 2",
         "table cameras, camera_id 2: camera model 99 is unknown"),
        ("UPDATE cameras SET model = -1 WHERE camera_id = 2",
         "table cameras, camera_id 2: camera model -1"),
        ("UPDATE cameras SET params = x'00'", "table cameras, camera_id 1: params are no float64"),
        ("UPDATE cameras SET params = NULL",
         "table cameras, camera_id 1: params is no value, not blob"),
        ("UPDATE cameras SET params = zeroblob(40)",
         "table cameras, camera_id 1: SIMPLE_RADIAL has 4 parameters"),
        ("UPDATE cameras SET params = zeroblob(32)",
         "table cameras, camera_id 1: parameters not finite or beyond reason, or a focal"),
        ("UPDATE cameras SET width = 0", "table cameras, camera_id 1: 0 x 6 is no image size"),
        ("UPDATE cameras SET width = -8", "table cameras, camera_id 1: -8 x 6 is no image size"),
        ("UPDATE cameras SET height = 9223372036854775807",
         "table cameras, camera_id 1: 8 x 9223372036854775807 is no image size"),
        ("UPDATE cameras SET width = x'0800000000000000' WHERE camera_id = 2",
         "table cameras, camera_id 2: width is of type blob, not integer"),
        ("UPDATE cameras SET width = '8px' WHERE camera_id = 2",
         "table cameras, camera_id 2: width is of type text, not integer"),
        ("UPDATE cameras SET height = 6.5", "table cameras, camera_id 1: height is of type real"),
        ("UPDATE cameras SET prior_focal_length = 7",
         "table cameras, camera_id 1: prior_focal_length is neither 0 nor 1"),
        ("UPDATE cameras SET camera_id = -3 WHERE camera_id = 2",
         "table cameras, camera_id -3: is no id of COLMAP's"),
        ("UPDATE images SET image_id = 9223372036854775807 WHERE image_id = 2",
         "table images, image_id 9223372036854775807: db/1.png: is no id of COLMAP's"),
        ("UPDATE images SET name = CAST(name AS BLOB) WHERE image_id = 2",
         "table images, image_id 2: name is of type blob, not text; write it as plain text"),
        ("UPDATE images SET name = CAST(x'64ff' AS TEXT) WHERE image_id = 2",
         "table images, image_id 2: name 'd\\udcff' holds control characters or isn't UTF-8"),
        ("UPDATE images SET name = '/etc/passwd' WHERE image_id = 2",
         "table images, image_id 2: name '/etc/passwd' is an absolute path"),
        ("UPDATE images SET name = 'db/../../x.png' WHERE image_id = 2",
         "table images, image_id 2: name 'db/../../x.png' leads out of the dataset's folder"),
        ("UPDATE images SET name = 'a' || char(10) || 'b' WHERE image_id = 2",
         "table images, image_id 2: name 'a\\nb' holds control characters"),
        ("UPDATE images SET name = 'a' || char(0) WHERE image_id = 2",
         "table images, image_id 2: name 'a\\x00' holds control characters"),
        ("UPDATE images SET name = '' WHERE image_id = 2",
         "table images, image_id 2: name '' is no file's"),
        ("UPDATE images SET camera_id = x'01' WHERE image_id = 2",
         "table images, image_id 2: camera_id is of type blob, not integer"),
        ("DELETE FROM cameras WHERE camera_id = 2",
         "table images, image_id 1: query/a.png: there is no camera 2"),
        ("DELETE FROM images", "no valid image in the database"),
    ],
)  # fmt: skip
def test_a_broken_database(database, statement, expected):
    assert message(change(database, statement)).startswith(expected)


@pytest.mark.parametrize(("table", "key"), [("images", "image_id"), ("cameras", "camera_id")])
def test_a_table_without_a_key_may_name_a_thing_twice(database, table, key):
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.executescript(
            f"CREATE TABLE other AS SELECT * FROM {table}; DROP TABLE {table};"  # noqa: S608
            f"ALTER TABLE other RENAME TO {table}; INSERT INTO {table} SELECT * FROM {table};"
        )
    assert "stands twice" in message(database)
    assert message(database).startswith(f"table {table}, {key} 1: ")


def test_views_and_virtual_tables_are_no_tables(database):
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.executescript(
            "DROP TABLE images; CREATE VIEW images AS WITH RECURSIVE r(image_id) AS (SELECT 1 UNION"
            " ALL SELECT image_id + 1 FROM r) SELECT image_id, 'n' || image_id AS name,"
            " 1 AS camera_id FROM r;"
        )
    assert message(database).startswith("not a COLMAP database that can be read (it has no table")


def test_a_write_ahead_log_is_part_of_the_database(database, tmp_path):
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE images SET name = 'db/new.png' WHERE image_id = 2")
        writer.execute("UPDATE cameras SET prior_focal_length = 1")
        writer.commit()
        killed = tmp_path / "killed"  # as its files were at this moment, without those of memory
        killed.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{database}{suffix}", killed)
    before = contents(killed)
    found = read_database(killed / "database.db")
    assert found.image_ids == {"db/new.png": 2, "query/a.png": 1}
    assert all(camera.has_prior_focal_length for camera in found.cameras.values())
    assert contents(killed) == before
    (killed / "link.db").symlink_to("database.db")  # SQLite looks beside what the link names
    assert read_database(killed / "link.db").image_ids == found.image_ids


def test_a_journal_takes_back_what_was_half_written(database, tmp_path):
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("CREATE TABLE filler (x)")
        writer.execute("BEGIN")
        writer.execute("UPDATE images SET name = 'half/' || name")
        for _ in range(20):  # does not fit the cache, so that the file is written to
            writer.execute("INSERT INTO filler VALUES (randomblob(8000))")
        for suffix in ("", "-journal"):
            shutil.copy(f"{database}{suffix}", killed)
        writer.execute("ROLLBACK")
    assert b"half/db/1.png" in (killed / "database.db").read_bytes()
    before = contents(killed)
    assert read_database(killed / "database.db").image_ids == {"db/1.png": 2, "query/a.png": 1}
    assert contents(killed) == before


def test_a_log_that_is_no_file_is_refused(database):
    Path(f"{database}-wal").mkdir()
    with pytest.raises(D2EvalError, match=r"database\.db-wal: is a folder"):
        read_database(database)


def test_an_index_that_says_something_else_than_its_table(database):
    with closing(sqlite3.connect(database)) as opened:
        ((root,), (size,)) = (
            opened.execute(query).fetchone()
            for query in (
                "SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_images%'",
                "PRAGMA page_size",
            )
        )
    data = bytearray(database.read_bytes())
    at = data.index(b"db/1.png", (root - 1) * size)
    data[at : at + 8] = b"db/2.png"
    database.write_bytes(data)
    assert message(database).startswith("damaged (table images: ")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_bytes_raise_nothing_else(database, data):
    content = bytearray(database.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.none())
    path = database.with_name("damaged.db")
    path.write_bytes(content[:cut])
    try:
        found = read_database(path)
    except D2EvalError as error:
        assert "\n" not in str(error)
    else:
        assert set(found.cameras) == set(found.image_ids)


@pytest.mark.parametrize(
    "wrong", [b"\xff\xff\xff\xff", b"\xff" * 9, b"\x00" * 4, b"\x8f\xff\xff\x7f"]
)
def test_rows_that_say_they_are_larger_than_the_file(database, wrong):
    content = database.read_bytes()
    for name in (b"db/1.png", b"query/a.png"):
        at = content.index(name)
        for start in range(at - 24, at):  # the row's sizes and kinds of cells
            database.write_bytes(content[:start] + wrong + content[start + len(wrong) :])
            try:
                read_database(database)
            except D2EvalError as error:
                assert "\n" not in str(error)


def test_what_is_no_database(tmp_path):
    path = tmp_path / "database.db"
    assert message(path) == "is missing; add it"
    path.write_text("no database, but long enough for a header of one hundred bytes\n" * 3)
    assert message(path).startswith("not a database that can be read (file is not")
    path.write_bytes(b"")
    assert "it has no table cameras; user_version 0" in message(path)


def test_a_database_that_is_cut_short(database):
    database.write_bytes(database.read_bytes()[:-5000])
    assert message(database).startswith("not a database that can be read (")


def test_all_cameras_that_are_broken_are_reported(database):
    told: list[str] = []
    change(database, "UPDATE cameras SET width = -1")
    found = read_database(database, told.append)
    rows = [line.split(": ")[1] for line in told]
    assert rows == ["table cameras, camera_id 1", "table cameras, camera_id 2"]
    assert (len(found.image_ids), found.cameras) == (2, {})


needs_cases = needs(CASES)


@needs_cases
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blobname", "table images, image_id 1: name is of type blob, not text; "),
        ("f64size", "table cameras, camera_id 1: width is of type real, not integer; "),
        ("npint", "table cameras, camera_id 1: width is of type blob, not integer; "),
        ("width_text", "table cameras, camera_id 1: width is of type text, not integer; "),
    ],
)
def test_cells_of_other_types(name, expected):
    assert message(CASES / "database_cell_types" / f"{name}.db").startswith(expected)


@needs_cases
def test_what_sqlite_reads_and_colmap_doesn_t():
    assert message(CASES / "damaged_database/crash_1.db").startswith(("not a database", "damaged"))


@needs_cases
def test_a_database_whose_newest_content_is_in_its_log():
    found = read_database(CASES / "wal_database/database.db")
    assert len(found.image_ids) == 14
    assert all(camera.has_prior_focal_length for camera in found.cameras.values())
