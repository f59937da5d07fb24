"""The first two stages: features of every image in the pair list, and matches of every pair."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

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
    peak_memory_mb: float  # of the extraction; NaN if unknown
    origin: Origin = "center"  # where the method's own files count from

    def seen_by_colmap(self, origin: KeypointOrigin) -> Float32Array:
        """(N, 2) keypoints as the protocol gives them to COLMAP."""
        return seen_from(self.keypoints, self.origin if origin == "own" else origin)


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
        camera = dataset.cameras[name]
        size = unit.features.image_size
        if size != (camera.width, camera.height):
            raise D2EvalError(
                f"{image.path}: is {size[0]}x{size[1]}, but its intrinsics are for "
                f"{camera.width}x{camera.height}; use the original image or mend the intrinsics"
            )
        collected[name] = ImageKeypoints(
            unit.features.keypoints, unit.key, image.sha256,
            unit.cost.seconds, unit.cost.peak_memory_mb, unit.features.origin,
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
