"""InLoc's Dense PE: candidates from dense maps, matched coarse to fine."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import poselib
import pycolmap
from cachetools import cachedmethod

from d2eval.contracts.identity import Identity
from d2eval.contracts.maps import Maps, MapsMethod, maps_class, stored_bytes
from d2eval.contracts.method import Runtime
from d2eval.foundation.arrays.held import last_used
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.machine.resources import Cost, measure
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.dense import DenseMatches, DenseSettings, match_dense
from d2eval.inloc.poses.estimators import Estimator, ImageRecord, Task
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.p3p import P3PSettings, estimate_pose
from d2eval.inloc.strategies import Part

VERSION = 2  # raise it when a change of the code changes the candidates
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


class DenseEstimator(Estimator):
    """Dense PE, from the maps of a network.

    The maps themselves, 44 MB for an image, are not stored: a run that was killed computes those
    of its next queries again.
    """

    def __init__(self, strategy: Part, task: Task, network: MapsMethod, identity: Identity) -> None:
        super().__init__(strategy, task)
        self.network, self.identity = network, identity
        self._held = last_used(CACHE_BYTES, stored_bytes)

    def describe(self) -> Mapping[str, Any]:
        """The network's identity and its key."""
        return {**asdict(self.identity), "key": self.identity.key}

    def headlines(self) -> list[str]:
        """Of the network."""
        return [f"dense maps of {self.identity.method}: weights {self.identity.weights.name}"]

    def prepare(self, workers: int) -> None:
        """Hashes every image."""
        for name, path in progress(self.files.items(), "reading the images"):
            self.keys[name] = hashlib.sha256(read_bytes(path)).hexdigest()

    def _record_path(self, name: str) -> Path:
        return self.task.store.unit_path("maps", [self.identity.key, self.keys[name]])

    def images(self) -> dict[str, ImageRecord]:
        """Cells and bytes of the maps, and what they cost when they were made first."""
        records = {}
        for name in self.keys:
            record = self.task.store.read_record(self._record_path(name))
            if record is None:
                _, record = self._make(name)
            cost = Cost(record["seconds"], record["peak_memory_mb"])
            records[name] = ImageRecord(
                self.keys[name], record["features"], record["stored_bytes"], cost
            )
        return records

    @cachedmethod(attrgetter("_held"))
    def _maps(self, name: str) -> Maps:
        return self._make(name)[0]

    def _make(self, name: str) -> tuple[Maps, dict[str, Any]]:
        """The maps of an image, and the record of when they were made first."""
        image = load_image_file(self.files[name]).decode()
        with measure() as cost:
            maps = self.network.maps(image)
        path = self._record_path(name)
        record = self.task.store.read_record(path)
        if record is None:
            cells = maps.coarse.shape[0] * maps.coarse.shape[1]
            cells += maps.fine.shape[0] * maps.fine.shape[1]
            record = {"features": cells, "stored_bytes": stored_bytes(maps), **asdict(cost)}
            self.task.store.write_record(path, record)
        return maps, record

    def settings(self) -> list[Any]:
        """Network, the strategy's tables, retrieval and seed."""
        benchmark = self.task.benchmark
        return [
            VERSION, self.strategy.name, self.identity.key,
            *map(benchmark.strategy, self.strategy.tables), asdict(benchmark.retrieval),
            self.task.runtime.seed, pycolmap.__version__, poselib.__version__,
        ]  # fmt: skip

    def candidates(self, query: str) -> list[Candidate]:
        """Cutouts ranked by retrieval score + verified matches, each of the best with a pose.

        Source: InLoc_demo, ht_top100_densePE_localization, parfor_denseGV and parfor_densePE.
        """
        task, seed = self.task, self.task.runtime.seed
        settings = DenseSettings(**task.benchmark.strategy("dense"))
        p3p = P3PSettings(**task.benchmark.strategy("p3p"))
        maps = self._maps(query)
        camera = task.dataset.query_camera(query, maps.image_size)
        found: list[tuple[Retrieved, DenseMatches]] = []
        for item in self.retrieved(query):
            other = self._maps(item.cutout)
            found.append((item, match_dense(maps, other, settings, seed, task.runtime.device)))
        scores = [item.score + len(matches) for item, matches in found]
        order = np.argsort(-np.array(scores), kind="stable")[: task.benchmark.retrieval.posed]
        candidates = []
        for index in order:
            item, matches = found[index]
            points = interpolate_xyz(task.spatial.xyz(item.cutout), matches.cutout, "nearest")
            known = ~np.isnan(points).any(axis=1)
            estimate = estimate_pose(matches.query[known], points[known], camera, p3p, seed)
            candidates.append(
                Candidate(
                    query, item.cutout, item.score, matches.fine, len(matches),
                    len(matches.inliers), int(known.sum()), estimate.count, estimate.pose,
                    scores[index], math.nan,
                )
            )  # fmt: skip
        return candidates
