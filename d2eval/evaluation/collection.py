"""Features, matches and rows of image pairs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2eval.evaluation.benchmark import Request
from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.store import Store, StoredFeatures
from d2eval.runs.folder import Row


class Collected:
    """Features and matches of all pairs, and what came of them.

    Attributes:
        rows: of the pairs.
        images: one record for each image.
        descriptor_bytes: of each image.
        hashes: SHA-256 of the images.
    """

    def __init__(
        self,
        dataset: PairDataset,
        source: FeatureSource,
        matcher: PairMatcher,
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
        self.hashes: dict[Path, str] = {}

    def collect(self) -> None:
        """Image by image; a pair as soon as both of its images are there."""
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
            self.images.append(
                {
                    "split": split,
                    "features": len(unit.features),
                    "seconds": unit.cost.seconds,
                    "peak_memory_mib": unit.cost.peak_memory_mib,
                }
            )
            while pair is not None and pair.first in held and pair.second in held:
                self.rows.append(self._row(pair, held[pair.first], held[pair.second]))
                for path in (pair.first, pair.second):
                    needed[path] -= 1
                    if not needed[path]:
                        held.pop(path, None)
                pair = next(waiting, None)

    def _row(self, pair: ImagePair, first: StoredFeatures, second: StoredFeatures) -> Row:
        matches = match_features(first, second, self.store, self.matcher, self.top_k)
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
