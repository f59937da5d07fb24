"""Features, matches and verified pairs on disk: one HDF5 file for each unit, complete or absent.

A unit is written in memory first and then moved into place, so ``kill -9``, a full disk or two
runs at once can't leave half of one. Units are keyed by content: the method's identity and the
image's SHA-256 for features; the two feature keys and the matcher's settings for matches.
"""

import contextlib
import hashlib
import json
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.atomic import write_bytes
from d2eval.features import OPTIONAL, Features, InvalidFeaturesError
from d2eval.matching import Matches
from d2eval.method import Identity
from d2eval.resources import Cost

STALE_SECONDS = 24 * 3600
UNITS = (
    "features",
    "matches",
    "verified",
    "poses",
    "maps",
    "globals",
)  # the folders of the cache that hold units
# What h5py raises for a file whose bytes have changed, beside the checksums' OSError.
DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class StoredFeatures:
    """Features, the key that names them, and what their extraction cost."""

    features: Features
    key: str
    cost: Cost


def _to_hdf5(arrays: dict[str, npt.NDArray[Any]], attributes: dict[str, Any]) -> bytes:
    # Everything is verified on reading: the data by a checksum of every chunk, and with the latest
    # file format what describes them too.
    # HDF5 takes files in memory of one name for one file, hence another for each of the threads.
    name = uuid.uuid4().hex
    with h5py.File(name, "w", libver="latest", driver="core", backing_store=False) as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, fletcher32=array.size > 0)
        for key, value in attributes.items():
            file.attrs[key] = value
        file.flush()
        return bytes(file.id.get_file_image())


class Store:
    """The units under one cache folder."""

    def __init__(self, cache: Path) -> None:
        self.root = cache
        self._remove_stale()

    def _remove_stale(self) -> None:
        # What a killed run left behind under a temporary name. Young ones may belong to a run.
        for part in UNITS:
            for leftover in (self.root / part).glob("*/.*.tmp"):
                with contextlib.suppress(OSError):  # its run has just moved it into place
                    if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                        leftover.unlink()

    def features_key(self, identity: Identity, image_sha256: str) -> str:
        """The key of one image's features."""
        return f"{identity.key}-{image_sha256}"

    def _features_path(self, identity: Identity, image_sha256: str) -> Path:
        folder = f"{identity.method.replace(':', '.')}-{identity.key}"
        return self.root / "features" / folder / f"{image_sha256}.h5"

    def read_features(self, identity: Identity, image_sha256: str) -> StoredFeatures | None:
        """The stored features of an image, or None if there are none (or they are damaged)."""
        path = self._features_path(identity, image_sha256)
        try:
            with h5py.File(path, "r") as file:
                arrays = {name: data[()] for name, data in file.items()}
                size = file.attrs["image_size"]
                if "origin" not in file.attrs:  # of an earlier version, which forgot it
                    return None
                features = Features(
                    arrays["keypoints"], arrays["scores"], arrays["descriptors"],
                    (int(size[0]), int(size[1])), **{name: arrays.get(name) for name in OPTIONAL},
                    origin=file.attrs["origin"],
                )  # fmt: skip
                cost = Cost(float(file.attrs["seconds"]), float(file.attrs["peak_memory_mb"]))
        except FileNotFoundError:
            return None
        except (*DAMAGE, InvalidFeaturesError) as error:
            print(f"note: {path}: damaged ({error}); extracted again", file=sys.stderr)
            return None
        return StoredFeatures(features, self.features_key(identity, image_sha256), cost)

    def write_features(
        self, identity: Identity, image_sha256: str, features: Features, cost: Cost
    ) -> StoredFeatures:
        """Stores an image's features with what they cost.

        Raises:
            D2EvalError: the disk is full or the cache can't be written.
        """
        arrays = {
            "keypoints": features.keypoints,
            "scores": features.scores,
            "descriptors": features.descriptors,
        }
        for name in OPTIONAL:
            if getattr(features, name) is not None:
                arrays[name] = getattr(features, name)
        attributes = {
            "image_size": np.array(features.image_size, np.int64),
            "origin": features.origin,
            "identity": json.dumps(asdict(identity)),
            **asdict(cost),
        }
        path = self._features_path(identity, image_sha256)
        write_bytes(path, _to_hdf5(arrays, attributes))
        return StoredFeatures(features, self.features_key(identity, image_sha256), cost)

    def unit_path(self, kind: str, content: Any) -> Path:
        """Where the unit lies that ``content`` (anything that JSON can say) decides."""
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return self.root / kind / digest[:2] / f"{digest}.h5"

    def read_arrays(self, path: Path) -> dict[str, npt.NDArray[Any]] | None:
        """A unit's arrays by name, or None if there are none (or they are damaged)."""
        try:
            with h5py.File(path, "r") as file:
                return {name: data[()] for name, data in file.items()}
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            print(f"note: {path}: damaged ({error}); made again", file=sys.stderr)
            return None

    def write_arrays(self, path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Stores a unit.

        Raises:
            D2EvalError: the disk is full or the cache can't be written.
        """
        write_bytes(path, _to_hdf5(arrays, {}))

    def read_record(self, path: Path) -> Any:
        """A unit that `write_record` wrote, or None if there is none (or it is damaged)."""
        arrays = self.read_arrays(path)
        if arrays is None or "record" not in arrays:
            return None
        return json.loads(arrays["record"].tobytes().decode())

    def write_record(self, path: Path, content: Any) -> None:
        """Stores anything that JSON can say; raises as `write_arrays`."""
        text = json.dumps(content).encode()
        self.write_arrays(path, {"record": np.frombuffer(text, np.uint8)})

    def matches_path(self, key_1: str, key_2: str, matcher: dict[str, Any]) -> Path:
        """Where the matches of two sets of features under ``matcher`` lie."""
        return self.unit_path("matches", [key_1, key_2, matcher])

    def read_matches(self, path: Path) -> Matches | None:
        """Stored matches, (M, 2) int32, or None if there are none (or they are damaged)."""
        arrays = self.read_arrays(path)
        if arrays is None or "matches" not in arrays:
            return None
        return np.asarray(arrays["matches"], np.int32)

    def write_matches(self, path: Path, matches: Matches) -> None:
        """Stores matches; raises as `write_arrays`."""
        self.write_arrays(path, {"matches": matches})
