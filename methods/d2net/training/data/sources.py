"""Training data by name: "KIND:PATH" to pairs for training and for validation."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from methods.d2net.training.data.homographies import HomographyPairs, photos_in, split_photos
from methods.d2net.training.data.megadepth import (
    MegaDepthPairs,
    load_pair_protocol,
    photo_of_each_scene,
)
from methods.d2net.training.data.pairs import PairSource, TrainingPair
from methods.d2net.training.data.posed import PosedPairs, photos_of_held_out_scenes
from methods.d2net.training.data.views import Views

KINDS = ("homographies", "posed", "megadepth")


class MixedPairs(PairSource):
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[PairSource]) -> None:
        """Takes the sources."""
        self._sources = sources
        self._ends = list(accumulate(len(source) for source in sources))

    def __len__(self) -> int:
        """Pairs of all sources."""
        return self._ends[-1]

    def describe(self) -> dict[str, Any]:
        """What each source says, by its place."""
        return {str(place): source.describe() for place, source in enumerate(self._sources)}

    def draw(self, index: int, rng: np.random.Generator) -> TrainingPair | None:
        """Pair ``index`` of the source that holds it."""
        position = bisect_right(self._ends, index)
        start = self._ends[position - 1] if position else 0
        return self._sources[position].draw(index - start, rng)


def parse(text: str) -> tuple[str, Path]:
    """Takes "KIND:PATH" apart.

    Raises:
        D2EvalError: no such kind.
    """
    kind, _, path = text.partition(":")
    if kind not in KINDS or not path:
        raise D2EvalError(f"--data {text}: is not KIND:PATH with KIND one of {', '.join(KINDS)}")
    return kind, expanded(path)


def open_source(text: str, held_out: bool, views: Views | None = None) -> PairSource:
    """The pairs of ``text`` for training, or those held out for validation.

    Args:
        text: "KIND:PATH".
        held_out: those for validation.
        views: of homographies; None: the defaults.

    Raises:
        D2EvalError: the data are missing or broken.
    """
    kind, path = parse(text)
    if kind == "posed":
        return PosedPairs(path, held_out)
    if kind == "megadepth":
        return MegaDepthPairs(path, load_pair_protocol(held_out))
    return HomographyPairs(split_photos(photos_in(path), held_out), views)


def held_out_photos(data: Sequence[str]) -> list[Path]:
    """Photos for validation's MMA: of the first data that hold some out."""
    for text in data:
        kind, path = parse(text)
        if kind == "homographies":
            photos = split_photos(photos_in(path), True)
        elif kind == "posed":
            photos = photos_of_held_out_scenes(path)
        else:
            photos = photo_of_each_scene(path, load_pair_protocol(True))
        if photos:
            return photos
    return []
