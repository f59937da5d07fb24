"""Camera poses: as numbers, in files, in rows.

A pose is ``cam_from_world``, a `pycolmap.Rigid3d` that takes world coordinates to the camera's
(x right, y down, z forward), in metres.
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_words
from d2eval.foundation.terminal.console import note
from d2eval.foundation.text.words import MOST_COORDINATE, check_name, reals

NORM_TOLERANCE = 1e-3  # of quaternions; beyond it the user is told
POSE_COLUMNS = ("qw", "qx", "qy", "qz", "tx", "ty", "tz")


def pose_from_wxyz(
    quaternion: npt.ArrayLike, translation: npt.ArrayLike, what: str
) -> pycolmap.Rigid3d:
    """A pose from a quaternion (w, x, y, z) and a translation.

    A quaternion that is not of unit length is normalised, with a note where it is off by more than
    rounding. The translation is not the camera's centre. ``what`` names the pose for the user.

    Raises:
        D2EvalError: not finite, out of reach, or a zero quaternion.
    """
    q, t = np.asarray(quaternion, np.float64), np.asarray(translation, np.float64)
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(q))
    near = (np.abs(t) <= MOST_COORDINATE).all()  # false for NaN, too
    if not (near and math.isfinite(norm) and norm > 0):
        raise D2EvalError(
            f"{what}: no pose (NaN, infinite, beyond {MOST_COORDINATE:g} m or a zero quaternion); "
            "replace it"
        )
    if abs(norm - 1) > NORM_TOLERANCE:
        note(f"{what}: quaternion of length {norm:.6g} normalised")
    return pycolmap.Rigid3d(pycolmap.Rotation3d(q[[1, 2, 3, 0]] / norm), t)


def wxyz(pose: pycolmap.Rigid3d) -> npt.NDArray[np.float64]:
    """(4,) quaternion (w, x, y, z) with w >= 0."""
    q = np.asarray(pose.rotation.quat, np.float64)[[3, 0, 1, 2]]
    return -q if q[0] < 0 else q


def center(pose: pycolmap.Rigid3d) -> npt.NDArray[np.float64]:
    """(3,) the camera's centre in the world, -R^T t."""
    return np.asarray(pose.inverse().translation, np.float64)


def read_poses(path: Path) -> dict[str, pycolmap.Rigid3d]:
    """Reads lines ``name qw qx qy qz tx ty tz`` (world to camera, translation not centre).

    Blank lines and lines that start with # are passed over.

    Raises:
        D2EvalError: a file that can't be read, a line that doesn't parse, a name that stands twice.
    """
    poses: dict[str, pycolmap.Rigid3d] = {}
    for number, words in read_words(path):
        where = f"{path}: line {number}"
        values = reals(words[1:], len(POSE_COLUMNS))
        if values is None:
            raise D2EvalError(f"{where}: not `name qw qx qy qz tx ty tz`; mend the line")
        if words[0] in poses:
            raise D2EvalError(f"{where}: {words[0]} stands twice; keep one of its lines")
        poses[check_name(words[0], where)] = pose_from_wxyz(values[:4], values[4:], where)
    return poses


def pose_line(name: str, pose: pycolmap.Rigid3d) -> str:
    """``name qw qx qy qz tx ty tz``, what `read_poses` reads."""
    return " ".join([name, *(f"{value:.12g}" for value in (*wxyz(pose), *pose.translation))])


def pose_cells(pose: pycolmap.Rigid3d | None, prefix: str = "") -> dict[str, str | None]:
    """Columns ``qw qx qy qz tx ty tz`` of a row, empty without a pose."""
    values = [None] * 7 if pose is None else [*wxyz(pose), *pose.translation]
    return {
        f"{prefix}{name}": None if value is None else f"{value:.12g}"
        for name, value in zip(POSE_COLUMNS, values, strict=True)
    }
