"""Lowe's ratio test: the nearest neighbour must be much nearer than the second nearest."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import Features
from d2eval.contracts.matcher import Matcher
from d2eval.contracts.matching import Matches, mutual_pairs, squared_distances
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.arrays.nearest import Nearest, nearest_neighbors
from d2eval.foundation.errors import D2EvalError


@dataclass(frozen=True)
class RatioConfig:
    """Lowe's own threshold, IJCV 2004."""

    ratio: float = option(
        0.8, "most distance of the nearest descriptor, as a share of the second nearest's"
    )

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise D2EvalError("ratio must be above 0 and at most 1")


class Ratio(Matcher):
    """The nearest neighbour of each feature of the first image, if it passes the ratio test.

    Source: hloc, matchers/nearest_neighbor.py without its mutual check: Euclidean distances,
    inclusive, and no test where one of the images has a single feature. Two neighbours at distance
    0 don't pass, as in kornia (match_snn) and COLMAP, which compares angles instead. A feature of
    the second image may be in several matches.
    """

    description = "nearest neighbours by Lowe's ratio test, one way"
    license = "BSD-3-Clause"
    papers = ("lowe2004sift",)
    Config = RatioConfig
    weights = NONE_NEEDED

    def match(self, first: Features, second: Features) -> Matches:
        """Pairs by rising first index."""
        there, _, passed = self._nearest(first, second)
        ids = np.arange(len(first), dtype=np.int32)
        return np.stack([ids, there.index], axis=1)[passed[0]]

    def _nearest(
        self, first: Features, second: Features
    ) -> tuple[Nearest, Nearest, list[npt.NDArray[np.bool_]]]:
        """Nearest neighbours of both sides, and which of each pass the test."""
        sides = nearest_neighbors(
            first.descriptors, second.descriptors, self.runtime.device, with_second=True
        )
        if min(len(first), len(second)) == 1:
            return *sides, [np.ones(len(side.index), np.bool_) for side in sides]
        return *sides, [self._passed(side) for side in sides]

    def _passed(self, side: Nearest) -> npt.NDArray[np.bool_]:
        nearest, second = squared_distances(side.score), squared_distances(side.second)
        return np.asarray((nearest <= self.config.ratio**2 * second) & (second > 0))


class MutualRatio(Ratio):
    """Mutual nearest neighbours that pass the ratio test from both sides, as in hloc."""

    description = "mutual nearest neighbours by Lowe's ratio test, both ways"
    license = "BSD-3-Clause"
    papers = ("lowe2004sift",)

    def match(self, first: Features, second: Features) -> Matches:
        """Pairs by rising first index."""
        there, back, passed = self._nearest(first, second)
        pairs = mutual_pairs(there, back)
        return pairs[passed[0][pairs[:, 0]] & passed[1][pairs[:, 1]]]
