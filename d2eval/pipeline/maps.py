"""Dense maps of a dataset's images by name, of which the last used are kept in memory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from cachetools import cachedmethod

from d2eval.contracts.identity import Identity
from d2eval.contracts.maps import Maps, MapsMethod, maps_class, stored_bytes
from d2eval.contracts.method import Runtime
from d2eval.foundation.arrays.held import last_used
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.machine.resources import Cost, measure
from d2eval.pipeline.hashes import image_hash, planned_hash
from d2eval.pipeline.store import Store

CACHE_BYTES = 2 * 2**30  # of maps in memory; 45 images of 1600x1200


@dataclass(frozen=True)
class DenseChoice:
    """A network for dense maps and global descriptors: its name and options."""

    name: str
    options: dict[str, Any]

    def open(self, runtime: Runtime) -> tuple[MapsMethod, Identity]:
        """Builds the network.

        Raises:
            D2EvalError: an unknown network or option; weights that are missing or don't fit.
        """
        cls = maps_class(self.name)
        config = cls.Config(**self.options)
        network = cls(config, runtime)
        return network, network.identity(self.name, config)


@dataclass(frozen=True)
class MapsRecord:
    """What is kept of an image's maps: cells and bytes, and what they cost when first made."""

    cells: int
    stored_bytes: int
    cost: Cost


class MapsSource:
    """Maps of images; not for several threads at once.

    The maps themselves, 44 MB for an image of 1600x1200, are not stored: a run that was killed
    computes those that it still needs again.
    """

    def __init__(
        self,
        network: MapsMethod,
        identity: Identity,
        store: Store,
        files: Mapping[str, Path],
        device: str = "cpu",
    ) -> None:
        """Takes the network, what decides its maps, the images by name, and where it computes."""
        self._device = device
        self.network, self.identity, self.store, self.files = network, identity, store, files
        self.hashes: dict[str, str] = {}  # SHA-256 of each image, once they are hashed
        self.extracted = 0  # images whose maps were made for the first time
        self._held = last_used(CACHE_BYTES, stored_bytes)

    def describe(self) -> dict[str, Any]:
        """The network's identity and its key, for the manifest."""
        return {**asdict(self.identity), "key": self.identity.key}

    def headline(self) -> str:
        """A line that says what the maps are made with."""
        return f"dense maps of {self.identity.method}: weights {self.identity.weights.name}"

    def hash_of(self, name: str) -> str:
        """SHA-256 of an image.

        Raises:
            D2EvalError: it can't be read.
        """
        if name not in self.hashes:
            self.hashes[name] = image_hash(self.store, self.files[name])
        return self.hashes[name]

    def planned_hashes(self) -> dict[str, str]:
        """Hashes of all images, of which nothing is kept; raises as `hash_of`."""
        return {name: planned_hash(self.store, path) for name, path in self.files.items()}

    @cachedmethod(attrgetter("_held"))
    def maps(self, name: str) -> Maps:
        """The maps of an image.

        Raises:
            D2EvalError: a broken image, or maps that break the contract.
        """
        return self._make(name)[0]

    def record(self, name: str) -> MapsRecord:
        """What is kept of an image's maps, which are made if that wasn't yet; raises as `maps`."""
        return self.stored(self.hash_of(name)) or _record_of(self._make(name)[1])

    def stored(self, sha256: str) -> MapsRecord | None:
        """What is kept of the maps of an image of this hash, if they were made once."""
        content = self.store.read_record(self._path(sha256))
        return None if content is None else _record_of(content)

    def _path(self, sha256: str) -> Path:
        return self.store.unit_path("maps", [self.identity.key, sha256])

    def _make(self, name: str) -> tuple[Maps, dict[str, Any]]:
        image = load_image_file(self.files[name]).decode()
        with measure(self._device) as cost:
            maps = self.network.maps(image)
        path = self._path(self.hash_of(name))
        content = self.store.read_record(path)
        if content is None:
            cells = maps.coarse.shape[0] * maps.coarse.shape[1]
            cells += maps.fine.shape[0] * maps.fine.shape[1]
            content = {"features": cells, "stored_bytes": stored_bytes(maps), **asdict(cost)}
            self.store.write_record(path, content)
            self.extracted += 1
        return maps, content


def _record_of(content: Mapping[str, Any]) -> MapsRecord:
    return MapsRecord(content["features"], content["stored_bytes"], Cost.of(content))
