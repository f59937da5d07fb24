"""Mutual nearest neighbours, with or without a threshold on their distance."""

from dataclasses import dataclass

from d2eval.contracts.features import Features
from d2eval.contracts.matcher import Matcher
from d2eval.contracts.matching import Matches, mutual_pairs, squared_distances
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.arrays.nearest import nearest_neighbors
from d2eval.foundation.errors import D2EvalError

ANY = 2.0  # two L2-normalised descriptors lie no further apart


@dataclass(frozen=True)
class MutualNearestConfig:
    """Without a threshold, as the D2-Net paper matches."""

    max_distance: float = option(
        ANY,
        "descriptors of a match lie no further apart: Euclidean distance d, where the dot product "
        "is 1 - d * d / 2; 2: any",
    )

    def __post_init__(self) -> None:
        if not 0 < self.max_distance <= ANY:
            raise D2EvalError("max-distance must be above 0 and at most 2")


class MutualNearest(Matcher):
    """Pairs that are each other's nearest neighbour; of equal ones the lowest index counts.

    Source: D2-Net's HPatches notebook (similarity matrix, argmax both ways); the threshold is
    hloc's ``distance_threshold`` (matchers/nearest_neighbor.py), inclusive.
    """

    description = "mutual nearest neighbours"
    license = "BSD-3-Clause"
    papers = ()
    Config = MutualNearestConfig
    weights = NONE_NEEDED

    def match(self, first: Features, second: Features) -> Matches:
        """Pairs by rising first index."""
        there, back = nearest_neighbors(first.descriptors, second.descriptors, self.runtime.device)
        pairs = mutual_pairs(there, back)
        if self.config.max_distance == ANY:
            return pairs
        squared = squared_distances(there.score[pairs[:, 0]])
        return pairs[squared <= self.config.max_distance**2]
