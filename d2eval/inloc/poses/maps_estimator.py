"""InLoc's Dense PE: candidates from dense maps, matched coarse to fine."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import poselib
import pycolmap
from cachetools import cachedmethod

from d2eval.contracts.maps import Maps, MapsMethod, stored_bytes
from d2eval.contracts.method import Identity
from d2eval.foundation.arrays.held import last_used
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.images.decoding import load_image_file, read_image_size
from d2eval.foundation.machine.resources import Cost, measure
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.benchmark import InlocBenchmark
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.dense import DenseMatches, DenseSettings, match_dense
from d2eval.inloc.poses.estimators import ImageRecord, depth_content
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.p3p import P3PSettings, estimate_pose
from d2eval.pipeline.store import Store

VERSION = 2  # raise it when a change of the code changes the candidates
CACHE_BYTES = 2 * 2**30  # of maps in memory; 45 images of 1600x1200


@dataclass
class DenseEstimator:
    """Dense PE, from the maps of a network.

    The maps themselves, 44 MB for an image, are not stored: a run that was killed computes those
    of its next queries again.
    """

    network: MapsMethod
    identity: Identity
    dataset: Dataset
    spatial: Database3D
    benchmark: InlocBenchmark
    store: Store
    device: str
    seed: int

    def __post_init__(self) -> None:
        self._hashes: dict[str, str] = {}
        self._held = last_used(CACHE_BYTES, stored_bytes)

    def _find(self, name: str) -> Path:
        return self.dataset.queries.get(name) or self.dataset.cutouts[name]

    def _retrieved(self, query: str) -> Sequence[Retrieved]:
        return self.dataset.retrieval.get(query, ())[: self.benchmark.retrieval.candidates]

    def prepare(self, workers: int) -> None:
        """Hashes the queries and all cutouts that they retrieve."""
        names = dict.fromkeys(self.dataset.queries)
        for query in self.dataset.queries:
            names |= dict.fromkeys(item.cutout for item in self._retrieved(query))
        for name in progress(names, "reading the images"):
            self._hashes[name] = hashlib.sha256(read_bytes(self._find(name))).hexdigest()

    def _record_path(self, name: str) -> Path:
        return self.store.unit_path("maps", [self.identity.key, self._hashes[name]])

    def images(self) -> dict[str, ImageRecord]:
        """Cells and bytes of the maps, and what they cost when they were made first."""
        records = {}
        for name in self._hashes:
            record = self.store.read_record(self._record_path(name))
            if record is None:
                _, record = self._make(name)
            cost = Cost(record["seconds"], record["peak_memory_mb"])
            records[name] = ImageRecord(
                self._hashes[name], record["features"], record["stored_bytes"], cost
            )
        return records

    @cachedmethod(attrgetter("_held"))
    def _maps(self, name: str) -> Maps:
        return self._make(name)[0]

    def _make(self, name: str) -> tuple[Maps, dict[str, Any]]:
        """The maps of an image, and the record of when they were made first."""
        image = load_image_file(self._find(name)).decode()
        with measure() as cost:
            maps = self.network.maps(image)
        path = self._record_path(name)
        record = self.store.read_record(path)
        if record is None:
            cells = maps.coarse.shape[0] * maps.coarse.shape[1]
            cells += maps.fine.shape[0] * maps.fine.shape[1]
            record = {"features": cells, "stored_bytes": stored_bytes(maps), **asdict(cost)}
            self.store.write_record(path, record)
        return maps, record

    def content(self, query: str) -> Any:
        """Network, settings, images, retrieval and depth."""
        retrieved = self._retrieved(query)
        camera = self.dataset.query_camera(query, read_image_size(self.dataset.queries[query]))
        return [
            VERSION, "dense", self.identity.key, self.benchmark.strategy("dense"),
            self.benchmark.strategy("p3p"), asdict(self.benchmark.retrieval), self.seed,
            pycolmap.__version__, poselib.__version__, camera.params.tolist(),
            self._hashes[query],
            [[item.cutout, item.score, self._hashes[item.cutout]] for item in retrieved],
            depth_content(self.dataset, self.spatial, [item.cutout for item in retrieved]),
        ]  # fmt: skip

    def candidates(self, query: str) -> list[Candidate]:
        """Cutouts ranked by retrieval score + verified matches, each of the best with a pose.

        Source: InLoc_demo, ht_top100_densePE_localization, parfor_denseGV and parfor_densePE.
        """
        settings = DenseSettings(**self.benchmark.strategy("dense"))
        p3p = P3PSettings(**self.benchmark.strategy("p3p"))
        maps = self._maps(query)
        camera = self.dataset.query_camera(query, maps.image_size)
        found: list[tuple[Retrieved, DenseMatches]] = []
        for item in self._retrieved(query):
            matches = match_dense(maps, self._maps(item.cutout), settings, self.seed, self.device)
            found.append((item, matches))
        scores = [item.score + len(matches) for item, matches in found]
        order = np.argsort(-np.array(scores), kind="stable")[: self.benchmark.retrieval.posed]
        candidates = []
        for index in order:
            item, matches = found[index]
            points = interpolate_xyz(self.spatial.xyz(item.cutout), matches.cutout, "nearest")
            known = ~np.isnan(points).any(axis=1)
            estimate = estimate_pose(matches.query[known], points[known], camera, p3p, self.seed)
            candidates.append(
                Candidate(
                    query, item.cutout, item.score, matches.fine, len(matches),
                    len(matches.inliers), int(known.sum()), estimate.count, estimate.pose,
                    scores[index], math.nan,
                )
            )  # fmt: skip
        return candidates
