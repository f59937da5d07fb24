"""The first two stages: features of every image in the pair list, and matches of every pair."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.protocol import KeypointOrigin
from d2eval.contracts.features import Float32Array, Origin, seen_from
from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.recent_features import FeatureCache
from d2eval.pipeline.store import Store

Pair = tuple[str, str]


@dataclass(frozen=True)
class ImageKeypoints:
    """What the stages after matching need of an image."""

    keypoints: Float32Array  # (N, 2) float32, pixels, origin at the centre of the top-left pixel
    key: str  # names the features that they are from
    sha256: str  # of the image file
    seconds: float  # the extraction took; NaN if unknown
    peak_memory_mib: float  # of the extraction; NaN if unknown
    descriptor_bytes: int  # of the image's descriptors, or maps
    origin: Origin = "center"  # where the method's own files count from

    def seen_by_colmap(self, origin: KeypointOrigin) -> Float32Array:
        """(N, 2) keypoints as the protocol gives them to COLMAP."""
        return seen_from(self.keypoints, self.origin if origin == "own" else origin)


class Matching(ABC):
    """What stands before verification: keypoints of all images, and matches of all pairs."""

    @property
    @abstractmethod
    def label(self) -> str:
        """How rows call it."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The name of its row's method."""

    @property
    @abstractmethod
    def extracted(self) -> int:
        """Images that this process extracted, rather than read."""

    @abstractmethod
    def headlines(self) -> list[str]:
        """Lines that say what it is made with."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides the features and what matches them, for the manifest."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What decides the matches of two images, beside their features."""

    @abstractmethod
    def keypoints(self, dataset: Dataset, workers: int) -> dict[str, ImageKeypoints]:
        """Keypoints of every image in the pair list and every query, made or from the store."""

    @abstractmethod
    def matches(
        self, dataset: Dataset, keypoints: dict[str, ImageKeypoints], store: Store
    ) -> Iterator[tuple[Pair, Matches]]:
        """Every pair as in the list, and (M, 2) int32 indices into the keypoints of its images."""


@dataclass(frozen=True)
class FeatureMatching(Matching):
    """Local features, matched by their descriptors."""

    source: FeatureSource
    matcher: PairMatcher

    @property
    def label(self) -> str:
        """The features'."""
        return self.source.label

    @property
    def method(self) -> str:
        """The features'."""
        return str(self.source.describe()["method"])

    @property
    def extracted(self) -> int:
        """By the method."""
        return self.source.extracted

    def headlines(self) -> list[str]:
        """Of the method, and of a matcher that isn't the protocol's."""
        return [self.source.headline(), *self.matcher.headlines()]

    def describe(self) -> dict[str, Any]:
        """The identities of method and matcher."""
        return {"features": self.source.describe(), "matcher": self.matcher.describe()}

    def content(self) -> dict[str, Any]:
        """The matcher."""
        return self.matcher.content()

    def keypoints(self, dataset: Dataset, workers: int) -> dict[str, ImageKeypoints]:
        """As `collect_keypoints`."""
        return collect_keypoints(self.source, dataset, workers)

    def matches(
        self, dataset: Dataset, keypoints: dict[str, ImageKeypoints], store: Store
    ) -> Iterator[tuple[Pair, Matches]]:
        """As `match_pairs`."""
        return match_pairs(self.source, dataset, keypoints, store, self.matcher)


def check_size(path: Path, size: tuple[int, int], camera: pycolmap.Camera) -> None:
    """Sees to it that the image at ``path`` has the ``size`` of its intrinsics.

    Raises:
        D2EvalError: it hasn't.
    """
    if size != (camera.width, camera.height):
        raise D2EvalError(
            f"{path}: is {size[0]}x{size[1]}, but its intrinsics are for "
            f"{camera.width}x{camera.height}; use the original image or mend the intrinsics"
        )


def collect_keypoints(
    source: FeatureSource, dataset: Dataset, workers: int
) -> dict[str, ImageKeypoints]:
    """Features of every image in the pair list and every query, extracted or from the store.

    Raises:
        D2EvalError: a broken image, one whose size isn't that of its intrinsics, or features that
            break the contract.
    """
    names = sorted(dataset.images)
    items = [(dataset.images_folder / name, name) for name in names]
    found = features_of_images(source, items, workers)
    collected = {}
    what = f"{source.label}: features"
    for name, (image, unit) in progress(zip(names, found, strict=True), what, len(names)):
        check_size(image.path, unit.features.image_size, dataset.cameras[name])
        collected[name] = ImageKeypoints(
            unit.features.keypoints, unit.key, image.sha256,
            unit.cost.seconds, unit.cost.peak_memory_mib, unit.features.descriptors.nbytes,
            unit.features.origin,
        )  # fmt: skip
    return collected


def match_pairs(
    source: FeatureSource,
    dataset: Dataset,
    keypoints: dict[str, ImageKeypoints],
    store: Store,
    matcher: PairMatcher,
) -> Iterator[tuple[Pair, Matches]]:
    """Matches of every pair, through the store.

    The pairs come in an order in which features are seldom read twice, though few are held.

    Yields:
        The pair as in the list, and (M, 2) int32 indices into the keypoints of its images.

    Raises:
        D2EvalError: as `FeatureSource.read` and `match_features`.
    """
    cache = FeatureCache(source, dataset.images_folder.joinpath)
    for pair in progress(sorted(dataset.pairs), "matching", len(dataset.pairs)):
        first, other = pair
        keys = keypoints[first].key, keypoints[other].key
        path = store.matches_path(*keys, matcher.content())
        matches = store.read_matches(path)
        if matches is None:
            matches = match_features(cache.get(first), cache.get(other), store, matcher)
        yield pair, np.ascontiguousarray(matches)
