"""Features from files in the authors' layout: ``<image file name>.<extension>``, npz or mat.

Any extractor whose output follows it can be scored with ``--method precomputed:DIR``. A file holds
``keypoints`` (N, 2 or more: x, y, scale), ``scores`` (N,) and ``descriptors`` (N, D).
"""

import glob
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.errors import D2EvalError, reason_of
from d2eval.features import Features, InvalidFeaturesError, make_features
from d2eval.images import SUFFIXES, ImageFile, read_image_size
from d2eval.method import option
from d2eval.paths import find
from d2eval.resources import Cost
from d2eval.store import StoredFeatures

NPZ_MAGIC = b"PK"


def read_feature_file(path: Path, image_size: tuple[int, int]) -> tuple[Features, str]:
    """Reads one file and gives its features and SHA-256.

    Args:
        path: an npz or mat file; what it is shows in its first bytes, not in its name.
        image_size: (width, height) of the image that it belongs to.

    Raises:
        D2EvalError: missing, broken, pickled, or no valid features.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise D2EvalError(f"{path}: features can't be read ({error.strerror})") from error
    try:
        if data.startswith(NPZ_MAGIC):
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            from scipy.io import loadmat

            arrays = loadmat(io.BytesIO(data))  # type: ignore[arg-type]  # file objects work
    except Exception as error:  # damaged bytes make these readers raise almost anything
        reason = reason_of(error)
        raise D2EvalError(
            f"{path}: no npz or mat file of plain arrays ({reason}); write it again"
        ) from error
    missing = [name for name in ("keypoints", "descriptors") if name not in arrays]
    if missing:
        raise D2EvalError(f"{path}: holds no {' and no '.join(missing)}; expected the npz layout")
    keypoints = np.asarray(arrays["keypoints"])
    if keypoints.ndim != 2 or keypoints.shape[1] < 2:
        raise D2EvalError(f"{path}: keypoints are {keypoints.shape}, not (N, 2) or (N, 3)")
    if "scores" not in arrays:
        raise D2EvalError(
            f"{path}: holds no scores; write one for each keypoint (higher is better)"
        )
    angles = arrays.get("orientations")
    try:
        features = make_features(
            keypoints[:, :2],
            np.asarray(arrays["scores"]).reshape(-1),
            np.asarray(arrays["descriptors"]),
            image_size,
            keypoints[:, 2] if keypoints.shape[1] > 2 else None,
            orientations=np.asarray(angles).reshape(-1) if angles is not None else None,
        )
    except (InvalidFeaturesError, ValueError, TypeError) as error:
        raise D2EvalError(f"{path}: {error}") from error
    return features, hashlib.sha256(data).hexdigest()


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
            D2EvalError: no file, several, or one that is broken.
        """
        features, digest = read_feature_file(self._find(name), read_image_size(image.path))
        return StoredFeatures(features, f"file-{digest}", Cost(float("nan"), float("nan")))

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
