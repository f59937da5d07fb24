"""The ways to a query's candidates: sparse features directly, verified, or pooled; dense maps."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pycolmap

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image_size
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.benchmark import InlocBenchmark
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.data.files import depth_path, scan_of
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.homographies import HomographySettings
from d2eval.inloc.poses.p3p import P3PSettings
from d2eval.inloc.poses.pooled import PooledSettings, pooled_pose
from d2eval.inloc.poses.sparse import DirectSettings, Query, direct_candidates, sparse_candidates
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.featurecache import FeatureCache
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.speed import stored_bytes
from d2eval.pipeline.store import Store

VERSION = 2  # raise it when a change of the code changes the candidates


@dataclass(frozen=True)
class ImageRecord:
    """What a run says of an image that was used: its hash, size and what its features cost."""

    sha256: str
    features: int
    stored_bytes: int
    cost: Cost


class Estimator(Protocol):
    """Gives the candidates of a query."""

    def prepare(self, workers: int) -> None:
        """Reads every image that is used, and extracts what is kept of it."""

    def images(self) -> dict[str, ImageRecord]:
        """What is known of the images that were used, by name; after the candidates."""

    def content(self, query: str) -> Any:
        """What decides the candidates of a query, as JSON can say it."""

    def candidates(self, query: str) -> list[Candidate]:
        """The candidates of a query, best first."""


def depth_content(dataset: Dataset, spatial: Database3D, cutouts: Sequence[str]) -> list[Any]:
    """What stands for the depth of cutouts: size and time of the file, and the alignment.

    Raises:
        D2EvalError: a file is missing, or an alignment is broken.
    """
    found = []
    for cutout in cutouts:
        path = depth_path(dataset.cutouts[cutout])
        try:
            state = path.stat()
        except OSError as error:
            raise D2EvalError(
                f"{path}: no depth of {cutout} ({error.strerror}); add the file, or take the "
                "cutout out of the retrieval"
            ) from error
        alignment = spatial.alignment(*scan_of(cutout)).ravel().tolist()
        found.append([cutout, state.st_size, state.st_mtime_ns, alignment])
    return found


@dataclass
class SparseEstimator:
    """Sparse PE, Direct PE, or hloc's pooled PnP, from local features.

    Attributes:
        strategy: "sparse", "direct" or "pooled".
    """

    strategy: str
    source: FeatureSource
    matcher: PairMatcher
    dataset: Dataset
    spatial: Database3D
    benchmark: InlocBenchmark
    store: Store
    seed: int

    def __post_init__(self) -> None:
        self._cache = FeatureCache(self.source, self._find)
        self._keys: dict[str, str] = {}
        self._records: dict[str, ImageRecord] = {}

    def _find(self, name: str) -> Path:
        return self.dataset.queries.get(name) or self.dataset.cutouts[name]

    def _retrieved(self, query: str) -> Sequence[Retrieved]:
        limits = self.benchmark.retrieval
        count = limits.candidates if self.strategy == "sparse" else limits.posed
        return self.dataset.retrieval.get(query, ())[:count]

    def images(self) -> dict[str, ImageRecord]:
        """Of the queries and of all cutouts that they retrieve."""
        return self._records

    def prepare(self, workers: int) -> None:
        """Features of the queries and of all cutouts that they retrieve."""
        names = dict.fromkeys(self.dataset.queries)
        for query in self.dataset.queries:
            names |= dict.fromkeys(item.cutout for item in self._retrieved(query))
        items = [(self._find(name), name) for name in names]
        found = features_of_images(self.source, items, workers)
        what = f"{self.source.label}: features"
        for name, (image, unit) in progress(zip(names, found, strict=True), what, len(items)):
            self._keys[name] = unit.key
            self._records[name] = ImageRecord(
                image.sha256, len(unit.features), stored_bytes(unit.features), unit.cost
            )

    def _settings(self) -> dict[str, Any]:
        tables = {"sparse": ("sparse", "p3p"), "direct": ("direct", "p3p"), "pooled": ("pooled",)}
        return {name: self.benchmark.strategy(name) for name in tables[self.strategy]}

    def content(self, query: str) -> Any:
        """Features, matcher, settings, retrieval and depth."""
        retrieved = self._retrieved(query)
        cutouts = [item.cutout for item in retrieved]
        size = read_image_size(self.dataset.queries[query])
        camera = self.dataset.query_camera(query, size)
        return [
            VERSION, self.strategy, self._settings(), asdict(self.benchmark.retrieval), self.seed,
            self.matcher.content(), pycolmap.__version__, camera.params.tolist(), self._keys[query],
            [[item.cutout, item.score, self._keys[item.cutout]] for item in retrieved],
            depth_content(self.dataset, self.spatial, cutouts),
        ]  # fmt: skip

    def candidates(self, query: str) -> list[Candidate]:
        """Candidates by the strategy; of the pooled one, the only one."""
        unit = self._cache.get(query)
        camera = self.dataset.query_camera(query, unit.features.image_size)
        asked = Query(query, unit.features, camera)

        def features(cutout: str) -> Features:
            return self._cache.get(cutout).features

        def match(cutout: str) -> Matches:
            return match_features(unit, self._cache.get(cutout), self.store, self.matcher)

        retrieved, settings = self._retrieved(query), self._settings()
        loaders = (features, match, self.spatial.xyz)
        limits = self.benchmark.retrieval
        if self.strategy == "pooled":
            options = PooledSettings(**settings["pooled"])
            pooled = pooled_pose(asked, retrieved, *loaders, options, self.seed)
            if not pooled.cutouts:
                return []
            first = next(item for item in retrieved if item.cutout == pooled.cutouts[0])
            return [
                Candidate(
                    query, first.cutout, first.score, pooled.matches, 0, 0, pooled.points,
                    pooled.inliers, pooled.pose, first.score, math.nan,
                )
            ]  # fmt: skip
        p3p = P3PSettings(**settings["p3p"])
        if self.strategy == "direct":
            direct = DirectSettings(**settings["direct"])
            return direct_candidates(asked, retrieved, *loaders, limits, direct, p3p, self.seed)
        sparse = HomographySettings(**settings["sparse"])
        return sparse_candidates(asked, retrieved, *loaders, limits, sparse, p3p, self.seed)
