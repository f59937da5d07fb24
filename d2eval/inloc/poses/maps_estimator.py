"""InLoc's Dense PE: candidates from dense maps, matched coarse to fine."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import poselib
import pycolmap

from d2eval.contracts.identity import Identity
from d2eval.contracts.maps import MapsMethod
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.dense import DenseMatches, DenseSettings, match_dense
from d2eval.inloc.poses.estimators import Estimator, ImageRecord, Task
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.p3p import P3PSettings, estimate_pose
from d2eval.inloc.strategies import Part
from d2eval.pipeline.maps import MapsSource
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

VERSION = 2  # raise it when a change of the code changes the candidates


class DenseEstimator(Estimator):
    """Dense PE, from the maps of a network."""

    def __init__(self, strategy: Part, task: Task, network: MapsMethod, identity: Identity) -> None:
        super().__init__(strategy, task)
        self.source = MapsSource(network, identity, task.store, self.files, task.runtime.device)

    def describe(self) -> Mapping[str, Any]:
        """The network's identity and its key."""
        return self.source.describe()

    def headlines(self) -> list[str]:
        """Of the network."""
        return [self.source.headline()]

    @property
    def label(self) -> str:
        """The network's."""
        return self.source.identity.method

    @property
    def extracted(self) -> int:
        """By the network."""
        return self.source.extracted

    @property
    def is_known(self) -> bool:
        """By files or registered names."""
        return self.source.identity.source.known

    def send_images(self, stage: str, executor: Executor) -> None:
        """Nothing: maps are made where they are matched."""

    def plan_images(self, stage: str) -> tuple[Sequence[Planned], Mapping[str, str]]:
        """Nothing: as above."""
        return [], self.source.planned_hashes()

    def made_before(self) -> None:
        """Nothing."""

    def prepared(self, names: Sequence[str], workers: int) -> Iterator[object]:
        """Hashes images."""
        for name in names:
            self.keys[name] = self.source.hash_of(name)
            yield name

    def images(self) -> dict[str, ImageRecord]:
        """Cells and bytes of the maps, and what they cost when they were made first."""
        records = {}
        for name, sha256 in self.keys.items():
            made = self.source.record(name)
            size = made.stored_bytes
            records[name] = ImageRecord(sha256, made.cells, size, size, made.cost)
        return records

    def settings(self) -> list[Any]:
        """Network, the strategy's tables, retrieval and seed."""
        benchmark = self.task.benchmark
        return [
            VERSION, self.strategy.name, self.source.identity.key,
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
        maps = self.source.maps(query)
        camera = task.dataset.query_camera(query, maps.image_size)
        found: list[tuple[Retrieved, DenseMatches]] = []
        for item in self.retrieved(query):
            other = self.source.maps(item.cutout)
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
