"""The strategies: how a query's candidates are found, and what such rows are called.

A new one is a class here and its entry in `STRATEGIES`. The command line and the reports read
names alone, so what computes is imported where it does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from d2eval.evaluation.benchmark import Request
    from d2eval.inloc.data.candidates import Candidate
    from d2eval.inloc.poses.estimators import Estimator, Task
    from d2eval.inloc.poses.sparse import Query
    from d2eval.inloc.protocol import InlocBenchmark
    from d2eval.pipeline.maps import DenseChoice

    Finder = Callable[[Query, InlocBenchmark, int], list[Candidate]]


class Needed(NamedTuple):
    """The least counts of a candidate with a pose; ``verified`` is None where nothing verifies."""

    matches: int
    verified: int | None
    inliers: int


class Strategy(ABC):
    """A way to a query's candidates."""

    name: ClassVar[str]  # for ``--strategy``, manifests and the keys of stored candidates
    label: ClassVar[str]  # of its runs; {} is the method
    title: ClassVar[str]  # of its rows, in the paper's manner; {} is the method
    # of its curves, where views don't verify the poses and where they do
    lines: ClassVar[tuple[str, str]] = ("-", "--")
    tables: ClassVar[tuple[str, ...]]  # of the benchmark file that it reads
    takes_features: ClassVar[bool] = True  # whether it needs local features
    takes_maps: ClassVar[bool] = False  # whether it needs dense maps
    always_verified: ClassVar[bool] = False  # whether views verify its poses even where nobody asks

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """Whose candidates it unites; the last one's method names its rows."""

    def named(self, name: str, suffix: str, verified: bool) -> str:
        """A name, with a suffix where its poses were verified because somebody asked."""
        return name + suffix if verified and not self.always_verified else name

    @abstractmethod
    def needed(self, benchmark: InlocBenchmark) -> Needed:
        """What a candidate must have to get a pose."""

    def without_candidate(self, benchmark: InlocBenchmark) -> str | None:
        """Why a query may have no candidate although cutouts were retrieved."""
        return None

    def unite(self, found: Sequence[list[Candidate]]) -> list[Candidate]:
        """A query's candidates, best first, from those of its `parts`."""
        return found[0]


class Part(Strategy):
    """A way of its own.

    Attributes:
        verifies: whether homographies verify matches, whose number ranks all retrieved cutouts;
            else those that are retrieved best get a pose.
    """

    verifies: ClassVar[bool] = False

    @property
    def parts(self) -> Sequence[Part]:
        """Itself."""
        return (self,)

    def needed(self, benchmark: InlocBenchmark) -> Needed:
        """What P3P takes; a homography has more inliers than ``min_inliers``."""
        from d2eval.inloc.poses.p3p import SAMPLE

        if not self.verifies:
            return Needed(SAMPLE, None, SAMPLE)
        enough = benchmark.strategy(self.name)["min_inliers"] + 1
        return Needed(enough, enough, SAMPLE)

    @abstractmethod
    def open(self, request: Request, dense: DenseChoice, task: Task) -> Estimator:
        """What finds its candidates, from the method or the network that was chosen.

        Raises:
            D2EvalError: an unknown method, matcher, network or option; weights that are missing
                or don't fit.
        """


class FeaturePart(Part):
    """A way from the matches of local features."""

    def open(self, request: Request, dense: DenseChoice, task: Task) -> Estimator:
        """From the method and the matcher."""
        from d2eval.inloc.poses.estimators import FeatureEstimator
        from d2eval.pipeline.pairs import open_matcher

        method, usual = request.method, task.benchmark.matcher
        assert method is not None  # noqa: S101 - the benchmark looked
        matcher = open_matcher(request.matcher, usual, task.runtime, method.name)
        return FeatureEstimator(self, task, method.open(task.runtime), matcher)

    @abstractmethod
    def finder(self) -> Finder:
        """What gives the candidates of a query, best first, by the protocol and a seed."""


class Sparse(FeaturePart):
    """Sparse PE: matches verified by homographies."""

    name, label, title = "sparse", "{}_sparse", "Sparse PE - {}"
    tables, verifies = ("sparse", "p3p"), True

    def finder(self) -> Finder:
        """From each of the best cutouts."""
        from d2eval.inloc.poses.sparse import sparse_candidates

        return sparse_candidates


class Direct(FeaturePart):
    """Direct PE: matches as they are."""

    name, label, title = "direct", "{}_direct", "Direct PE - {}"
    lines, tables = (":", "-."), ("direct", "p3p")

    def finder(self) -> Finder:
        """From each of the best cutouts."""
        from d2eval.inloc.poses.sparse import direct_candidates

        return direct_candidates


class Pooled(FeaturePart):
    """The hloc toolbox's: one pose from the matches of all cutouts together."""

    name, label, title, tables = "pooled", "{}_pooled", "{}", ("pooled",)

    def needed(self, benchmark: InlocBenchmark) -> Needed:
        """The protocol's least inliers."""
        least = benchmark.strategy("pooled")["min_inliers"]
        return Needed(least, None, least)

    def without_candidate(self, benchmark: InlocBenchmark) -> str | None:
        """No cutout has enough matches."""
        return f"too few matches: no cutout has {benchmark.strategy('pooled')['min_matches']}"

    def finder(self) -> Finder:
        """From all cutouts."""
        from d2eval.inloc.poses.pooled import pooled_candidates

        return pooled_candidates


class Dense(Part):
    """Dense PE: dense maps matched coarse to fine, verified by homographies."""

    name, label, title = "dense", "dense", "Dense PE - {}"
    tables, verifies = ("dense", "p3p"), True
    takes_features, takes_maps = False, True

    def open(self, request: Request, dense: DenseChoice, task: Task) -> Estimator:
        """From the network."""
        from d2eval.inloc.poses.maps_estimator import DenseEstimator

        return DenseEstimator(self, task, *dense.open(task.runtime))


class Merge(Strategy):
    """InLoc + features: the union of dense and sparse candidates that views verified."""

    name, label, title = "merge", "inloc_{}", "InLoc + {}"
    lines, tables = ("-.", "-."), ("sparse", "dense", "p3p")
    takes_maps = always_verified = True
    parts = (Dense(), Sparse())

    def needed(self, benchmark: InlocBenchmark) -> Needed:
        """What P3P takes: the candidate may be of either kind."""
        from d2eval.inloc.poses.p3p import SAMPLE

        return Needed(SAMPLE, SAMPLE, SAMPLE)

    def unite(self, found: Sequence[list[Candidate]]) -> list[Candidate]:
        """As `d2eval.inloc.choice.merge`."""
        from d2eval.inloc.choice import merge

        return merge(*found)


STRATEGIES: dict[str, Strategy] = {
    own.name: own for own in (Sparse(), Direct(), Pooled(), Dense(), Merge())
}
