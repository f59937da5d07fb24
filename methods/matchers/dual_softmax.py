"""Dual softmax: matches by their probability among all of both images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from d2eval.contracts.features import Features
from d2eval.contracts.matcher import Matcher
from d2eval.contracts.matching import Matches, mutual_pairs
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.arrays.nearest import Block, nearest_in_blocks, similarity_blocks
from d2eval.foundation.errors import D2EvalError


@dataclass(frozen=True)
class DualSoftmaxConfig:
    """DeDoDe's values for L2-normalised descriptors (inverse temperature 20, threshold 0.01)."""

    temperature: float = option(0.05, "dot products are divided by it before the softmax")
    threshold: float = option(0.01, "a match's probability is above it")

    def __post_init__(self) -> None:
        if not 1e-4 <= self.temperature < float("inf"):
            raise D2EvalError("temperature must be 0.0001 or more")
        if not 0 <= self.threshold < 1:
            raise D2EvalError("threshold must be 0 or more, and below 1")


class DualSoftmax(Matcher):
    """Pairs that are each other's most probable, by a softmax over rows times one over columns.

    Source: LoFTR, utils/coarse_matching.py (whose features aren't normalised, hence its other
    temperature and threshold), and DeDoDe, matchers/dual_softmax_matcher.py. Of equal ones, which
    both keep, the lowest index counts. The matrix is made twice, block by block, and never held.

    The temperature must fit the descriptors: among thousands of RootSIFT's, whose dot products are
    all positive, no pair is probable at DeDoDe's.
    """

    description = "mutual nearest neighbours by dual softmax"
    license = "BSD-3-Clause"
    papers = ("rocco2018ncnet",)
    Config = DualSoftmaxConfig
    weights = NONE_NEEDED

    def match(self, first: Features, second: Features) -> Matches:
        """Pairs by rising first index."""
        device, n1, n2 = self.runtime.device, len(first), len(second)
        sums_1, sums_2 = (torch.full((n,), -torch.inf, device=device) for n in (n1, n2))
        for rows, columns, logits in self._logits(first, second):
            sums_1[rows] = sums_1[rows].logaddexp(logits.logsumexp(dim=1))
            sums_2[columns] = sums_2[columns].logaddexp(logits.logsumexp(dim=0))
        probabilities = (
            (rows, columns, (logits - sums_1[rows, None]) + (logits - sums_2[columns]))
            for rows, columns, logits in self._logits(first, second)
        )
        there, back = nearest_in_blocks(probabilities, n1, n2, device)
        pairs = mutual_pairs(there, back)
        return pairs[np.exp(there.score[pairs[:, 0]]) > self.config.threshold]

    def _logits(self, first: Features, second: Features) -> Iterator[Block]:
        blocks = similarity_blocks(first.descriptors, second.descriptors, self.runtime.device)
        for rows, columns, similarity in blocks:
            yield rows, columns, similarity / self.config.temperature
