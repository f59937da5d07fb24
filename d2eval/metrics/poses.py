"""How far camera poses are off: errors, thresholds, and how many lie within."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from d2eval.foundation.formats.poses import center


@dataclass(frozen=True)
class Threshold:
    """A query is localized when both errors are small enough."""

    position_m: float
    rotation_deg: float


def pose_error(estimated: pycolmap.Rigid3d, reference: pycolmap.Rigid3d) -> tuple[float, float]:
    """Position error in metres and rotation error in degrees.

    The position error is the distance of the camera centres; the rotation error the angle of
    R_reference^-1 R_estimated. Source: Sattler et al., Benchmarking 6DOF Outdoor Visual
    Localization in Changing Conditions (CVPR 2018), section 3.
    """
    position = float(np.linalg.norm(center(estimated) - center(reference)))
    rotation = math.degrees(float(estimated.rotation.angle_to(reference.rotation)))
    return position, rotation


def count_within(errors: Sequence[tuple[float, float]], threshold: Threshold) -> int:
    """How many of the (metres, degrees) lie within ``threshold``; NaN and infinity never do."""
    return sum(p <= threshold.position_m and r <= threshold.rotation_deg for p, r in errors)
