"""The cameras and images of a COLMAP ``database.db``, read strictly and by SQLite alone.

COLMAP migrates a database of an older version in place, and ends the process at a damaged one, so
it never sees the user's file: `d2eval.aachen.workspace` builds one anew from what is read here.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from d2eval.aachen.data.parsing import Report, fail, make_camera
from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of, told
from d2eval.foundation.files.reading import copy_file, require_file
from d2eval.foundation.text.words import name_problem

# The columns that are read of each table, and the kind of SQLite's that each cell has.
COLUMNS = {
    "cameras": {
        "camera_id": "integer",
        "model": "integer",
        "width": "integer",
        "height": "integer",
        "params": "blob",
        "prior_focal_length": "integer",
    },
    "images": {"image_id": "integer", "name": "text", "camera_id": "integer"},
}
MOST_ID = 2**31 - 2  # of images, which COLMAP makes the numbers of pairs from
SIDECARS = ("-wal", "-journal")  # what the last program that wrote had not yet put into the file
STEPS_PER_BYTE = 16  # of SQLite, in which it walks any sound table; a damaged one may have no end
STEPS_BETWEEN = 100_000
LEAST_CELL_BYTES, MOST_CELL_BYTES = 2**16, 2**28

Row = dict[str, Any]


@dataclass(frozen=True)
class ColmapDatabase:
    """What a ``database.db`` holds."""

    image_ids: Mapping[str, int]  # by image name
    # by image name, each with its camera_id and whether its focal length is a prior
    cameras: Mapping[str, pycolmap.Camera]
    keypoints: int = 0  # images that have keypoints, which are not used
    matches: int = 0  # pairs that have matches, which are not used


def read_database(path: Path, report: Report = fail) -> ColmapDatabase:
    """Reads cameras and images of a COLMAP database, and leaves the file and its folder alone.

    What a write-ahead log or a journal beside the file says is taken in, as SQLite would do.

    Raises:
        D2EvalError: no SQLite file, a damaged one, or not COLMAP's tables; by default, a camera
            or an image that is not valid.
    """
    try:
        with _connect(path) as database:
            return _read_tables(path, database, report)
    # OSError: no folder for temporary files; UnicodeError: a message that quotes damaged bytes;
    # MemoryError: a row that says it is larger than the file
    except (sqlite3.Error, OSError, UnicodeError, MemoryError) as error:
        reason = "damaged" if isinstance(error, MemoryError) else reason_of(error)
        raise D2EvalError(
            f"{path}: not a database that can be read ({reason}); replace it"
        ) from error


@contextlib.contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing beside ``path``: a copy, where something has to change."""
    size = require_file(path)
    beside = {}
    for suffix in SIDECARS:
        sidecar = Path(f"{path.resolve()}{suffix}")
        with contextlib.suppress(MissingFileError):
            beside[suffix] = require_file(sidecar)
    with contextlib.ExitStack() as stack:
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        if any(beside.values()):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="d2eval-")))
            for suffix in ("", *beside):
                copy_file(Path(f"{path.resolve()}{suffix}"), folder / f"database.db{suffix}")
            address = f"{(folder / 'database.db').as_uri()}?mode=rw"
        database = stack.enter_context(contextlib.closing(sqlite3.connect(address, uri=True)))
        database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        size += sum(beside.values())
        if hasattr(database, "setlimit"):  # Python 3.11: no cell is larger than the file
            most = min(max(size, LEAST_CELL_BYTES), MOST_CELL_BYTES)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)
        steps = iter(range(STEPS_PER_BYTE * size // STEPS_BETWEEN + 10))
        database.set_progress_handler(lambda: next(steps, None) is None, STEPS_BETWEEN)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        yield database


def _check_layout(path: Path, database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = dict(
        database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    )
    for table, needed in COLUMNS.items():
        found = set()
        if not str(tables.get(table, "CREATE VIRTUAL")).upper().startswith("CREATE VIRTUAL"):
            found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        lacking = ", ".join(column for column in needed if column not in found)
        if lacking:
            what = f"table {table} lacks {lacking}" if found else f"it has no table {table}"
            raise D2EvalError(
                f"{path}: not a COLMAP database that can be read ({what}; user_version "
                f"{version}); use the dataset's own, or one of another version of COLMAP"
            )
        problems = [str(row[0]) for row in database.execute(f"PRAGMA integrity_check({table})")]
        if problems != ["ok"]:
            raise D2EvalError(
                f"{path}: damaged (table {table}: {problems[0].splitlines()[-1]}); replace it"
            )


def _rows(
    path: Path, database: sqlite3.Connection, table: str, report: Report
) -> Iterator[tuple[str, Row]]:
    """(where it is, cells) of the rows whose cells are of the right kinds, by id."""
    columns = COLUMNS[table]
    key = next(iter(columns))
    kinds = ", ".join(f"typeof({column})" for column in columns)
    query = f"SELECT {', '.join(columns)}, {kinds} FROM {table} ORDER BY {key}"  # noqa: S608
    for cells in database.execute(query):
        row = dict(zip(columns, cells, strict=False))
        where = f"{path}: table {table}, {key} {row[key]!r:.100}"
        found = dict(zip(columns, cells[len(columns) :], strict=True))
        wrong = [column for column, kind in columns.items() if found[column] != kind]
        if wrong:
            column = wrong[0]
            kind = "no value" if found[column] == "null" else f"of type {found[column]}"
            report(
                f"{where}: {column} is {kind}, not {columns[column]}; write it as plain "
                f"{columns[column]} (NumPy's numbers are stored as blobs) or replace the database"
            )
        else:
            yield where, row


def _camera(row: Row, where: str) -> pycolmap.Camera:
    models = {int(m): m for m in pycolmap.CameraModelId.__members__.values() if int(m) >= 0}
    if row["model"] not in models:
        raise D2EvalError(f"{where}: camera model {row['model']} is unknown; replace the database")
    if not 0 < row["camera_id"] <= MOST_ID:
        raise D2EvalError(f"{where}: is no id of COLMAP's; replace the database")
    if len(row["params"]) % 8:
        raise D2EvalError(f"{where}: params are no float64 numbers; replace the database")
    if row["prior_focal_length"] not in (0, 1):
        raise D2EvalError(f"{where}: prior_focal_length is neither 0 nor 1; replace the database")
    numbers = np.frombuffer(row["params"], "<f8").tolist()
    camera = make_camera(models[row["model"]], (row["width"], row["height"]), numbers, where)
    camera.camera_id = row["camera_id"]
    camera.has_prior_focal_length = bool(row["prior_focal_length"])
    return camera


def _read_cameras(
    path: Path, database: sqlite3.Connection, report: Report
) -> dict[int, pycolmap.Camera]:
    """Those that are valid, by id."""
    cameras: dict[int, pycolmap.Camera] = {}
    for where, row in _rows(path, database, "cameras", report):
        with told(report):
            if row["camera_id"] in cameras:
                raise D2EvalError(f"{where}: stands twice; replace the database")
            cameras[row["camera_id"]] = _camera(row, where)
    return cameras


def _image_problem(row: Row, known: Collection[Any], taken: Collection[int | str]) -> str | None:
    name = row["name"]
    if problem := name_problem(name):
        return f"name {name[:100]!r} {problem}"
    if not 0 < row["image_id"] <= MOST_ID:
        return f"{name}: is no id of COLMAP's"
    if row["image_id"] in taken or name in taken:
        return f"{name}: the name or the id stands twice"
    if row["camera_id"] not in known:
        return f"{name}: there is no camera {row['camera_id']}"
    return None


def _read_tables(path: Path, database: sqlite3.Connection, report: Report) -> ColmapDatabase:
    _check_layout(path, database)
    cameras = _read_cameras(path, database, report)
    known = {row[0] for row in database.execute("SELECT camera_id FROM cameras")}
    image_ids: dict[str, int] = {}
    taken: set[int | str] = set()
    of_images = {}
    for where, row in _rows(path, database, "images", report):
        problem = _image_problem(row, known, taken)
        if problem:
            report(f"{where}: {problem}; replace the database")
            continue
        image_ids[row["name"]] = row["image_id"]
        taken |= {row["name"], row["image_id"]}
        if row["camera_id"] in cameras:
            of_images[row["name"]] = cameras[row["camera_id"]]
    if not image_ids:
        raise D2EvalError(f"{path}: no valid image in the database; replace it")
    keypoints = _count(database, "SELECT COUNT(*) FROM keypoints WHERE rows > 0")
    matches = _count(database, "SELECT COUNT(*) FROM matches WHERE rows > 0")
    return ColmapDatabase(image_ids, of_images, keypoints, matches)


def _count(database: sqlite3.Connection, query: str) -> int:
    try:
        return int(database.execute(query).fetchone()[0])
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # table, or column
            return 0
        raise
