"""How far camera poses are off: errors, thresholds, recall and its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from d2eval.foundation.formats.poses import center

WILSON_Z = 1.959963984540054  # the normal distribution's quantile of 97.5 %


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


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, within 0..1; (0, 1) without trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, WILSON_Z**2
    twice = 2 * (trials + square)
    middle = (2 * trials * share + square) / twice
    half = WILSON_Z / twice * math.sqrt(4 * trials * share * (1 - share) + square)
    low = middle - half if successes else 0.0
    return low, middle + half if successes < trials else 1.0


def count_within(errors: Sequence[tuple[float, float]], threshold: Threshold) -> int:
    """How many of the (metres, degrees) lie within ``threshold``; NaN and infinity never do."""
    return sum(p <= threshold.position_m and r <= threshold.rotation_deg for p, r in errors)
