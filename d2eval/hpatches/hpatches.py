"""HPatches as a benchmark of image pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.contracts.options import option
from d2eval.evaluation.benchmark import Checked
from d2eval.evaluation.dataset import PairDataset
from d2eval.evaluation.pairs import PairsBenchmark
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    import pandas as pd

    from d2eval.contracts.features import Features
    from d2eval.contracts.matcher import MatcherChoice
    from d2eval.contracts.matching import Matches
    from d2eval.evaluation.dataset import ImagePair
    from d2eval.evaluation.pairing import Pairing
    from d2eval.evaluation.pairs_runs import PairsRun
    from d2eval.hpatches.dataset import HPatchesPairs
    from d2eval.hpatches.report.published import PaperRow
    from d2eval.hpatches.report.shared import Shared
    from d2eval.metrics.homography import FloatArray
    from d2eval.report.figures import Choice
    from d2eval.report.tables import Table
    from d2eval.runs.folder import Row
    from d2eval.runs.items import Key
    from d2eval.runs.measured import RunRoots


@dataclass(frozen=True)
class HPatchesOptions:
    """What is chosen beside the method.

    Raises:
        D2EvalError: a number is out of range.
    """

    sequences: str = option(
        "*", "only these, e.g. 'v_*' or 'i_leuven,v_bird'", keyed=False, metavar="PATTERN"
    )
    top_k: int | None = option(
        None, "keep the K features of highest score of each image", metavar="K"
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise D2EvalError("--top-k must be 1 or more")


class HPatches(PairsBenchmark):
    """Evaluates a method on HPatches sequences as the D2-Net paper did.

    Without --data it runs on a small embedded sample, whose numbers compare with nothing published.
    Writes pairs.csv, summary.csv, manifest.json, a table and a plot under OUTPUT/hpatches/RUN/.
    """

    name = "hpatches"
    papers = ("dusmanu2019d2net", "balntas2017hpatches")
    Options = HPatchesOptions
    examples = """examples:
  python -m d2eval hpatches --method d2_ms
  python -m d2eval hpatches --method d2_ss --data hpatches-sequences-release
  python -m d2eval hpatches --method d2_ss --weights official --data ... --top-k 2000 --name d2_2k
  python -m d2eval hpatches --method rootsift --num-features 4000 --data ... --sequences 'v_*'
  python -m d2eval hpatches --method rootsift --matcher mnn_ratio --matcher-ratio 0.9
  python -m d2eval hpatches --method precomputed:features/r2d2 --data ...
  python -m d2eval hpatches --method d2_ms --help      # with the method's own options
"""
    of_features = ("matching_score", "repeatability")
    shown: ClassVar[Mapping[str, str]] = {
        "split": "split", "pairs": "pairs", "mean_features": "features", "mean_matches": "matches",
        "mma_1px": "MMA@1px", "mma_3px": "MMA@3px", "mma_5px": "MMA@5px", "mma_10px": "MMA@10px",
    }  # fmt: skip

    def __init__(self, options: HPatchesOptions | None = None) -> None:
        from d2eval.hpatches.protocol import load_benchmark

        super().__init__(options)
        self.numbers = load_benchmark()

    def load(self, root: Path, *, sample: bool = False) -> HPatchesPairs:
        """The sequences below ``root``, each a folder of six images and five homographies."""
        from d2eval.hpatches.dataset import load_dataset, pairs_of_sequences

        found = load_dataset(root, self.numbers, self.options.sequences, sample=sample)
        return pairs_of_sequences(found)

    def check(self, root: Path) -> Checked:
        """Looks at every sequence and decodes its images."""
        from d2eval.hpatches.check import check

        return check(root, self.numbers, self.options.sequences)

    def sample(self, cache: Path) -> Path:
        """Rendered sequences of photographed surfaces."""
        from d2eval.sample.hpatches import make_hpatches_sample

        return make_hpatches_sample(cache)

    def matcher(self) -> MatcherChoice:
        """The protocol's."""
        return self.numbers.matcher

    def protocol(self) -> dict[str, Any]:
        """The hash of its numbers."""
        return {"protocol_sha256": self.numbers.sha256}

    def overlaps(self, dataset: PairDataset) -> Sequence[str]:
        """The protocol's."""
        return self.numbers.overlaps

    def about(self, dataset: PairDataset) -> dict[str, Any]:
        """The excluded sequences that were there."""
        from d2eval.hpatches.dataset import HPatchesPairs

        assert isinstance(dataset, HPatchesPairs)  # noqa: S101 - what `load` gives
        return {"excluded": list(dataset.found.excluded)}

    def option_words(self) -> list[str | None]:
        """The pattern of sequences."""
        from d2eval.foundation.text.labels import make_label

        pattern = self.options.sequences
        return [make_label(pattern) if pattern != "*" else None]

    def score(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches, seed: int
    ) -> Row:
        """Counts, MMA, matching score, repeatability, homography."""
        from d2eval.hpatches.evaluation import evaluate_pair

        return evaluate_pair(first, second, matches, pair.truth, self.numbers, seed)

    def errors(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches
    ) -> FloatArray:
        """Distances in the other image from where the homography takes a match's first point."""
        from d2eval.metrics.matching import match_errors

        points = first.keypoints[matches[:, 0]], second.keypoints[matches[:, 1]]
        return match_errors(*points, pair.truth)

    def item_name(self, key: Key) -> str:
        """Such as "v_bird/1-5": a sequence, and its first image with another."""
        return "{}/1-{}".format(*key)

    def summarize(self, rows: Sequence[Row], images: Sequence[Row]) -> list[Row]:
        """Overall, illumination and viewpoint."""
        from d2eval.hpatches.evaluation import summarize

        return summarize(rows, images, self.numbers)

    def subset_titles(self) -> dict[str, str]:
        """As the paper's figure calls them."""
        from d2eval.runs.published import presentation

        titles = dict(presentation(self.name)["figure"]["panels"])
        return titles | {f"shared_{k}": f"{v}, shared sequences" for k, v in titles.items()}

    def pairing(self) -> Pairing:
        """Sequences, and all numbers beyond counts of features."""
        from d2eval.hpatches.report.pairing import pairing

        return pairing(self.numbers)

    def paper_rows(self) -> Mapping[str, Sequence[str]]:
        """The D2-Net paper's."""
        from d2eval.runs.published import presentation

        rows = presentation(self.name)["rows"]
        return {row.get("label", row["legend"]): ["--method", row["method"]] for row in rows}

    def report(self, folder: Path | None) -> list[Path]:
        """The paper's table and curves with this run."""
        from d2eval.evaluation.pairs_runs import load_run
        from d2eval.hpatches.report.curves import plot_runs
        from d2eval.hpatches.report.published import score_columns, shown_thresholds
        from d2eval.hpatches.report.table import table_of_runs
        from d2eval.report.tables import write_table

        if folder is None:
            table_of_runs([])
            return []
        columns = score_columns(shown_thresholds())
        run = load_run(folder, self.name, columns, pairing=self.pairing())
        write_table(table_of_runs([run]), folder)
        return plot_runs([run], folder, published=not run.is_sample, sample_only=run.is_sample)

    def results(self, runs: RunRoots) -> pd.DataFrame:
        """The paper's numbers too, of all sequences and of those that a partial run shares."""
        from d2eval.hpatches.report.lines import arrange
        from d2eval.hpatches.report.published import load_paper, load_runs
        from d2eval.hpatches.report.shared import shared_counts
        from d2eval.runs.results import results_frame

        paper = load_paper()
        found, _ = load_runs(runs)
        shared = [
            shared_counts(line.paper, line.run)
            for line in arrange(paper, found)
            if line.paper and line.run and line.run.is_partial
        ]
        parts: list[PaperRow | PairsRun | Shared] = [*paper, *found, *shared]
        return results_frame(self.name, (record for part in parts for record in part.records()))

    def table(self, runs: RunRoots) -> Table:
        """The paper's table."""
        from d2eval.hpatches.report.table import hpatches_table

        return hpatches_table(runs)

    def figures(self, runs: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
        """The paper's curves."""
        from d2eval.hpatches.report.curves import plot_mma

        if choice.run:
            raise D2EvalError("--run goes with another benchmark's figure; leave it out")
        return plot_mma(runs, output, published=choice.published, sample_only=choice.sample_only)
