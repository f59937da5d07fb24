"""Features from files that others made, by the name of the image.

Any extractor whose output follows the authors' layout or hloc's can be scored with ``--method
precomputed:WHERE``. In the authors', there is a file for each image, ``<image file
name>.<extension>``; in hloc's one for all. Both are described in `d2eval.pipeline.featurefiles`.
"""

import glob
import hashlib
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2eval.contracts.features import ORIGINS
from d2eval.contracts.options import option
from d2eval.contracts.weights import NOT_STATED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import find
from d2eval.foundation.images.decoding import SUFFIXES, ImageFile, read_image_size
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.console import note
from d2eval.foundation.text.labels import make_label
from d2eval.pipeline import hlocfile
from d2eval.pipeline.ahead import Found, Items, one_by_one
from d2eval.pipeline.featurefiles import AUTO, read_feature_file, read_hloc_features
from d2eval.pipeline.store import StoredFeatures


@dataclass(frozen=True)
class PrecomputedConfig:
    """The options of ``--method precomputed:WHERE``."""

    extension: str = option("", "what follows the image's file name, e.g. .d2-net; "
                            "empty: the only one that is there")  # fmt: skip
    origin: str = option(
        AUTO,
        "where keypoints in the files count from: the center of the top-left pixel (D2-Net, "
        "OpenCV, hloc), its corner (COLMAP's SIFT, also as hloc writes it), or 1 (matlab); auto: "
        "what a file says (pixel_center), else center",
        choices=(AUTO, *ORIGINS),
    )


def label_of(where: Path) -> str:
    """How rows call the features in a folder or file: by its name."""
    return make_label(where.stem if where.is_file() else where.resolve().name)


class PrecomputedFeatures:
    """The features under a folder, one file for each image of a dataset, or one for all."""

    def __init__(self, where: Path, config: PrecomputedConfig, label: str | None = None) -> None:
        """Takes what holds features.

        ``where`` is a folder that holds ``<sequence>/<image file name><extension>``, or one with a
        file ``*.h5`` in hloc's layout, or such a file.

        Raises:
            D2EvalError: no such file or folder, or an extension with a file.
        """
        if not where.exists():
            raise D2EvalError(f"{where}: no such folder or file of precomputed features")
        self.where, self.origin = where, config.origin
        self.suffix = config.extension and "." + config.extension.removeprefix(".")
        is_folder = where.is_dir()
        if self.suffix and not is_folder:
            raise D2EvalError(f"{where}: is one file for all images; leave --extension out")
        self.label = label or label_of(where)
        self.extracted = 0
        self._archives = list(find(where, f"*{hlocfile.SUFFIX}")) if is_folder else [where]
        self._lock = threading.Lock()
        self._described: tuple[str, int] | None = None  # a file and its descriptors' length
        self._told = False  # of keypoints of 16 bits
        self._read: dict[str, str] = {}  # what was read, by the image's name

    def _find(self, name: str) -> Path:
        """The file that holds the features of an image."""
        if not self.where.is_dir():
            return self.where
        base = self.where / name
        if self.suffix:
            return base.with_name(base.name + self.suffix)
        # "1.ppm.png" beside "1.ppm" is another image, not features.
        found = [
            path
            for path in find(base.parent, glob.escape(base.name) + ".*")
            if path.suffix.lower() not in SUFFIXES and path not in self._archives
        ]
        if len(found) + len(self._archives) > 1:
            names = ", ".join(
                [*(path.suffix for path in found), *(path.name for path in self._archives)]
            )
            remedy = "choose --extension"
            if self._archives:
                remedy += f", or name a file as precomputed:{self._archives[0]}"
            raise D2EvalError(f"{base}.*: several kinds of features ({names}); {remedy}")
        found += self._archives
        if not found:
            raise D2EvalError(f"{base}.*: no features for this image; extract them first")
        return found[0]

    def features(self, items: Items, workers: int) -> Found:
        """Features one by one, see `one_by_one`."""
        return one_by_one(self.read, items, workers)

    def read(self, image: ImageFile, name: str) -> StoredFeatures:
        """Reads the features of the image called ``name`` in its dataset.

        Raises:
            D2EvalError: no file, several, one that is broken, or one whose descriptors have
                another length than those of a file before.
        """
        path, size = self._find(name), read_image_size(image.path)
        if path in self._archives:
            features, digest, loss = read_hloc_features(path, name, size, self.origin)
            where = f"{path}: {name}"
            if loss:
                self._tell_of_loss(where, loss)
        else:
            features, digest = read_feature_file(path, size, self.origin)
            where = str(path)
        if len(features):
            self._check_length(where, features.descriptors.shape[1])
        key = f"file-{digest}" + ("" if self.origin == AUTO else f"-{self.origin}")
        self._read[name] = key
        return StoredFeatures(features, key, Cost(float("nan"), float("nan")))

    def _tell_of_loss(self, where: str, loss: float) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            note(
                f"{where}: keypoints of 16 bits, off by up to {loss:g} px, and so may others "
                "of the file be; write them in 32 bits (as_half=False in hloc)"
            )

    def _check_length(self, where: str, length: int) -> None:
        with self._lock:
            self._described = self._described or (where, length)
            other, expected = self._described
        if length != expected:
            raise D2EvalError(
                f"{where}: descriptors have {length} numbers, but those of {other} have "
                f"{expected}; write both with one extractor"
            )

    def describe(self) -> dict[str, Any]:
        """Where the features come from, and what they are once they were read."""
        described: dict[str, Any] = {
            "method": "precomputed",
            "folder": str(self.where),
            "config": {"extension": self.suffix, "origin": self.origin},
            "weights": asdict(NOT_STATED),
        }
        if self._read:
            content = repr(sorted(self._read.items()))
            described["files_sha256"] = hashlib.sha256(content.encode()).hexdigest()
        return described

    def headline(self) -> str:
        """The folder or file."""
        files = "files under " if self.where.is_dir() else ""
        return f"{self.label}: features from {files}{self.where}"
