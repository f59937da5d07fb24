"""Features from single files in the authors' layout (npz, mat), and from those in hloc's (h5).

The authors' holds ``keypoints`` (N, 2 or more: x, y, scale), ``scores`` (N,) and ``descriptors``
(N, D), and may say where keypoints count from: ``pixel_center`` is 0 where the centre of the
top-left pixel is (0, 0), 0.5 where its corner is, and 1 where pixels are counted from 1. Beside
them may stand ``orientations`` (N,) and ``affine_shapes`` (N, 2, 2). hloc's is described in
`d2eval.pipeline.hlocfile`.
"""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import (
    ORIGINS,
    PIXEL_CENTER,
    Features,
    InvalidFeaturesError,
    Origin,
    make_features,
    no_features,
)
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.formats import npz
from d2eval.foundation.formats.matfiles import is_mat, read_variables
from d2eval.pipeline import hlocfile

FloatArray = npt.NDArray[np.float32]

CENTER = "pixel_center"
ARRAYS = ("keypoints", "scores", "descriptors", "orientations", "affine_shapes", CENTER)
AUTO = "auto"
FROM: dict[Origin, str] = {"center": "the center", "corner": "the corner", "matlab": "1"}
REMEDY = "write it again"


def read_feature_file(
    path: Path, image_size: tuple[int, int], origin: str = AUTO
) -> tuple[Features, str]:
    """Reads one file and gives its features and SHA-256.

    Whether it is npz or mat shows in its first bytes, not in its name. Keypoints count from
    ``origin``, one of `ORIGINS`; "auto": from where the file says, or else the centre.

    Raises:
        D2EvalError: missing, broken, pickled, or no valid features.
    """
    data = read_bytes(path, REMEDY)
    if data.startswith(npz.MAGIC):
        arrays = npz.read_npz(path, io.BytesIO(data), ARRAYS, REMEDY)
    elif is_mat(data):
        arrays = read_variables(path, ARRAYS, data)
    else:
        raise D2EvalError(f"{path}: no npz or mat file of plain arrays; {REMEDY}")
    missing = [name for name in ("keypoints", "descriptors") if name not in arrays]
    if missing:
        raise D2EvalError(f"{path}: holds no {' and no '.join(missing)}; expected the npz layout")
    if "scores" not in arrays:
        raise D2EvalError(
            f"{path}: holds no scores; write one for each keypoint (higher is better)"
        )
    try:
        numbers = {name: _numbers(arrays[name], name) for name in arrays}
        known = _origin(numbers.get(CENTER), origin)
        features = _features(numbers, image_size, known)
    except InvalidFeaturesError as error:
        raise D2EvalError(f"{path}: {error}") from error
    return features, hashlib.sha256(data).hexdigest()


def read_hloc_features(
    path: Path, name: str, image_size: tuple[int, int], origin: str = AUTO
) -> tuple[Features, str, float]:
    """Reads the features of one image from a file in hloc's layout.

    Keypoints count from ``origin``, one of `ORIGINS`; "auto" is the centre, as hloc's importers
    expect it.

    Returns:
        The features, the SHA-256 of their content, and by how many pixels keypoints may be off
        for being stored in 16 bits: 0.0 where they are not.

    Raises:
        D2EvalError: as `hlocfile.read_group`, no valid features, or those of an image of another
            size.
    """
    arrays, digest = hlocfile.read_group(path, name)
    try:
        numbers = {key: _numbers(array, key) for key, array in arrays.items()}
        size = numbers["image_size"].reshape(-1)
        if size.tolist() != list(image_size):
            text = "x".join(f"{length:g}" for length in size)
            raise InvalidFeaturesError(
                f"features are of an image of {text}, but it is {image_size[0]}x{image_size[1]}; "
                "extract them from this image"
            )
        loss = 0.0
        if arrays["keypoints"].dtype.itemsize == 2:
            loss = float(np.spacing(np.float16(max(image_size)))) / 2
            low = PIXEL_CENTER[_origin(None, origin)] - 0.5
            # Rounding may have moved the outermost out of the image
            _keep_inside(numbers["keypoints"], low, low + size, loss)
        features = _features(_as_authors(numbers), image_size, _origin(None, origin))
        own = numbers.get(hlocfile.OWN_CENTER)
        if own is not None:
            if features.origin != "center":
                raise InvalidFeaturesError("counts from pixel centres; leave --origin out")
            features = replace(features, origin=_origin(own, AUTO))
    except InvalidFeaturesError as error:
        raise D2EvalError(f"{path}: {name}: {error}") from error
    return features, digest, loss


def _keep_inside(points: FloatArray, low: float, high: FloatArray, loss: float) -> None:
    """Moves points (N, 2) that lie out of the image by at most ``loss`` to its border, in place."""
    if points.ndim == 2 and points.shape[1] == 2:
        for axis in range(2):
            values = points[:, axis]
            values[(values < low) & (values >= low - loss)] = low
            values[(values > high[axis]) & (values <= high[axis] + loss)] = high[axis]


def _as_authors(numbers: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The arrays of hloc in the authors' shapes."""
    found = {**numbers, "descriptors": numbers["descriptors"].T}
    keypoints, scales = numbers["keypoints"], numbers.get("scales")
    if keypoints.size and (keypoints.ndim != 2 or keypoints.shape[1] != 2):
        raise InvalidFeaturesError(f"keypoints are {keypoints.shape}, not (N, 2)")
    if keypoints.size and scales is not None:
        if scales.shape != keypoints.shape[:1]:
            raise InvalidFeaturesError(f"scales are {scales.shape}, not {keypoints.shape[:1]}")
        found["keypoints"] = np.column_stack([keypoints, scales])
    if "oris" in numbers and "orientations" not in numbers:
        found["orientations"] = np.radians(numbers["oris"])
    return found


def _origin(center: FloatArray | None, chosen: str) -> Origin:
    """The origin by the top-left pixel's centre, if a file says it, and by the user's choice."""
    stated: Origin | None = None
    if center is not None:
        for name in ORIGINS:
            if center.size == 1 and float(center.reshape(-1)[0]) == PIXEL_CENTER[name]:
                stated = name
        if stated is None:
            raise InvalidFeaturesError(
                f"{CENTER} is {np.array2string(center, threshold=4)}, not 0 (counted from the "
                "centre), 0.5 (from the corner) or 1 (from 1, as MATLAB)"
            )
        if chosen not in (AUTO, stated):
            raise InvalidFeaturesError(
                f"{CENTER} says that it counts from {FROM[stated]}; leave --origin out"
            )
    named: Origin = next((name for name in ORIGINS if name == chosen), "center")
    return stated or named


def _numbers(value: Any, name: str) -> FloatArray:
    """An array of integers or floats, of any width and byte order, as float32."""
    if not isinstance(value, np.ndarray):
        raise InvalidFeaturesError(f"{name} is no array of real numbers")
    if value.dtype.kind not in "fiu":
        raise InvalidFeaturesError(f"{name} holds {value.dtype}, not real numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return value.astype(np.float32)


def _features(
    arrays: dict[str, FloatArray], image_size: tuple[int, int], origin: Origin
) -> Features:
    """Features of a file's arrays; arrays without elements, of whatever shape, are none."""
    keypoints, descriptors = arrays["keypoints"], arrays["descriptors"]
    scores = arrays["scores"].reshape(-1)
    angles = arrays["orientations"].reshape(-1) if "orientations" in arrays else None
    if not keypoints.size and not scores.size and not descriptors.size:
        dimensions = descriptors.shape[1] if descriptors.ndim == 2 else 0
        return no_features(dimensions, image_size)
    if keypoints.ndim != 2 or keypoints.shape[1] < 2:
        raise InvalidFeaturesError(f"keypoints are {keypoints.shape}, not (N, 2) or (N, 3)")
    if len(keypoints) < 5 and len(keypoints) != len(scores) == keypoints.shape[1]:
        raise InvalidFeaturesError(
            f"keypoints are {keypoints.shape}, not (N, 2) or (N, 3); write them transposed"
        )
    return make_features(
        keypoints[:, :2],
        scores,
        descriptors,
        image_size,
        keypoints[:, 2] if keypoints.shape[1] > 2 else None,
        origin,
        angles,
        arrays.get("affine_shapes"),
    )
