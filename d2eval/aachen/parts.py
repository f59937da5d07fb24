"""What workers do of a run: features, matches and verified pairs of parts of the dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pycolmap

from d2eval.aachen.costs import costs_path
from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints, Matching, Pair
from d2eval.aachen.order import near_each_other
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.aachen.stages import MATCHING, REGISTRATION, TRIANGULATION, VERIFICATION
from d2eval.aachen.triangulation import model_unit
from d2eval.aachen.verification import CHUNK, geometry_units, pairs_to_verify, verify_some
from d2eval.aachen.workspace import create_part, part_of
from d2eval.foundation.files.leftovers import local_folder
from d2eval.pipeline.planning import plan_units
from d2eval.pipeline.sending import FEATURES
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

HELD = 512  # images whose keypoints a worker keeps in memory


def send_matches(matching: Matching, dataset: Dataset, executor: Executor, store: Store) -> None:
    """Lets workers, if there are any, match the pairs.

    Raises:
        D2EvalError: as `Executor.ahead`.
    """
    if matching.is_known:
        executor.ahead(MATCHING, near_each_other(dataset.pairs), store, "matches")


def send_pairs(
    matching: Matching,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    executor: Executor,
    store: Store,
) -> None:
    """Lets workers, if there are any, verify the pairs that are matched.

    Raises:
        D2EvalError: as `Executor.ahead`.
    """
    if matching.is_known:
        pairs = near_each_other(pairs_to_verify(dataset, benchmark))
        executor.ahead(VERIFICATION, pairs, store, "verified")


class AachenParts:
    """The stages of a run, of any images and pairs of its dataset."""

    def __init__(
        self,
        matching: Matching,
        dataset: Dataset,
        benchmark: AachenBenchmark,
        store: Store,
        workers: int,
        seed: int,
        threads: int | None,
    ) -> None:
        """Takes what a run takes."""
        self._threads = threads
        self._matching, self._dataset, self._benchmark = matching, dataset, benchmark
        self._store, self._workers, self._seed = store, workers, seed
        self._keypoints = _Keypoints(matching, dataset)
        self._match = matching.pair_matcher(dataset, self._keypoints, store)
        pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value

    @property
    def extracted(self) -> int:
        """By the method or network."""
        return self._matching.extracted

    def plan(self, dataset: Dataset) -> list[Planned]:
        """Features, matches and geometries; the model; poses, which are not stored."""
        store, benchmark, seed = self._store, self._benchmark, self._seed
        features, keyed = self._matching.plan_features(dataset)
        content = self._matching.content()
        matches = [
            store.matches_path(keyed[first].key, keyed[other].key, content)
            for first, other in dataset.pairs
        ]
        units = geometry_units(dataset, keyed, benchmark, content, store, seed)
        # Where counting begins is known of features that are there
        there = [
            unit if all(keyed[name].stored for name in pair) else None
            for pair, unit in units.items()
        ]
        model = model_unit(dataset, benchmark, [unit.name for unit in units.values()], store, seed)
        group = next(iter(keyed.values())).key, content, benchmark, model, store
        points = plan_units(
            TRIANGULATION, store, [model], costs_path(TRIANGULATION, *group), parts=len(units)
        )
        poses = plan_units(
            REGISTRATION, store, [None] * len(dataset.queries), costs_path(REGISTRATION, *group)
        )
        pairs = [
            plan_units(MATCHING, store, matches, next(iter(matches), None)),
            plan_units(VERIFICATION, store, there, next(iter(units.values()), None)),
        ]
        return [
            features,
            *(replace(own, is_shared=self._matching.is_known) for own in pairs),
            *(replace(own, is_shared=False) for own in (points, poses)),
        ]

    def work(self, stage: str, units: Sequence[Any]) -> Iterator[object]:
        """Features of images by name; matches or geometries of pairs of names."""
        if stage == FEATURES:
            yield from self._matching.keypoints_of(units, self._dataset, self._workers)
            return
        self._matching.made_before()
        if stage == MATCHING:
            try:
                yield from map(self._match, units)
            finally:
                self._store.flush()
            return
        self._store.made_anew("matches")
        for begin in range(0, len(units), CHUNK):
            yield from self._verify(units[begin : begin + CHUNK])

    def _verify(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """In a database of these pairs alone, on a disk of the worker's own."""
        part = part_of(self._dataset, pairs)
        keypoints = {name: self._keypoints[name] for name in part.images}
        origin = self._benchmark.keypoint_origin
        seen = {name: found.seen_by_colmap(origin) for name, found in keypoints.items()}
        with local_folder() as folder:
            database = folder / "database.db"
            create_part(database, part, seen, [(pair, self._match(pair)) for pair in part.pairs])
            verify_some(
                database, part, keypoints, self._benchmark, self._matching.content(), self._store,
                self._seed, self._threads,
            )  # fmt: skip
        return pairs


class _Keypoints(dict[str, ImageKeypoints]):
    """Those of images that are asked for, of which the last are kept."""

    def __init__(self, matching: Matching, dataset: Dataset) -> None:
        super().__init__()
        self._matching, self._dataset = matching, dataset

    def __missing__(self, name: str) -> ImageKeypoints:
        if len(self) >= HELD:
            del self[next(iter(self))]
        ((_, self[name]),) = self._matching.keypoints_of([name], self._dataset, 0)
        return self[name]
