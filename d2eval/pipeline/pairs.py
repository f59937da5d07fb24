"""Matches of an image pair, through the store."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from d2eval.contracts.identity import Identity
from d2eval.contracts.matcher import (
    InvalidMatchesError,
    Matcher,
    MatcherChoice,
    matcher_class,
    matches_of,
)
from d2eval.contracts.matching import VERSION, Matches
from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note
from d2eval.pipeline.store import Store, StoredFeatures


@dataclass(frozen=True)
class PairMatcher:
    """A matcher whose matches are kept in a store."""

    matcher: Matcher  # gives them
    identity: Identity  # what decides them, beside the features
    is_default: bool  # whether it is the protocol's own

    def content(self, top_k: int | None = None) -> dict[str, Any]:
        """What decides the matches of two sets of features, part of the key of stored ones.

        Of each image ``top_k`` features were kept; None: all.
        """
        return matches_content(self.identity, top_k)

    def describe(self) -> dict[str, Any]:
        """The matcher's identity, for the manifest, and whether it is the protocol's own."""
        described = asdict(self.identity)
        return {"name": described.pop("method"), **described, "default": self.is_default}

    def headlines(self) -> list[str]:
        """A line that says what matches, where that isn't the protocol's own."""
        described = ", ".join(f"{k} {v}" for k, v in self.identity.config.items())
        line = f"matcher {self.identity.method}" + (f": {described}" if described else "")
        return [] if self.is_default else [line]


def matches_content(matcher: Identity, top_k: int | None) -> dict[str, Any]:
    """See `PairMatcher.content`."""
    return {"matcher": matcher.key, "version": VERSION, "top_k": top_k}


def open_matcher(
    chosen: MatcherChoice | None, default: MatcherChoice, runtime: Runtime, method: str = ""
) -> PairMatcher:
    """Builds a matcher.

    None as ``chosen`` takes the protocol's ``default``; ``method`` names whose features it will
    match.

    Raises:
        D2EvalError: an unknown matcher or option, or weights that are missing or don't fit.
    """
    choice = chosen or default
    config = choice.config()
    matcher = matcher_class(choice.name)(config, replace(runtime, method=method))
    identity = matcher.identity(choice.name, config)
    if not identity.source.known:
        note(f"{choice.name}: {identity.source.origin}, so no later run will use its matches again")
    return PairMatcher(matcher, identity, choice.same_as(default))


def match_features(
    first: StoredFeatures,
    other: StoredFeatures,
    store: Store,
    matcher: PairMatcher,
    top_k: int | None = None,
) -> Matches:
    """Stored matches, or else the matcher's, which are then stored.

    Of each image ``top_k`` features were kept; None: all.

    Raises:
        D2EvalError: the matcher breaks its contract; the disk is full or the cache can't be
            written.
    """
    path = store.matches_path(first.key, other.key, matcher.content(top_k))
    stored = store.read_matches(path)
    if stored is not None:
        return stored
    begin = time.perf_counter()
    try:
        matches = matches_of(matcher.matcher, first.features, other.features)
    except InvalidMatchesError as error:
        raise D2EvalError(
            f"matcher {matcher.identity.method} broke its contract: {error}"
        ) from error
    store.write_matches(path, matches, time.perf_counter() - begin)
    return matches
