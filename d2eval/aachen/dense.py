"""DenseSfM: dense maps matched coarse to fine, in place of local features.

The keypoints of an image are the cells of a grid, the same in all of its pairs, so that matches
become tracks.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints, Matching, Pair, check_size
from d2eval.aachen.protocol import DenseSettings
from d2eval.contracts.features import Float32Array
from d2eval.contracts.maps import Maps
from d2eval.contracts.matching import Matches
from d2eval.contracts.registry import DENSE_NETWORK
from d2eval.pipeline.coarse_to_fine import coarse_matches, fine_matches
from d2eval.pipeline.maps import MapsSource
from d2eval.pipeline.planning import Keyed
from d2eval.pipeline.sending import FEATURES
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

VERSION = 1  # raise it when a change of the code changes keypoints or matches
METHOD = "dense_sfm"  # its row in the paper's table


def keypoint_cells(
    fine: npt.NDArray[np.integer], columns: int, cell: int
) -> npt.NDArray[np.integer]:
    """The keypoints' cells, row by row, that fine cells of a map of so many columns lie in."""
    rows, across = np.divmod(fine, columns)
    return rows // cell * -(-columns // cell) + across // cell


def cell_centers(maps: Maps, cell: int) -> Float32Array:
    """(N, 2) pixels of all keypoints of an image: the centres of cells, row by row."""
    height, width = maps.fine.shape[:2]
    fine = np.arange(height * width)
    owners = keypoint_cells(fine, width, cell)
    points, counts = maps.fine_points(fine), np.bincount(owners)
    sums = [np.bincount(owners, weights=points[:, axis]) for axis in (0, 1)]
    return (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)


def one_to_one(matches: Matches, similarity: Float32Array, most: int = 0) -> Matches:
    """Those matches that are the most alike of both their sides, sorted.

    Args:
        matches: (M, 2) indices.
        similarity: (M,) of each; of equal ones the lower indices count.
        most: keeps so many of the most alike; 0: all.
    """
    ranked = matches[np.lexsort((matches[:, 1], matches[:, 0], -similarity))]
    best_1, best_2 = (np.unique(side, return_index=True)[1] for side in ranked.T)
    kept = ranked[np.intersect1d(best_1, best_2)[: most or None]]
    return kept[np.lexsort((kept[:, 1], kept[:, 0]))]


def match_cells(first: Maps, other: Maps, settings: DenseSettings, device: str = "cpu") -> Matches:
    """(M, 2) int32 matched keypoints of two images, each of either image in one match at most."""
    sides = first, other
    fine = fine_matches(first, other, coarse_matches(first, other, device), device)
    described = [
        maps.fine.reshape(-1, maps.fine.shape[2])[cells]
        for maps, cells in zip(sides, fine.T, strict=True)
    ]
    cells = [
        keypoint_cells(own, maps.fine.shape[1], settings.cell)
        for maps, own in zip(sides, fine.T, strict=True)
    ]
    similarity = np.einsum("md,md->m", *described)
    matched = np.stack(cells, axis=1).astype(np.int32)
    return one_to_one(matched, similarity, settings.max_matches)


class DenseMatching(Matching):
    """Dense maps of a network, matched coarse to fine."""

    def __init__(self, maps: MapsSource, settings: DenseSettings, device: str) -> None:
        """Takes the maps of all images by name, how they are matched, and on which device."""
        self.maps, self.settings, self.device = maps, settings, device

    @property
    def label(self) -> str:
        """The paper's method."""
        return METHOD

    @property
    def method(self) -> str:
        """The paper's method; of another network, that one's too."""
        network = self.maps.identity.method
        return METHOD if network == DENSE_NETWORK else f"{METHOD} of {network}"

    @property
    def extracted(self) -> int:
        """By the network."""
        return self.maps.extracted

    def headlines(self) -> list[str]:
        """Of the network."""
        return [self.maps.headline()]

    def describe(self) -> dict[str, Any]:
        """The network's identity, and the settings."""
        matcher = {"name": "coarse_to_fine", "config": asdict(self.settings), "default": True}
        return {"features": self.maps.describe(), "matcher": {**matcher, "version": VERSION}}

    def content(self) -> dict[str, Any]:
        """The settings."""
        return {"matcher": "coarse_to_fine", "version": VERSION, **asdict(self.settings)}

    @property
    def is_known(self) -> bool:
        """By files or registered names."""
        return self.maps.identity.source.known

    def send_features(self, dataset: Dataset, executor: Executor) -> None:
        """Keypoints of all cells."""
        names = sorted(self.maps.files)
        if self.is_known:
            self.maps.extracted += executor.ahead(FEATURES, names, self.maps.store, "maps")

    def plan_features(self, dataset: Dataset) -> tuple[Planned, dict[str, Keyed]]:
        """Of the network, by the cost of those that are stored."""
        hashes = self.maps.planned_hashes()
        costs, keyed = [], {}
        for name in sorted(dataset.images):
            key = self._key(hashes[name])
            made = self.maps.stored(hashes[name])
            stored = made is not None and self.maps.store.has(self._cells_path(key))
            keyed[name] = Keyed(key, stored)
            costs += [made.cost.seconds] if made and stored else []
        lacking = len(keyed) - len(costs)
        seconds = lacking * sum(costs) / len(costs) if costs else None
        planned = Planned(FEATURES, len(keyed), len(costs), seconds, is_shared=self.is_known)
        return planned, keyed

    def _key(self, sha256: str) -> str:
        return f"{self.maps.identity.key}-{sha256}"

    def _cells_path(self, key: str) -> Path:
        return self.maps.store.unit_path("maps", ["keypoints", VERSION, key, self.settings.cell])

    def made_before(self) -> None:
        """Keypoints and records of maps."""
        self.maps.store.made_anew("maps")

    def keypoints_of(
        self, names: Sequence[str], dataset: Dataset, workers: int
    ) -> Iterator[tuple[str, ImageKeypoints]]:
        """The cells of the images."""
        for name in names:
            sha256 = self.maps.hash_of(name)
            key = self._key(sha256)
            path = self._cells_path(key)
            unit = self.maps.store.read_arrays(path)
            if unit is None:
                maps = self.maps.maps(name)
                unit = {
                    "keypoints": cell_centers(maps, self.settings.cell),
                    "image_size": np.array(maps.image_size),
                }
                self.maps.store.write_arrays(path, unit)
            width, height = unit["image_size"].tolist()
            check_size(self.maps.files[name], (width, height), dataset.cameras[name])
            record = self.maps.record(name)
            yield (
                name,
                ImageKeypoints(unit["keypoints"], key, sha256, record.cost, record.stored_bytes),
            )

    def pair_matcher(
        self, dataset: Dataset, keypoints: Mapping[str, ImageKeypoints], store: Store
    ) -> Callable[[Pair], Matches]:
        """Coarse to fine."""
        content = self.content()

        def match(pair: Pair) -> Matches:
            first, other = pair
            path = store.matches_path(keypoints[first].key, keypoints[other].key, content)
            found = store.read_matches(path)
            if found is None:
                maps, begin = self.maps, time.perf_counter()
                found = match_cells(maps.maps(first), maps.maps(other), self.settings, self.device)
                store.write_matches(path, found, time.perf_counter() - begin)
            return found

        return match
