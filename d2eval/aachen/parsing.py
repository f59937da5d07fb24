"""The files of an Aachen Day-Night folder, read strictly.

Each reader takes a `Report`, which is told of every problem in the content, with the file and its
line. The default raises at the first; one that returns has the rest read as well.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from d2eval.errors import D2EvalError
from d2eval.localization import pose_from_wxyz

Report = Callable[[str], None]
NVM_FIELDS = 11
COLUMNS = {
    "cameras": ("camera_id", "model", "width", "height", "params", "prior_focal_length"),
    "images": ("image_id", "name", "camera_id"),
}


def fail(problem: str) -> None:
    """Raises ``problem``.

    Raises:
        D2EvalError: always.
    """
    raise D2EvalError(problem)


@dataclass(frozen=True)
class ColmapDatabase:
    """What a ``database.db`` holds.

    Attributes:
        image_ids: by image name.
        cameras: by image name, each with its camera_id and whether its focal length is a prior.
        keypoints: images that have keypoints, which are not used.
        matches: pairs that have matches, which are not used.
    """

    image_ids: dict[str, int]
    cameras: dict[str, pycolmap.Camera]
    keypoints: int = 0
    matches: int = 0


@dataclass(frozen=True)
class PairList:
    """Unordered pairs of image names, each once, in the order of its first line.

    Attributes:
        pairs: as their first lines have them.
        lines: numbers of these lines.
        merged: lines that repeated a pair, either way round.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    lines: tuple[int, ...] = ()
    merged: int = 0


def make_camera(
    model: pycolmap.CameraModelId, size: tuple[int, int], params: list[float], where: str
) -> pycolmap.Camera:
    """A camera, checked.

    Args:
        model: of COLMAP's.
        size: (width, height) in pixels.
        params: in the model's order.
        where: names the camera for the user.

    Raises:
        D2EvalError: wrong number of parameters, not finite, no size or no focal length above 0.
    """
    width, height = size
    if width <= 0 or height <= 0:
        raise D2EvalError(f"{where}: {width} x {height} is no image size; mend it")
    camera = pycolmap.Camera(model=model, width=width, height=height, params=params)
    if not camera.verify_params():
        expected = pycolmap.Camera.create_from_model_id(0, model, 1.0, width, height)
        raise D2EvalError(
            f"{where}: {model.name} has {len(expected.params)} parameters "
            f"({expected.params_info}), found {len(params)}; mend them"
        )
    focal_lengths = [params[k] for k in camera.focal_length_idxs()]
    if not np.isfinite(params).all() or min(focal_lengths, default=1.0) <= 0:
        raise D2EvalError(f"{where}: parameters not finite, or a focal length <= 0; mend them")
    return camera


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of the lines that hold something and are no comment, one by one."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                if words and not words[0].startswith("#"):
                    yield number, words
    except FileNotFoundError as error:
        raise D2EvalError(f"{path}: is missing; add it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise D2EvalError(f"{path}: can't be read ({error}); replace it") from error


def read_intrinsics(path: Path, report: Report = fail) -> dict[str, pycolmap.Camera]:
    """Reads lines ``name MODEL width height params...``, COLMAP's camera models.

    Raises:
        D2EvalError: a file that can't be read; by default, a line that doesn't parse or a name
            that stands twice.
    """
    cameras: dict[str, pycolmap.Camera] = {}
    for number, words in _read_lines(path):
        where = f"{path}: line {number}"
        model = pycolmap.CameraModelId.__members__.get(words[1]) if len(words) > 1 else None
        try:
            size = (int(words[2]), int(words[3]))
            params = [float(word) for word in words[4:]]
        except (ValueError, IndexError):
            report(f"{where}: not `name MODEL width height params...`; mend the line")
            continue
        if model in (None, pycolmap.CameraModelId.INVALID):
            report(f"{where}: {words[1]} is no camera model of COLMAP's; mend the line")
        elif words[0] in cameras:
            report(f"{where}: {words[0]} stands twice; keep one of its lines")
        else:
            try:
                cameras[words[0]] = make_camera(model, size, params, where)
            except D2EvalError as error:
                report(str(error))
    if not cameras:
        report(f"{path}: no camera; add lines `name MODEL width height params...`")
    return cameras


def read_pairs(path: Path, report: Report = fail) -> PairList:
    """Reads lines of two image names.

    Raises:
        D2EvalError: a file that can't be read; by default, a line without two names or with the
            same name twice.
    """
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    lines = []
    merged = 0
    for number, words in _read_lines(path):
        if len(words) != 2:
            report(f"{path}: line {number}: not two image names; mend the line")
        elif words[0] == words[1]:
            report(f"{path}: line {number}: {words[0]} is paired with itself; remove the line")
        elif frozenset(words) in pairs:
            merged += 1
        else:
            pairs[frozenset(words)] = (words[0], words[1])
            lines.append(number)
    if not pairs:
        report(f"{path}: no pair of images; add lines of two image names")
    return PairList(tuple(pairs.values()), tuple(lines), merged)


def _nvm_pose(words: list[str], where: str) -> pycolmap.Rigid3d:
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        numbers = []
    if len(numbers) != NVM_FIELDS - 1:
        raise D2EvalError(f"{where}: not `name f qw qx qy qz cx cy cz k 0`; mend the line")
    center = pose_from_wxyz((1, 0, 0, 0), numbers[5:8], where).translation
    rotation = pose_from_wxyz(numbers[1:5], np.zeros(3), where).rotation
    return pycolmap.Rigid3d(rotation, -(rotation.matrix() @ center))


def read_nvm(path: Path, report: Report = fail) -> dict[str, pycolmap.Rigid3d]:
    """Reads the camera poses of the first model of an NVM file; its points are passed over.

    A camera's line is ``name f qw qx qy qz cx cy cz k 0``, c its centre in the world, so that the
    translation of cam_from_world is -R c.

    Raises:
        D2EvalError: a file that can't be read or is no NVM_V3; fewer lines than it says; by
            default, a line that doesn't parse or a name that stands twice.
    """
    lines = _read_lines(path)
    _, header = next(lines, (0, [""]))
    _, words = next(lines, (0, [""]))
    if header[0] != "NVM_V3" or len(words) != 1 or not words[0].isdecimal():
        raise D2EvalError(f"{path}: not NVM_V3 and a number of cameras; replace it by an NVM file")
    count = int(words[0])
    poses: dict[str, pycolmap.Rigid3d] = {}
    rows = list(islice(lines, count))  # millions of points may follow
    if len(rows) < count or any(len(words) == 1 for _, words in rows):  # the number of points
        raise D2EvalError(f"{path}: fewer than the {count} cameras that it says; replace it")
    for number, words in rows:
        where = f"{path}: line {number}"
        if words[0] in poses:
            report(f"{where}: {words[0]} stands twice; keep one of its lines")
            continue
        try:
            poses[words[0]] = _nvm_pose(words, where)
        except D2EvalError as error:
            report(str(error))
    if not poses:
        report(f"{path}: no camera in the first model; replace it by an NVM file")
    return poses


def _check_layout(path: Path, database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for table, needed in COLUMNS.items():
        found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        lacking = ", ".join(column for column in needed if column not in found)
        if lacking:
            what = f"table {table} lacks {lacking}" if found else f"it has no table {table}"
            raise D2EvalError(
                f"{path}: not a COLMAP database that can be read ({what}; user_version "
                f"{version}); use the dataset's own, or one of another version of COLMAP"
            )


def _database_camera(row: tuple[Any, ...], path: Path) -> pycolmap.Camera:
    camera_id, model_id, width, height, params, prior = row
    where = f"{path}: camera {camera_id}"
    models = {int(m): m for m in pycolmap.CameraModelId.__members__.values() if int(m) >= 0}
    if model_id not in models:
        raise D2EvalError(f"{where}: camera model {model_id} is unknown; replace the database")
    if not isinstance(params, bytes) or len(params) % 8:
        raise D2EvalError(f"{where}: its parameters are no float64 numbers; replace the database")
    numbers = np.frombuffer(params, "<f8").tolist()
    camera = make_camera(models[model_id], (width, height), numbers, where)
    camera.camera_id = camera_id
    camera.has_prior_focal_length = bool(prior)
    return camera


def _count_rows(database: sqlite3.Connection, query: str) -> int:
    try:
        return int(database.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # no such table
        return 0


def _read_tables(path: Path, database: sqlite3.Connection, report: Report) -> ColmapDatabase:
    _check_layout(path, database)
    cameras: dict[int, pycolmap.Camera] = {}
    known = set()
    for row in database.execute(
        "SELECT camera_id, model, width, height, params, prior_focal_length FROM cameras"
    ):
        known.add(row[0])
        try:
            cameras[row[0]] = _database_camera(row, path)
        except D2EvalError as error:
            report(str(error))
    images = database.execute("SELECT image_id, name, camera_id FROM images ORDER BY image_id")
    image_ids, of_images = {}, {}
    for image_id, name, camera_id in images:
        image_ids[name] = image_id
        if camera_id not in known:
            report(f"{path}: image {name}: there is no camera {camera_id}; replace the database")
        elif camera_id in cameras:
            of_images[name] = cameras[camera_id]
    if not image_ids:
        raise D2EvalError(f"{path}: no image in the database; replace it")
    keypoints = _count_rows(database, "SELECT COUNT(*) FROM keypoints WHERE rows > 0")
    matches = _count_rows(database, "SELECT COUNT(*) FROM matches WHERE rows > 0")
    return ColmapDatabase(image_ids, of_images, keypoints, matches)


def read_database(path: Path, report: Report = fail) -> ColmapDatabase:
    """Reads cameras and images of a COLMAP database, and leaves the file as it is.

    SQLite reads it, not pycolmap: that migrates databases of older versions in place.

    Raises:
        D2EvalError: no SQLite file, or not COLMAP's tables; by default, a camera that is not
            valid or an image without its camera.
    """
    if not path.is_file():
        raise D2EvalError(f"{path}: is missing; add it")
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            return _read_tables(path, database, report)
    except sqlite3.Error as error:
        raise D2EvalError(
            f"{path}: not a database that can be read ({error}); replace it"
        ) from error
