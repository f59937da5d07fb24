"""Features from files in the authors' layout: ``<image file name>.<extension>``, npz or mat.

Any extractor whose output follows it can be scored with ``--method precomputed:DIR``. A file holds
``keypoints`` (N, 2 or more: x, y, scale), ``scores`` (N,) and ``descriptors`` (N, D).
"""

import glob
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval import npz
from d2eval.errors import D2EvalError
from d2eval.features import Features, InvalidFeaturesError, make_features, no_features
from d2eval.files import read_bytes
from d2eval.images import SUFFIXES, ImageFile, read_image_size
from d2eval.matfiles import is_mat, read_variables
from d2eval.method import option
from d2eval.paths import find
from d2eval.resources import Cost
from d2eval.store import StoredFeatures

FloatArray = npt.NDArray[np.float32]

ARRAYS = ("keypoints", "scores", "descriptors", "orientations")
REMEDY = "write it again"


def read_feature_file(path: Path, image_size: tuple[int, int]) -> tuple[Features, str]:
    """Reads one file and gives its features and SHA-256.

    Args:
        path: an npz or mat file; what it is shows in its first bytes, not in its name.
        image_size: (width, height) of the image that it belongs to.

    Raises:
        D2EvalError: missing, broken, pickled, or no valid features.
    """
    data = read_bytes(path, REMEDY)
    if data.startswith(npz.MAGIC):
        arrays = npz.read_npz(path, data, ARRAYS, REMEDY)
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
        features = _features({name: _numbers(arrays[name], name) for name in arrays}, image_size)
    except InvalidFeaturesError as error:
        raise D2EvalError(f"{path}: {error}") from error
    return features, hashlib.sha256(data).hexdigest()


def _numbers(value: Any, name: str) -> FloatArray:
    """An array of integers or floats, of any width and byte order, as float32."""
    if not isinstance(value, np.ndarray):
        raise InvalidFeaturesError(f"{name} is no array of real numbers")
    if value.dtype.kind not in "fiu":
        raise InvalidFeaturesError(f"{name} holds {value.dtype}, not real numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return value.astype(np.float32)


def _features(arrays: dict[str, FloatArray], image_size: tuple[int, int]) -> Features:
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
        orientations=angles,
    )


@dataclass(frozen=True)
class PrecomputedConfig:
    """The options of ``--method precomputed:DIR``."""

    extension: str = option("", "what follows the image's file name, e.g. .d2-net; "
                            "empty: the only one that is there")  # fmt: skip


class PrecomputedFeatures:
    """The features under a folder, one file for each image of a dataset."""

    def __init__(self, folder: Path, config: PrecomputedConfig, label: str | None = None) -> None:
        """Takes a folder that holds ``<sequence>/<image file name><extension>``.

        Args:
            folder: the folder.
            config: which files to read.
            label: how rows name these features; None: the folder's name.

        Raises:
            D2EvalError: no such folder.
        """
        if not folder.is_dir():
            raise D2EvalError(f"{folder}: no such folder of precomputed features")
        self.folder = folder
        self.suffix = config.extension and "." + config.extension.removeprefix(".")
        self.label = label or folder.resolve().name
        self.extracted = 0
        self._lock = threading.Lock()
        self._described: tuple[Path, int] | None = None  # a file and its descriptors' length

    def _find(self, name: str) -> Path:
        base = self.folder / name
        if self.suffix:
            return base.with_name(base.name + self.suffix)
        # "1.ppm.png" beside "1.ppm" is another image, not features.
        found = [
            path
            for path in find(base.parent, glob.escape(base.name) + ".*")
            if path.suffix.lower() not in SUFFIXES
        ]
        if len(found) > 1:
            names = ", ".join(path.suffix for path in found)
            raise D2EvalError(f"{base}.*: several kinds of features ({names}); choose --extension")
        if not found:
            raise D2EvalError(f"{base}.*: no features for this image; extract them first")
        return found[0]

    def read(self, image: ImageFile, name: str) -> StoredFeatures:
        """Reads the features of the image called ``name`` in its dataset.

        Raises:
            D2EvalError: no file, several, one that is broken, or one whose descriptors have
                another length than those of a file before.
        """
        path = self._find(name)
        features, digest = read_feature_file(path, read_image_size(image.path))
        if len(features):
            self._check_length(path, features.descriptors.shape[1])
        return StoredFeatures(features, f"file-{digest}", Cost(float("nan"), float("nan")))

    def _check_length(self, path: Path, length: int) -> None:
        with self._lock:
            self._described = self._described or (path, length)
            other, expected = self._described
        if length != expected:
            raise D2EvalError(
                f"{path}: descriptors have {length} numbers, but those of {other} have "
                f"{expected}; write both with one extractor"
            )

    def describe(self) -> dict[str, Any]:
        """Where the features come from."""
        return {
            "method": "precomputed",
            "folder": str(self.folder),
            "config": {"extension": self.suffix},
            "weights": None,
        }

    def headline(self) -> str:
        """The folder."""
        return f"{self.label}: features from files under {self.folder}"
