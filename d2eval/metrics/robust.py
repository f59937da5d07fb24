"""Robust estimators of other libraries: which options each takes, and whether a protocol's fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from d2eval.foundation.errors import D2EvalError


def check_estimator(
    name: str, thresholds_px: Sequence[Any], options: Mapping[str, Any], known: Sequence[str]
) -> None:
    """Sees to it that an estimator of a protocol can be run.

    Args:
        name: of its library, one of ``known``.
        thresholds_px: that are tried.
        options: by the library's own names.
        known: libraries that there are.

    Raises:
        D2EvalError: it can't.
    """
    if name not in known:
        raise D2EvalError(f"name = {name!r}; choose from {', '.join(known)}")
    numbers = all(isinstance(t, int | float) and t > 0 for t in thresholds_px)
    if not thresholds_px or not numbers or len(set(thresholds_px)) < len(thresholds_px):
        raise D2EvalError(f"thresholds_px = {thresholds_px}: must be different positive numbers")
    taken = _OPTIONS[name]()
    for option, value in options.items():
        if option not in taken:
            raise D2EvalError(f"options: {name} has no {option!r}")
        if type(value) is not type(taken[option]):
            kind = type(taken[option]).__name__
            raise D2EvalError(f"options: {option} = {value!r} must be a {kind}")
    if name == "opencv" and options.get("method", "RANSAC") not in opencv_methods():
        raise D2EvalError(f"options: method must be one of {', '.join(opencv_methods())}")


def opencv_methods() -> Sequence[str]:
    """The names of OpenCV's robust methods."""
    import cv2

    return ["RANSAC", "LMEDS", *(name for name in dir(cv2) if name.startswith("USAC_"))]


def _opencv() -> Mapping[str, Any]:
    # As findEssentialMat calls them; findHomography says "confidence" in place of "prob".
    return {"method": "", "prob": 0.0, "maxIters": 0}


def _poselib() -> Mapping[str, Any]:
    import poselib

    taken = ("max_epipolar_error", "max_reproj_error", "seed")
    return {k: v for k, v in poselib.RansacOptions().items() if k not in taken}


def _pycolmap() -> Mapping[str, Any]:
    import pycolmap

    own = pycolmap.RANSACOptions().todict()
    return {k: v for k, v in own.items() if k not in ("max_error", "random_seed")}


_OPTIONS: Mapping[str, Callable[[], Mapping[str, Any]]]
_OPTIONS = {"opencv": _opencv, "poselib": _poselib, "pycolmap": _pycolmap}
