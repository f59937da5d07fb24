"""Matches of an image pair, through the store."""

from typing import Any

from d2eval.matching import VERSION, Matches, mutual_nearest_neighbors
from d2eval.store import Store, StoredFeatures


def matcher_settings(matcher: dict[str, Any], top_k: int | None = None) -> dict[str, Any]:
    """What decides the matches of two sets of features, part of the key of stored ones."""
    return {**matcher, "version": VERSION, "top_k": top_k}


def match_features(
    first: StoredFeatures, other: StoredFeatures, store: Store, matcher: dict[str, Any], device: str
) -> Matches:
    """Stored matches, or else mutual nearest neighbours, which are then stored.

    Args:
        first: features of one image.
        other: features of the other.
        store: keeps the matches.
        matcher: from `matcher_settings`.
        device: where descriptors are compared.

    Raises:
        D2EvalError: the disk is full or the cache can't be written.
    """
    path = store.matches_path(first.key, other.key, matcher)
    stored = store.read_matches(path)
    if stored is not None:
        return stored
    matches = mutual_nearest_neighbors(
        first.features.descriptors, other.features.descriptors, device
    )
    store.write_matches(path, matches)
    return matches
