"""Image pairs, and the features, matches and rows of all of them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.evaluation.benchmark import Request
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.store import Store, StoredFeatures
from d2eval.runs.folder import Row


@dataclass(frozen=True)
class ImagePair:
    """Two images and what is known of them.

    Attributes:
        first: path of one image.
        second: path of the other.
        split: what the pair counts to.
        columns: say in its row which pair it is.
        truth: what a match is measured by, such as a homography from the first to the second.
    """

    first: Path
    second: Path
    split: str
    columns: Mapping[str, Any]
    truth: Any


@dataclass(frozen=True)
class PairDataset:
    """The pairs of a run.

    Attributes:
        root: the folder that holds them.
        pairs: in the order of the rows.
        completeness: "sample", "complete" or "partial (7 of 108 sequences)".
        counts: what else the manifest says of them.
        lines: say to the user what was found.
        notes: what of it isn't as it should be.
    """

    root: Path
    pairs: Sequence[ImagePair]
    completeness: str
    counts: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def images(self) -> dict[Path, str]:
        """Every image once, by its first use, with the split of that."""
        used: dict[Path, str] = {}
        for pair in self.pairs:
            used.setdefault(pair.first, pair.split)
            used.setdefault(pair.second, pair.split)
        return used

    def fingerprint(self, content: Mapping[Path, str]) -> str:
        """SHA-256 of names, of ``content`` by image, and of what is known of the pairs."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            names = [p.relative_to(self.root).as_posix() for p in (pair.first, pair.second)]
            digest.update(repr([*names, content[pair.first], content[pair.second]]).encode())
            digest.update(pair.truth.tobytes() if isinstance(pair.truth, np.ndarray) else b"")
        return digest.hexdigest()


class Collected:
    """Features and matches of all pairs, and what came of them.

    Attributes:
        rows: of the pairs.
        images: one record for each image.
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
        self.hashes: dict[Path, str] = {}

    def collect(self) -> None:
        """Image by image; a pair as soon as both of its images are there."""
        used = self.dataset.images
        items = [(path, path.relative_to(self.dataset.root).as_posix()) for path in used]
        found = features_of_images(self.source, items, self.request.workers)
        waiting = iter(self.dataset.pairs)
        pair = next(waiting, None)
        needed = Counter(path for p in self.dataset.pairs for path in (p.first, p.second))
        held: dict[Path, StoredFeatures] = {}
        what = f"{self.source.label}: features, matches, scores"
        for (image, unit), split in progress(
            zip(found, used.values(), strict=True), what, len(items)
        ):
            unit = replace(unit, features=unit.features.top_k(self.top_k))
            held[image.path] = unit
            self.hashes[image.path] = image.sha256
            self.images.append(
                {
                    "split": split,
                    "features": len(unit.features),
                    "seconds": unit.cost.seconds,
                    "peak_memory_mb": unit.cost.peak_memory_mb,
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
        numbers = self.score(pair, first.features, second.features, matches, seed)
        return {
            **pair.columns,
            "split": pair.split,
            **numbers,
            "seconds_1": first.cost.seconds,
            "seconds_k": second.cost.seconds,
            "peak_memory_mb_1": first.cost.peak_memory_mb,
            "peak_memory_mb_k": second.cost.peak_memory_mb,
        }
