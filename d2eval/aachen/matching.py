"""The first two stages: features of every image in the pair list, and matches of every pair."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.order import near_each_other
from d2eval.aachen.protocol import KeypointOrigin
from d2eval.contracts.features import Float32Array, Origin, seen_from
from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.planning import Keyed, plan_features
from d2eval.pipeline.recent_features import FeatureCache
from d2eval.pipeline.sending import FEATURES, made_before, means_the_same, send_features
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.plan import Planned

Pair = tuple[str, str]


@dataclass(frozen=True)
class ImageKeypoints:
    """What the stages after matching need of an image."""

    keypoints: Float32Array  # (N, 2) float32, pixels, origin at the centre of the top-left pixel
    key: str  # names the features that they are from
    sha256: str  # of the image file
    cost: Cost  # of the extraction; NaN if unknown
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

    @property
    @abstractmethod
    def is_known(self) -> bool:
        """Whether a worker that opens it gets the same keys."""

    @abstractmethod
    def send_features(self, dataset: Dataset, executor: Executor) -> None:
        """Lets workers, if there are any, extract features of the images; raises as they do."""

    @abstractmethod
    def plan_features(self, dataset: Dataset) -> tuple[Planned, dict[str, Keyed]]:
        """What of the images is stored, and the keys of all."""

    @abstractmethod
    def made_before(self) -> None:
        """What is stored of the images counts from now on: workers have just made it."""

    @abstractmethod
    def keypoints_of(
        self, names: Sequence[str], dataset: Dataset, workers: int
    ) -> Iterator[tuple[str, ImageKeypoints]]:
        """Keypoints of images, in their order, made or from the store.

        Raises:
            D2EvalError: a broken image, one whose size isn't that of its intrinsics, or features
                that break the contract.
        """

    @abstractmethod
    def pair_matcher(
        self, dataset: Dataset, keypoints: Mapping[str, ImageKeypoints], store: Store
    ) -> Callable[[Pair], Matches]:
        """Gives matches, through the store; what it read or made last it keeps in memory."""

    def keypoints(self, dataset: Dataset, workers: int) -> dict[str, ImageKeypoints]:
        """`keypoints_of` every image in the pair list and every query."""
        names = sorted(dataset.images)
        found = self.keypoints_of(names, dataset, workers)
        return dict(progress(found, f"{self.label}: features", len(names)))

    def matches(
        self, dataset: Dataset, keypoints: Mapping[str, ImageKeypoints], store: Store
    ) -> Iterator[tuple[Pair, Matches]]:
        """Every pair as in the list, and (M, 2) int32 indices into the keypoints of its images.

        Raises:
            D2EvalError: features or matches that break the contract; a broken image; the disk is
                full or the cache can't be written.
        """
        match = self.pair_matcher(dataset, keypoints, store)
        try:
            for pair in progress(near_each_other(dataset.pairs), "matching", len(dataset.pairs)):
                yield pair, match(pair)
        finally:
            store.flush()


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

    @property
    def is_known(self) -> bool:
        """By files or registered names."""
        return means_the_same(self.source, self.matcher)

    def send_features(self, dataset: Dataset, executor: Executor) -> None:
        """Of the method."""
        send_features(self.source, sorted(dataset.images), executor)

    def plan_features(self, dataset: Dataset) -> tuple[Planned, dict[str, Keyed]]:
        """Of the method."""
        files = {name: dataset.images_folder / name for name in sorted(dataset.images)}
        return plan_features(FEATURES, self.source, files)

    def made_before(self) -> None:
        """The features."""
        made_before(self.source)

    def keypoints_of(
        self, names: Sequence[str], dataset: Dataset, workers: int
    ) -> Iterator[tuple[str, ImageKeypoints]]:
        """Of the features."""
        items = [(dataset.images_folder / name, name) for name in names]
        found = features_of_images(self.source, items, workers)
        for name, (image, unit) in zip(names, found, strict=True):
            check_size(image.path, unit.features.image_size, dataset.cameras[name])
            yield name, ImageKeypoints(
                unit.features.keypoints, unit.key, image.sha256,
                unit.cost, unit.features.descriptors.nbytes, unit.features.origin,
            )  # fmt: skip

    def pair_matcher(
        self, dataset: Dataset, keypoints: Mapping[str, ImageKeypoints], store: Store
    ) -> Callable[[Pair], Matches]:
        """By the matcher."""
        cache, content = FeatureCache(self.source, dataset.images_folder.joinpath), self.content()

        def match(pair: Pair) -> Matches:
            first, other = pair
            path = store.matches_path(keypoints[first].key, keypoints[other].key, content)
            found = store.read_matches(path)
            if found is None:
                found = match_features(cache.get(first), cache.get(other), store, self.matcher)
            return np.ascontiguousarray(found)

        return match


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
