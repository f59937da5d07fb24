"""Features, matches and verified pairs on disk, each unit complete or absent.

What is large, such as features, has an HDF5 file of its own; what is small and many shares packs
(`d2eval.pipeline.packs`). A unit is written in memory first and then moved into place, so ``kill
-9``, a full disk or two runs at once can't leave half of one. It carries its SHA-256, which is
checked before anything else looks at it: one that is damaged is made again. Units are keyed by
content: the method's identity and the image's SHA-256 for features; the two feature keys and the
matcher's settings for matches.
"""

import contextlib
import hashlib
import io
import json
import uuid
import weakref
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import OPTIONAL, Features
from d2eval.contracts.identity import Identity
from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.files.sealed import seal, unseal
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.console import note
from d2eval.pipeline.packs import WAIT_S, Packs, arrays_of, bytes_of

GROUP_LETTERS = 16  # of the hash that names a folder of packs; those of files have two
HASHES, LONG_S = "hashes", 600.0  # of images: soon made again, so they needn't be written soon
UNSEALED = b"\x89HDF\r\n"  # what units of versions without a checksum begin with


@dataclass(frozen=True)
class StoredFeatures:
    """Features, the key that names them, and what their extraction cost."""

    features: Features
    key: str
    cost: Cost

    def best(self, top_k: int | None) -> "StoredFeatures":
        """The ``top_k`` features of highest score; None: all."""
        return replace(self, features=self.features.top_k(top_k))


@dataclass(frozen=True)
class _Unit:
    """What a unit holds."""

    arrays: dict[str, npt.NDArray[Any]]
    attributes: dict[str, Any]


def _to_hdf5(unit: _Unit) -> bytes:
    # HDF5 takes files in memory of one name for one file, hence another for each of the threads.
    name = uuid.uuid4().hex
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        for key, array in unit.arrays.items():
            file.create_dataset(key, data=array)
        for key, value in unit.attributes.items():
            file.attrs[key] = value
        file.flush()
        return bytes(file.id.get_file_image())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush_all(packs: dict[Path, Packs]) -> None:
    for own in packs.values():
        own.flush()


def _flush_at_end(packs: dict[Path, Packs]) -> None:
    with contextlib.suppress(D2EvalError):  # then it is made again
        _flush_all(packs)


def _note_damage(path: Path, error: Exception) -> None:
    reason = reason_of(error).removeprefix(f"{path}: ")
    note(f"{path}: damaged ({reason}); made again")


class Store:
    """The units under one cache folder."""

    def __init__(self, cache: Path, fresh: bool = False) -> None:
        """Takes a cache folder.

        If ``fresh``, what was stored before is left unread, and stored anew.
        """
        self.root = cache
        self.fresh = fresh
        self._written: set[Path] = set()
        self._new_kinds: set[str] = set()
        self._packs: dict[Path, Packs] = {}
        self._groups: dict[Path, Any] = {}  # of packs
        weakref.finalize(self, _flush_at_end, self._packs)

    def _read(self, path: Path) -> _Unit | None:
        """A unit, or None if there is none, or none that counts."""
        if not self._counts(path):
            return None
        try:
            data = read_bytes(path)
            if data.startswith(UNSEALED):
                return None
            unseal(self._name(path), data)
            with h5py.File(io.BytesIO(data), "r") as file:  # HDF5 passes over the head
                arrays = {name: item[()] for name, item in file.items()}
                return _Unit(arrays, dict(file.attrs))
        except MissingFileError:
            return None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is made again
            _note_damage(path, error)
            return None

    def made_anew(self, kind: str) -> None:
        """What is stored of a kind counts from now on, even if fresh: workers have just made it."""
        self._new_kinds.add(kind)
        for packs in self._packs.values():
            packs.look_again()

    def _counts(self, path: Path) -> bool:
        """Whether what is stored there may be read."""
        kind = path.relative_to(self.root).parts[0]
        return not self.fresh or path in self._written or kind in self._new_kinds

    def _write(self, path: Path, unit: _Unit) -> None:
        data = seal(self._name(path), _to_hdf5(unit))
        write_bytes(path, data, by_content=not self.fresh)
        if self.fresh:
            self._written.add(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def features_key(self, identity: Identity, image_sha256: str) -> str:
        """The key of one image's features."""
        return f"{identity.key}-{image_sha256}"

    def features_folder(self, identity: Identity) -> Path:
        """Where the features of all images lie."""
        return self.root / "features" / f"{identity.method.replace(':', '.')}-{identity.key}"

    def _features_path(self, identity: Identity, image_sha256: str) -> Path:
        return self.features_folder(identity) / f"{image_sha256}.h5"

    def has_features(self, identity: Identity, image_sha256: str) -> bool:
        """Whether features of an image are stored; they may yet turn out to be damaged."""
        path = self._features_path(identity, image_sha256)
        return path.exists() and self._counts(path)

    def read_features(self, identity: Identity, image_sha256: str) -> StoredFeatures | None:
        """The stored features of an image, or None if there are none (or they are damaged)."""
        path = self._features_path(identity, image_sha256)
        unit = self._read(path)
        if unit is None:
            return None
        try:
            arrays, attributes = unit.arrays, unit.attributes
            size = attributes["image_size"]
            features = Features(
                arrays["keypoints"], arrays["scores"], arrays["descriptors"],
                (int(size[0]), int(size[1])), **{name: arrays.get(name) for name in OPTIONAL},
                origin=attributes["origin"],
            )  # fmt: skip
            cost = Cost.of(attributes)
        except (D2EvalError, KeyError, TypeError, ValueError, IndexError) as error:
            _note_damage(path, error)
            return None
        return StoredFeatures(features, self.features_key(identity, image_sha256), cost)

    def write_features(
        self, identity: Identity, image_sha256: str, features: Features, cost: Cost
    ) -> StoredFeatures:
        """Stores an image's features with what they cost.

        Raises:
            D2EvalError: the disk is full or the cache can't be written.
        """
        names = ("keypoints", "scores", "descriptors", *OPTIONAL)
        found = {name: getattr(features, name) for name in names}
        arrays = {name: array for name, array in found.items() if array is not None}
        attributes = {
            "image_size": np.array(features.image_size, np.int64),
            "origin": features.origin,
            "identity": json.dumps(asdict(identity)),
            **asdict(cost),
        }
        path = self._features_path(identity, image_sha256)
        self._write(path, _Unit(arrays, attributes))
        return StoredFeatures(features, self.features_key(identity, image_sha256), cost)

    def unit_path(self, kind: str, content: Any, group: Any = None) -> Path:
        """Where the unit lies that ``content`` (anything that JSON can say) decides.

        Those of a ``group``, such as all matches of a method by a matcher, share packs; without
        one, a unit has a file of its own.
        """
        digest = _digest(content)
        if group is None:
            return self.root / kind / digest[:2] / f"{digest}.h5"
        folder = self.root / kind / _digest(group)[:GROUP_LETTERS]
        self._groups.setdefault(folder, group)
        return folder / digest

    def _packs_of(self, path: Path) -> Packs:
        own = path.parent
        wait_s = LONG_S if own.parent.name == HASHES else WAIT_S
        return self._packs.setdefault(own, Packs(own, self._groups.get(own), wait_s))

    def read_arrays(self, path: Path) -> dict[str, npt.NDArray[Any]] | None:
        """A unit's arrays by name, or None if there are none (or they are damaged)."""
        if path.suffix:
            unit = self._read(path)
            return None if unit is None else unit.arrays
        if not self._counts(path):
            return None
        content = self._packs_of(path).read(path.name)
        if content is not None:
            return arrays_of(content)
        # as older versions kept it
        name = path.name
        return self.read_arrays(path.parents[1] / name[:2] / f"{name}.h5")

    def has(self, path: Path) -> bool:
        """Whether a unit is stored; one with a file of its own may yet turn out to be damaged."""
        if path.suffix:
            return path.exists() and self._counts(path)
        return self.read_arrays(path) is not None

    def made_like(self, path: Path) -> list[bytes]:
        """Contents of some units in the packs where a unit lies, or would."""
        return self._packs_of(path).some()

    def write_arrays(
        self, path: Path, arrays: dict[str, npt.NDArray[Any]], seconds: float | None = None
    ) -> None:
        """Stores a unit, with what it took to make, for the plans of later runs.

        Raises:
            D2EvalError: the disk is full or the cache can't be written.
        """
        if seconds is not None:
            arrays = {**arrays, "seconds": np.array(seconds)}
        if path.suffix:
            self._write(path, _Unit(arrays, {}))
            return
        self._packs_of(path).write(path.name, bytes_of(arrays))
        if self.fresh:
            self._written.add(path)

    def flush(self) -> None:
        """Writes what waits to be packed; raises as `write_arrays`."""
        _flush_all(self._packs)

    def read_record(self, path: Path) -> Any:
        """A unit that `write_record` wrote, or None if there is none (or it is damaged)."""
        arrays = self.read_arrays(path)
        if arrays is None:
            return None
        try:
            return json.loads(arrays["record"].tobytes())
        except (KeyError, ValueError, RecursionError) as error:
            _note_damage(path, error)
            return None

    def write_record(self, path: Path, content: Any, seconds: float | None = None) -> None:
        """Stores anything that JSON can say; as `write_arrays`."""
        text = json.dumps(content).encode()
        self.write_arrays(path, {"record": np.frombuffer(text, np.uint8)}, seconds)

    def matches_path(self, key_1: str, key_2: str, matcher: dict[str, Any]) -> Path:
        """Where the matches of two sets of features under ``matcher`` lie."""
        method = key_1.partition("-")[0]
        return self.unit_path("matches", [key_1, key_2, matcher], [method, matcher])

    def read_matches(self, path: Path) -> Matches | None:
        """Stored matches, (M, 2) int32, or None if there are none (or they are damaged)."""
        arrays = self.read_arrays(path)
        if arrays is None or "matches" not in arrays:
            return None
        return np.asarray(arrays["matches"], np.int32)

    def write_matches(self, path: Path, matches: Matches, seconds: float | None = None) -> None:
        """Stores matches; as `write_arrays`."""
        self.write_arrays(path, {"matches": matches}, seconds)
