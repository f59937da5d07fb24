"""Benchmarks of image pairs whose protocols estimate a geometry, a paper's constants each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from d2eval.contracts.protocol import protocol_names
from d2eval.evaluation.pairs import PairsBenchmark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from d2eval.contracts.matcher import MatcherChoice
    from d2eval.evaluation.dataset import PairDataset
    from d2eval.evaluation.estimates import EstimateProtocol
    from d2eval.evaluation.pairs_published import PublishedRow
    from d2eval.evaluation.pairs_runs import PairsRun
    from d2eval.pipeline.resizing import Resize


class EstimatesBenchmark(PairsBenchmark):
    """What such a benchmark takes from its protocol. Its dataset counts whether pairs are its own.

    Attributes:
        numbers: the protocol that was chosen.
    """

    numbers: EstimateProtocol

    @property
    def top_k(self) -> int | None:
        """The option, or else the protocol's budget."""
        return super().top_k or self.numbers.keypoints

    @property
    def resize(self) -> Resize:
        """The protocol's."""
        return self.numbers.resize

    def matcher(self) -> MatcherChoice:
        """The protocol's."""
        return self.numbers.matcher

    def protocol(self) -> dict[str, Any]:
        """Its name, the hash of its numbers, and of one of the user's the file."""
        numbers = self.numbers
        is_own = numbers.protocol not in protocol_names()
        file = numbers.folder / f"{numbers.protocol}.toml"
        return {
            "version": self.version,
            "protocol": numbers.protocol,
            "protocol_sha256": numbers.sha256,
            **({"protocol_file": str(file.absolute())} if is_own else {}),
        }

    def overlaps(self, dataset: PairDataset) -> Sequence[str]:
        """The protocol's, unless pairs are the user's."""
        return () if dataset.counts["own_pairs"] else self.numbers.overlaps

    def published(self) -> Sequence[PublishedRow]:
        """Those of the benchmark's file in ``results/published``."""
        from d2eval.evaluation.pairs_published import published_rows

        return published_rows(self.name)

    def part(self, run: PairsRun) -> str:
        """The protocol, and whether pairs were the user's: others' rows don't compare."""
        from d2eval.runs.manifest import FILE, entry
        from d2eval.runs.rows import REMEDY, reading

        with reading(run.folder / FILE, REMEDY):
            protocol = entry(run.manifest, "protocol", str)
            own = entry(run.manifest["dataset"], "own_pairs", bool) and not run.is_sample
        return f"{protocol}{'-own_pairs' if own else ''}"
