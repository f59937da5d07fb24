"""Features and matches on workers: what is sent, and what a worker does with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from d2eval.foundation.images.decoding import load_image_file
from d2eval.pipeline.extraction import FeatureSource, MethodSource, features_of_images
from d2eval.pipeline.image_pairs import matched_points
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.planning import is_sent, plan_features, plan_image_pairs, plan_units
from d2eval.pipeline.recent_features import FeatureCache
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

# The stages; image pairs are those of a method that matches images
FEATURES, MATCHES, IMAGE_PAIRS = "features", "matches", "image pairs"


def send_features(
    source: FeatureSource, names: Sequence[Any], executor: Executor, stage: str = FEATURES
) -> None:
    """Lets workers extract features of images, or of image pairs, if a method extracts them.

    Raises:
        D2EvalError: as `Executor.ahead`.
    """
    if is_sent(source):
        source.extracted += executor.ahead(stage, names, source.store, "features")


def means_the_same(source: FeatureSource, matcher: PairMatcher) -> bool:
    """Whether a worker that opens both gets the same keys; not where no file says what they do."""
    known = not isinstance(source, MethodSource) or source.identity.source.known
    return known and matcher.identity.source.known


def made_before(source: FeatureSource) -> None:
    """The features that are stored count from now on: workers have just made them."""
    if isinstance(source, MethodSource):
        source.store.made_anew("features")


class PairsParts:
    """What a worker does of a benchmark of image pairs."""

    def __init__(
        self,
        source: FeatureSource,
        matcher: PairMatcher | None,
        find: Callable[[str], Path],
        store: Store,
        top_k: int | None,
        workers: int,
    ) -> None:
        """Takes what matches which images; ``find`` gives the file of a name."""
        self._source, self._matcher, self._store = source, matcher, store
        self._find, self._top_k, self._workers = find, top_k, workers
        self._cache = FeatureCache(source, find)

    @property
    def extracted(self) -> int:
        """By the method."""
        return self._source.extracted

    def plan(self, dataset: Any) -> list[Planned]:
        """Features of the images and matches of the pairs of a `PairDataset`; then scores."""
        dataset.check()
        pairs = [(pair.first, pair.second) for pair in dataset.pairs]
        scores = Planned("scores", len(pairs), size=0.0)
        if self._matcher is None:
            assert isinstance(self._source, MethodSource)  # noqa: S101 - as in `work`
            return [plan_image_pairs(IMAGE_PAIRS, self._source, pairs), scores]
        files = {dataset.name_of(path): path for path in dataset.images}
        features, keyed = plan_features(FEATURES, self._source, files)
        content = self._matcher.content(self._top_k)
        keys = [[keyed[dataset.name_of(path)].key for path in pair] for pair in pairs]
        paths = [self._store.matches_path(first, other, content) for first, other in keys]
        matches = plan_units(MATCHES, self._store, paths, paths[0])
        is_shared = means_the_same(self._source, self._matcher)
        return [features, replace(matches, is_shared=is_shared), scores]

    def work(self, stage: str, units: Sequence[Any]) -> Iterator[object]:
        """Features of images by name; matches, or matched points, of pairs of names."""
        if stage == FEATURES:
            items = [(self._find(name), name) for name in units]
            yield from features_of_images(self._source, items, self._workers)
            return
        if stage == IMAGE_PAIRS:
            assert isinstance(self._source, MethodSource)  # noqa: S101 - nothing else is sent
            for pair in units:
                files = [load_image_file(self._find(name)) for name in pair]
                yield matched_points(self._source, files[0], files[1])
            return
        assert self._matcher is not None  # noqa: S101 - that of images was above
        made_before(self._source)
        try:
            for pair in units:
                first, other = (self._cache.get(name).best(self._top_k) for name in pair)
                yield match_features(first, other, self._store, self._matcher, self._top_k)
        finally:
            self._store.flush()
