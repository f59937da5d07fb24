"""The files of an Aachen Day-Night folder, read strictly.

Each reader takes a `Report`, which is told of every problem in the content, with the file and its
line. The default raises at the first; one that returns has the rest read as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.foundation.errors import D2EvalError, told
from d2eval.foundation.files.reading import read_words
from d2eval.foundation.formats.poses import pose_from_wxyz
from d2eval.foundation.text.words import (
    MOST_COORDINATE,
    check_name,
    is_image_size,
    name_problem,
    real,
    reals,
    whole,
)

Report = Callable[[str], None]
NVM_FIELDS = 11


def fail(problem: str) -> None:
    """Raises ``problem``.

    Raises:
        D2EvalError: always.
    """
    raise D2EvalError(problem)


@dataclass(frozen=True)
class PairList:
    """Unordered pairs of image names, each once, in the order of its first line."""

    pairs: tuple[tuple[str, str], ...] = ()  # as their first lines have them
    lines: tuple[int, ...] = ()  # numbers of these lines
    merged: int = 0  # lines that repeated a pair, either way round


def make_camera(
    model: pycolmap.CameraModelId, size: tuple[int, int], params: list[float], where: str
) -> pycolmap.Camera:
    """A camera, checked.

    ``size`` is (width, height) in pixels; ``where`` names the camera for the user.

    Raises:
        D2EvalError: wrong number of parameters, not finite, no size or no focal length above 0.
    """
    width, height = size
    if not is_image_size(width, height):
        raise D2EvalError(f"{where}: {width} x {height} is no image size; mend it")
    camera = pycolmap.Camera(model=model, width=width, height=height, params=params)
    if not camera.verify_params():
        expected = pycolmap.Camera.create_from_model_id(0, model, 1.0, width, height)
        raise D2EvalError(
            f"{where}: {model.name} has {len(expected.params)} parameters "
            f"({expected.params_info}), found {len(params)}; mend them"
        )
    focal_lengths = [params[k] for k in camera.focal_length_idxs()]
    sound = np.isfinite(params).all() and np.abs(params).max() <= MOST_COORDINATE
    if not sound or min(focal_lengths, default=1.0) <= 0:
        raise D2EvalError(
            f"{where}: parameters not finite or beyond reason, or a focal length <= 0; mend them"
        )
    return camera


def read_intrinsics(path: Path, report: Report = fail) -> dict[str, pycolmap.Camera]:
    """Reads lines ``name MODEL width height params...``, COLMAP's camera models.

    Raises:
        D2EvalError: a file that can't be read; by default, a line that doesn't parse or a name
            that stands twice.
    """
    cameras: dict[str, pycolmap.Camera] = {}
    for number, words in read_words(path):
        where = f"{path}: line {number}"
        model = pycolmap.CameraModelId.__members__.get(words[1]) if len(words) > 1 else None
        try:
            size = (whole(words[2]), whole(words[3]))
            params = [real(word) for word in words[4:]]
        except (ValueError, IndexError):
            report(f"{where}: not `name MODEL width height params...`; mend the line")
            continue
        if model in (None, pycolmap.CameraModelId.INVALID):
            report(f"{where}: {words[1]} is no camera model of COLMAP's; mend the line")
        elif words[0] in cameras:
            report(f"{where}: {words[0]} stands twice; keep one of its lines")
        else:
            with told(report):
                cameras[check_name(words[0], where)] = make_camera(model, size, params, where)
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
    for number, words in read_words(path):
        if len(words) != 2:
            report(f"{path}: line {number}: not two image names; mend the line")
        elif words[0] == words[1]:
            report(f"{path}: line {number}: {words[0]} is paired with itself; remove the line")
        elif problem := next(filter(None, map(name_problem, words)), None):
            report(f"{path}: line {number}: an image name {problem}; mend the line")
        elif frozenset(words) in pairs:
            merged += 1
        else:
            pairs[frozenset(words)] = (words[0], words[1])
            lines.append(number)
    if not pairs:
        report(f"{path}: no pair of images; add lines of two image names")
    return PairList(tuple(pairs.values()), tuple(lines), merged)


def _nvm_pose(words: list[str], where: str) -> pycolmap.Rigid3d:
    numbers = reals(words[1:], NVM_FIELDS - 1)
    if numbers is None:
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
    lines = read_words(path)
    _, header = next(lines, (0, [""]))
    _, words = next(lines, (0, [""]))
    try:
        if header[0] != "NVM_V3" or len(words) != 1 or (count := whole(words[0])) < 0:
            raise ValueError
    except ValueError as error:
        raise D2EvalError(
            f"{path}: not NVM_V3 and a number of cameras; replace it by an NVM file"
        ) from error
    poses: dict[str, pycolmap.Rigid3d] = {}
    rows = []
    for number, words in islice(lines, count):  # millions of points may follow
        if len(words) == 1:  # their number
            break
        rows.append((number, words))
    if len(rows) < count:
        raise D2EvalError(f"{path}: fewer than the {count} cameras that it says; replace it")
    for number, words in rows:
        where = f"{path}: line {number}"
        if words[0] in poses:
            report(f"{where}: {words[0]} stands twice; keep one of its lines")
            continue
        with told(report):
            poses[check_name(words[0], where)] = _nvm_pose(words, where)
    if not poses:
        report(f"{path}: no camera in the first model; replace it by an NVM file")
    return poses
