"""What gives the candidates of a query, from images to poses; with local features by matches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pycolmap

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image_size
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.data.files import depth_path, scan_of
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.sparse import Query
from d2eval.inloc.protocol import InlocBenchmark
from d2eval.inloc.strategies import FeaturePart, Part
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.planning import plan_features
from d2eval.pipeline.recent_features import FeatureCache
from d2eval.pipeline.sending import made_before, means_the_same, send_features
from d2eval.pipeline.speed import stored_bytes
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

VERSION = 2  # raise it when a change of the code changes the candidates


@dataclass(frozen=True)
class Task:
    """The data, the protocol, and where and how a run works; made once and handed down."""

    dataset: Dataset  # of the run
    spatial: Database3D  # its depth and scans
    benchmark: InlocBenchmark  # the protocol
    store: Store  # keeps what is made
    runtime: Runtime  # device and seed


@dataclass(frozen=True)
class ImageRecord:
    """What a run says of an image that was used: its hash, size and what its features cost."""

    sha256: str
    features: int
    stored_bytes: int
    descriptor_bytes: int  # of them
    cost: Cost


class Estimator(ABC):
    """Gives the candidates of a query.

    Attributes:
        files: of the queries and of all cutouts that they retrieve, by name.
        keys: of what is made of each image, by name; once it is prepared.
        matcher: of local features; None of maps.
    """

    matcher: PairMatcher | None = None

    def __init__(self, strategy: Part, task: Task) -> None:
        self.strategy, self.task = strategy, task
        self.keys: dict[str, str] = {}
        self.files = dict(task.dataset.queries)
        for query in task.dataset.queries:
            for item in self.retrieved(query):
                self.files[item.cutout] = task.dataset.cutouts[item.cutout]

    def retrieved(self, query: str) -> Sequence[Retrieved]:
        """The cutouts of a query that are matched."""
        limits = self.task.benchmark.retrieval
        count = limits.candidates if self.strategy.verifies else limits.posed
        return self.task.dataset.retrieval.get(query, ())[:count]

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """What decides its features, for the manifest."""

    @abstractmethod
    def headlines(self) -> list[str]:
        """Lines that say what the features are made with."""

    def prepare(self, workers: int) -> None:
        """Reads every image that is used, and extracts what is kept of it."""
        what = f"{self.label}: features"
        for _ in progress(self.prepared(list(self.files), workers), what, len(self.files)):
            pass

    def images_of(self, query: str) -> list[str]:
        """Names of a query's image and of those that it retrieves."""
        return [query, *(item.cutout for item in self.retrieved(query))]

    @property
    @abstractmethod
    def label(self) -> str:
        """What the images are prepared with, for who watches."""

    @property
    @abstractmethod
    def extracted(self) -> int:
        """Images that this process extracted, rather than read."""

    @property
    @abstractmethod
    def is_known(self) -> bool:
        """Whether a worker that opens it gets the same keys."""

    @abstractmethod
    def send_images(self, stage: str, executor: Executor) -> None:
        """Lets workers, if there are any, extract what is kept of the images."""

    @abstractmethod
    def plan_images(self, stage: str) -> tuple[Sequence[Planned], Mapping[str, str]]:
        """What of the images is stored, where anything is, and the `keys` of all."""

    @abstractmethod
    def made_before(self) -> None:
        """What is stored of the images counts from now on: workers have just made it."""

    @abstractmethod
    def prepared(self, names: Sequence[str], workers: int) -> Iterator[object]:
        """Reads images, and extracts what is kept of them; yields after each."""

    @abstractmethod
    def images(self) -> Mapping[str, ImageRecord]:
        """What is known of the images that were used, by name; after the candidates."""

    @abstractmethod
    def settings(self) -> list[Any]:
        """What decides the candidates of every query."""

    def content(self, query: str, keys: Mapping[str, str]) -> list[Any]:
        """What decides the candidates of a query, as JSON can say it.

        Depth is stood for by size and time of its file, and the alignment; what is made of the
        images by their ``keys``.

        Raises:
            D2EvalError: depth is missing, or an alignment is broken.
        """
        dataset, retrieved, depth = self.task.dataset, self.retrieved(query), []
        for cutout in (item.cutout for item in retrieved):
            path = depth_path(dataset.cutouts[cutout])
            try:
                state = path.stat()
            except OSError as error:
                raise D2EvalError(
                    f"{path}: no depth of {cutout} ({error.strerror}); add the file, or take the "
                    "cutout out of the retrieval"
                ) from error
            alignment = self.task.spatial.alignment(*scan_of(cutout)).ravel().tolist()
            depth.append([cutout, state.st_size, state.st_mtime_ns, alignment])
        camera = dataset.query_camera(query, read_image_size(dataset.queries[query]))
        images = [[item.cutout, item.score, keys[item.cutout]] for item in retrieved]
        return [*self.settings(), camera.params.tolist(), keys[query], images, depth]

    @abstractmethod
    def candidates(self, query: str) -> list[Candidate]:
        """The candidates of a query, best first."""


class FeatureEstimator(Estimator):
    """From local features and their matches."""

    matcher: PairMatcher

    def __init__(
        self, strategy: FeaturePart, task: Task, source: FeatureSource, matcher: PairMatcher
    ) -> None:
        super().__init__(strategy, task)
        self.source, self.matcher = source, matcher
        self._find = strategy.finder()
        self._cache = FeatureCache(source, self.files.__getitem__)
        self._records: dict[str, ImageRecord] = {}

    def describe(self) -> Mapping[str, Any]:
        """The method's identity."""
        return self.source.describe()

    def headlines(self) -> list[str]:
        """Of the method, and of a matcher that isn't the protocol's."""
        return [self.source.headline(), *self.matcher.headlines()]

    def images(self) -> Mapping[str, ImageRecord]:
        """As they were prepared."""
        return self._records

    @property
    def label(self) -> str:
        """The method's."""
        return self.source.label

    @property
    def extracted(self) -> int:
        """By the method."""
        return self.source.extracted

    @property
    def is_known(self) -> bool:
        """By files or registered names."""
        return means_the_same(self.source, self.matcher)

    def send_images(self, stage: str, executor: Executor) -> None:
        """Of the method."""
        send_features(self.source, list(self.files), executor, stage)

    def plan_images(self, stage: str) -> tuple[Sequence[Planned], Mapping[str, str]]:
        """Of the method."""
        planned, keyed = plan_features(stage, self.source, self.files)
        return [planned], {name: own.key for name, own in keyed.items()}

    def made_before(self) -> None:
        """The features."""
        made_before(self.source)

    def prepared(self, names: Sequence[str], workers: int) -> Iterator[object]:
        """Features of images."""
        items = [(self.files[name], name) for name in names]
        found = features_of_images(self.source, items, workers)
        for name, (image, unit) in zip(names, found, strict=True):
            self.keys[name] = unit.key
            self._records[name] = ImageRecord(
                image.sha256, len(unit.features), stored_bytes(unit.features),
                unit.features.descriptors.nbytes, unit.cost,
            )  # fmt: skip
            yield name

    def settings(self) -> list[Any]:
        """The strategy's tables, retrieval, seed and matcher."""
        benchmark = self.task.benchmark
        tables = {name: benchmark.strategy(name) for name in self.strategy.tables}
        return [
            VERSION, self.strategy.name, tables, asdict(benchmark.retrieval),
            self.task.runtime.seed, self.matcher.content(), pycolmap.__version__,
        ]  # fmt: skip

    def candidates(self, query: str) -> list[Candidate]:
        """By the strategy."""
        task, cache, matcher = self.task, self._cache, self.matcher
        unit = cache.get(query)
        asked = Query(
            query,
            unit.features,
            task.dataset.query_camera(query, unit.features.image_size),
            self.retrieved(query),
            lambda cutout: cache.get(cutout).features,
            lambda cutout: match_features(unit, cache.get(cutout), task.store, matcher),
            task.spatial.xyz,
        )
        return self._find(asked, task.benchmark, task.runtime.seed)
