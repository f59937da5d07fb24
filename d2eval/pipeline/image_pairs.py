"""Points that a matcher of images finds in pairs of them, through the store."""

import hashlib

from d2eval.contracts.features import InvalidFeaturesError
from d2eval.contracts.identity import Identity
from d2eval.contracts.image_matcher import ImageMatcher, points_of_images
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import ImageFile
from d2eval.foundation.machine.resources import measure
from d2eval.pipeline.extraction import MethodSource
from d2eval.pipeline.store import Store, StoredFeatures

Points = tuple[StoredFeatures, StoredFeatures]


def stored_points(
    store: Store, identity: Identity, first: ImageFile, second: ImageFile
) -> Points | None:
    """The stored points of both images, match by match; None where one is missing or damaged."""
    found = [store.read_features(identity, key) for key in pair_keys(first.sha256, second.sha256)]
    one, other = found
    return None if one is None or other is None else (one, other)


def matched_points(source: MethodSource, first: ImageFile, second: ImageFile) -> Points:
    """Stored points of both images, or else the matcher's, which are then stored.

    Raises:
        D2EvalError: a broken image, or a matcher that breaks its contract; the disk is full or the
            cache can't be written.
    """
    stored = stored_points(source.store, source.identity, first, second)
    if stored is not None:
        return stored
    matcher = source.method
    assert isinstance(matcher, ImageMatcher)  # noqa: S101 - what such a source is made of
    images = first.decode(), second.decode()
    with measure(source.device) as cost:
        try:
            found = points_of_images(matcher, *images)
        except InvalidFeaturesError as error:
            raise D2EvalError(
                f"{first.path}, {second.path}: {source.label} gave bad points: {error}"
            ) from error
    source.extracted += 1
    one, other = (
        source.store.write_features(source.identity, key, points, cost)
        for key, points in zip(pair_keys(first.sha256, second.sha256), found, strict=True)
    )
    return one, other


def pair_keys(first: str, second: str) -> list[str]:
    """Of both images' points, by the hashes of both and their order."""
    pair = f"{first} {second}"
    return [hashlib.sha256(f"{pair} {side}".encode()).hexdigest() for side in ("first", "second")]
