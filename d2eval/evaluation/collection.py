"""Features, matches and rows of image pairs."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.contracts.matching import Matches
from d2eval.evaluation.benchmark import Request
from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.extraction import FeatureSource, MethodSource, features_of_images
from d2eval.pipeline.image_pairs import matched_points
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.sending import IMAGE_PAIRS, MATCHES, means_the_same, send_features
from d2eval.pipeline.store import Store, StoredFeatures
from d2eval.runs.folder import Row


class Collected:
    """Features and matches of all pairs, and what came of them.

    Attributes:
        rows: of the pairs.
        images: one record for each image.
        descriptor_bytes: of each image.
        costs: of each image, or image pair.
        hashes: SHA-256 of the images.
        of_features: columns that a matcher of images has nothing for.
    """

    of_features: Sequence[str] = ()

    def __init__(
        self,
        dataset: PairDataset,
        source: FeatureSource,
        matcher: PairMatcher | None,
        request: Request,
        score: Callable[..., Row],
        top_k: int | None,
    ) -> None:
        self.dataset, self.request, self.score, self.top_k = dataset, request, score, top_k
        self.source, self.matcher = source, matcher
        self.store = Store(request.runtime.cache, request.runtime.fresh)
        self.rows: list[Row] = []
        self.images: list[Row] = []
        self.descriptor_bytes: list[int] = []
        self.costs: list[Cost] = []
        self.hashes: dict[Path, str] = {}

    def send_ahead(self) -> None:
        """Lets workers, if there are any, extract features and then match pairs."""
        source, matcher, executor = self.source, self.matcher, self.request.executor
        name_of = self.dataset.name_of
        pairs = [(name_of(pair.first), name_of(pair.second)) for pair in self.dataset.pairs]
        if matcher is None:
            send_features(source, pairs, executor, IMAGE_PAIRS)
            return
        send_features(source, [name_of(path) for path in self.dataset.images], executor)
        if means_the_same(source, matcher):
            executor.ahead(MATCHES, pairs, self.store, "matches")

    def collect(self) -> None:
        """Image by image; a pair as soon as both of its images are there."""
        self.send_ahead()
        try:
            self._collect()
        finally:
            self.store.flush()

    def _collect(self) -> None:
        used = self.dataset.images
        items = [(path, self.dataset.name_of(path)) for path in used]
        found = features_of_images(self.source, items, self.request.workers)
        waiting = iter(self.dataset.pairs)
        pair = next(waiting, None)
        needed = Counter(path for p in self.dataset.pairs for path in (p.first, p.second))
        held: dict[Path, StoredFeatures] = {}
        what = f"{self.source.label}: features, matches, scores"
        for (image, unit), split in progress(
            zip(found, used.values(), strict=True), what, len(items)
        ):
            unit = unit.best(self.top_k)
            held[image.path] = unit
            self.hashes[image.path] = image.sha256
            self.descriptor_bytes.append(unit.features.descriptors.nbytes)
            self.costs.append(unit.cost)
            self.images.append(
                {
                    "split": split,
                    "features": len(unit.features),
                    "seconds": unit.cost.seconds,
                    "peak_memory_mib": unit.cost.peak_memory_mib,
                }
            )
            while pair is not None and pair.first in held and pair.second in held:
                units = held[pair.first], held[pair.second]
                assert self.matcher is not None  # noqa: S101 - that of images is another's
                matches = match_features(*units, self.store, self.matcher, self.top_k)
                self.rows.append(self._row(pair, *units, matches))
                for path in (pair.first, pair.second):
                    needed[path] -= 1
                    if not needed[path]:
                        held.pop(path, None)
                pair = next(waiting, None)

    @property
    def said(self) -> str:
        """How much of it was new."""
        return f"extracted {self.source.extracted} of {len(self.images)} images"

    def described_matcher(self) -> dict[str, Any]:
        """What matched, for the manifest."""
        return {"name": "", "default": True} if self.matcher is None else self.matcher.describe()

    def _row(
        self, pair: ImagePair, first: StoredFeatures, second: StoredFeatures, matches: Matches
    ) -> Row:
        seed = self.request.runtime.seed
        scored = self.score(pair, first.features, second.features, matches, seed)
        # NumPy's numbers are numbers, too.
        numbers = {k: v.item() if isinstance(v, np.generic) else v for k, v in scored.items()}
        return {
            **pair.columns,
            "split": pair.split,
            **numbers,
            "seconds_1": first.cost.seconds,
            "seconds_k": second.cost.seconds,
            "peak_memory_mib_1": first.cost.peak_memory_mib,
            "peak_memory_mib_k": second.cost.peak_memory_mib,
        }


class CollectedImages(Collected):
    """What a matcher of images finds in pairs, and what came of it.

    An image's features are the points found in it, a mean over its pairs; their cost is the pair's.
    """

    def collect(self) -> None:
        """Pair by pair."""
        self.send_ahead()
        source = self.source
        assert isinstance(source, MethodSource)  # noqa: S101 - what a method gives
        counts: dict[Path, list[int]] = defaultdict(list)
        what = f"{source.label}: matches, scores"
        for pair in progress(self.dataset.pairs, what, len(self.dataset.pairs)):
            files = load_image_file(pair.first), load_image_file(pair.second)
            units = [unit.best(self.top_k) for unit in matched_points(source, *files)]
            matches = np.repeat(np.arange(len(units[0].features), dtype=np.int32)[:, None], 2, 1)
            for file, unit in zip(files, units, strict=True):
                self.hashes[file.path] = file.sha256
                counts[file.path].append(len(unit.features))
            self.costs.append(replace(units[0].cost, seconds=math.nan))  # of no image alone
            row = self._row(pair, units[0], units[1], matches)
            self.rows.append(row | dict.fromkeys(row.keys() & {*self.of_features}, math.nan))
        self.images = [
            {
                "split": split,
                "features": sum(counts[path]) / len(counts[path]),
                "seconds": math.nan,
                "peak_memory_mib": max(cost.peak_memory_mib for cost in self.costs),
            }
            for path, split in self.dataset.images.items()
        ]

    @property
    def said(self) -> str:
        """How much of it was new."""
        return f"matched {self.source.extracted} of {len(self.rows)} pairs"
