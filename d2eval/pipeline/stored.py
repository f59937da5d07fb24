"""Features and matches that a run left in the store, found by its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2eval.contracts.identity import Identity
from d2eval.contracts.matching import Matches
from d2eval.contracts.source import Source
from d2eval.contracts.weights import WeightsInfo
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import load_image_file
from d2eval.pipeline.image_pairs import Points, stored_points
from d2eval.pipeline.pairs import matches_content
from d2eval.pipeline.precomputed import PrecomputedConfig, PrecomputedFeatures
from d2eval.pipeline.store import Store, StoredFeatures


def identity_of(described: Mapping[str, Any], name: str = "method") -> Identity:
    """The identity that a manifest describes.

    Raises:
        ValueError: it describes none.
    """
    try:
        source = described["source"]
        return Identity(
            described[name],
            described["version"],
            described["config"],
            WeightsInfo(**described["weights"]),
            Source(source["origin"], source["sha256"], tuple(source["files"])),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"says too little of its {name} ({error!r})") from error


class StoredWork:
    """What is stored of a run; nothing is extracted or matched.

    Features from files of the user's are read from these.
    """

    def __init__(
        self, features: Mapping[str, Any], matcher: Mapping[str, Any], cache: Path, remedy: str
    ) -> None:
        """Takes what a manifest says of features and matcher.

        ``remedy`` says how to make what is lacking.

        Raises:
            ValueError: it says too little.
        """
        self._store, self._remedy = Store(cache), remedy
        self._files = None
        if features.get("method") == "precomputed":
            config = PrecomputedConfig(**features["config"])
            self._files = PrecomputedFeatures(Path(features["folder"]), config)
        else:
            self._identity = identity_of(features)
        self.matches_images = bool(features.get("matches_images"))
        if not self.matches_images:
            self._matcher = identity_of(matcher, "name")

    def points(self, first: Path, second: Path, top_k: int | None) -> Points:
        """What a matcher of images found in two, match by match, the best ``top_k``.

        Raises:
            D2EvalError: it isn't there.
        """
        files = load_image_file(first), load_image_file(second)
        found = stored_points(self._store, self._identity, *files)
        if found is None:
            raise self._lacking(f"matches of {first} and {second}")
        return found[0].best(top_k), found[1].best(top_k)

    def features(self, path: Path, name: str, top_k: int | None) -> StoredFeatures:
        """Features of the image called ``name`` in its dataset, the best ``top_k`` of them.

        Raises:
            D2EvalError: they aren't there.
        """
        image = load_image_file(path)
        if self._files is not None:
            return self._files.read(image, name).best(top_k)
        stored = self._store.read_features(self._identity, image.sha256)
        if stored is None:
            raise self._lacking(f"features of {path}")
        return stored.best(top_k)

    def matches(self, first: StoredFeatures, other: StoredFeatures, top_k: int | None) -> Matches:
        """Matches of two images' features.

        Raises:
            D2EvalError: they aren't there.
        """
        content = matches_content(self._matcher, top_k)
        found = self._store.read_matches(self._store.matches_path(first.key, other.key, content))
        if found is None:
            raise self._lacking("these matches")
        return found

    def _lacking(self, what: str) -> D2EvalError:
        return D2EvalError(f"{what} aren't in {self._store.root}; {self._remedy}")
