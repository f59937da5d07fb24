"""Camera poses and how far they are off: files of poses, errors, recall and its interval.

A pose is ``cam_from_world``, a `pycolmap.Rigid3d` that takes world coordinates to the camera's
(x right, y down, z forward), in metres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_lines
from d2eval.foundation.terminal.console import note
from d2eval.foundation.text.words import MOST_COORDINATE, check_name, reals

NORM_TOLERANCE = 1e-3  # of quaternions; beyond it the user is told
POSE_COLUMNS = ("qw", "qx", "qy", "qz", "tx", "ty", "tz")
Z_95 = 1.959963984540054  # the normal distribution's two-sided 95 % quantile


@dataclass(frozen=True)
class Threshold:
    """A query is localized when both errors are small enough."""

    position_m: float
    rotation_deg: float


def pose_from_wxyz(
    quaternion: npt.ArrayLike, translation: npt.ArrayLike, what: str
) -> pycolmap.Rigid3d:
    """A pose from a quaternion (w, x, y, z) and a translation.

    A quaternion that is not of unit length is normalised, with a note where it is off by more than
    rounding.

    Args:
        quaternion: (4,).
        translation: (3,), not the camera's centre.
        what: names the pose for the user.

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
    for number, line in read_lines(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
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


def pose_error(estimated: pycolmap.Rigid3d, reference: pycolmap.Rigid3d) -> tuple[float, float]:
    """Position error in metres and rotation error in degrees.

    The position error is the distance of the camera centres; the rotation error the angle of
    R_reference^-1 R_estimated. Source: Sattler et al., Benchmarking 6DOF Outdoor Visual
    Localization in Changing Conditions (CVPR 2018), section 3.
    """
    position = float(np.linalg.norm(center(estimated) - center(reference)))
    rotation = math.degrees(float(estimated.rotation.angle_to(reference.rotation)))
    return position, rotation


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, within 0..1; (0, 1) without trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not trials:
        return 0.0, 1.0
    share, z2 = successes / trials, Z_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def count_within(
    errors: Sequence[tuple[float, float]], threshold: Threshold, strict: bool = False
) -> int:
    """How many of the (metres, degrees) lie within ``threshold``; NaN and infinity never do.

    Args:
        errors: of the queries.
        threshold: limits of both.
        strict: whether an error must be smaller than its limit, or may equal it.
    """
    if strict:
        return sum(p < threshold.position_m and r < threshold.rotation_deg for p, r in errors)
    return sum(p <= threshold.position_m and r <= threshold.rotation_deg for p, r in errors)


def shortage(steps: Sequence[tuple[str, int, int]]) -> str:
    """Why a query has no pose, such as "too few verified matches: 5 of 812 matches, 30 are needed".

    Args:
        steps: from its features on, what was left, how many, and how many are needed.
    """
    for index, (what, count, needed) in enumerate(steps):
        if count < needed:
            before = f" of {steps[index - 1][1]} {steps[index - 1][0]}" if index else ""
            return f"too few {what}: {count}{before}, {needed} are needed"
    return "no pose: what was found agrees with none"
