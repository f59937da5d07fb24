"""Homographies as papers measure them, as a benchmark of image pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from d2eval.contracts.options import option
from d2eval.evaluation.benchmark import Checked
from d2eval.evaluation.estimates_benchmark import EstimatesBenchmark
from d2eval.evaluation.pairs_shown import Curves
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    from d2eval.contracts.features import Features
    from d2eval.contracts.matching import Matches
    from d2eval.evaluation.dataset import ImagePair, PairDataset
    from d2eval.evaluation.pairing import Pairing
    from d2eval.hpatches.homographies.protocol import HomographyProtocol
    from d2eval.metrics.homography import FloatArray
    from d2eval.runs.folder import Row

OWN_PROTOCOL = "homography"


@dataclass(frozen=True)
class HomographyOptions:
    """What is chosen beside the method.

    Raises:
        D2EvalError: a number is out of range.
    """

    # not keyed: the manifest has its name and the hash of its numbers
    protocol: str = option(
        OWN_PROTOCOL,
        "hpatches_homography_ with whose constants, as in hpatches_homography_glue ('d2eval "
        "protocols' lists them), or the path of a .toml of yours",
        keyed=False,
        metavar="NAME|FILE",
    )
    sequences: str = option(
        "*", "only these, e.g. 'v_*' or 'i_leuven,v_bird'", keyed=False, metavar="PATTERN"
    )
    top_k: int | None = option(
        None, "keep the K features of highest score of each image", metavar="K"
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise D2EvalError("--top-k must be 1 or more")


class Homography(EstimatesBenchmark):
    """Homographies from matches, by the constants of papers: HPatches, or pairs of your own.

    --data is the folder of HPatches sequences, or of your images with pairs.csv. Without it, it
    runs on a small embedded sample, whose numbers compare with nothing published. The D2-Net
    paper's evaluation of HPatches is `d2eval hpatches`. Writes pairs.csv, summary.csv,
    manifest.json, a table and a plot under OUTPUT/homography/RUN/.
    """

    name = "homography"
    Options = HomographyOptions
    examples = """examples:
  python -m d2eval homography --method rootsift
  python -m d2eval homography --method aliked --data hpatches-sequences-release \\
      --protocol hpatches_homography_glue
  python -m d2eval homography --method disk --data MYPAIRS --protocol mine.toml
"""
    shown: ClassVar[Mapping[str, str]] = {
        "split": "split", "pairs": "pairs", "mean_features": "features", "mean_matches": "matches",
        "mean_inliers": "inliers", "h_auc_1px": "AUC@1px", "h_auc_3px": "AUC@3px",
        "h_auc_5px": "AUC@5px", "h_auc_10px": "AUC@10px",
    }  # fmt: skip

    numbers: HomographyProtocol

    def __init__(self, options: HomographyOptions | None = None) -> None:
        from d2eval.hpatches.homographies.protocol import load_homographies

        super().__init__(options)
        self.numbers = load_homographies(self.options.protocol)

    @property
    def curves(self) -> Curves:  # type: ignore[override]
        """AUC at the protocol's thresholds."""
        return Curves("h_auc_{}px", self.numbers.errors.thresholds_px, "AUC of corner errors")

    def load(self, root: Path, *, sample: bool = False) -> PairDataset:
        """The pairs of ``root/pairs.csv``, or else of HPatches sequences below ``root``."""
        from d2eval.hpatches.dataset import load_dataset, pairs_of_sequences

        if (own := self._own(root)) is not None:
            return own
        found = load_dataset(root, self.numbers, self.options.sequences, sample=sample)
        pairs = pairs_of_sequences(found)
        return replace(pairs, counts={**pairs.counts, "own_pairs": False})

    def check(self, root: Path) -> Checked:
        """Looks at every pair and decodes its images."""
        from d2eval.foundation.errors import told
        from d2eval.foundation.images.decoding import read_image
        from d2eval.hpatches.check import check

        if (found := self._own(root)) is None:
            return check(root, self.numbers, self.options.sequences)
        problems = list[str]()
        for path in found.images:
            with told(problems.append):
                read_image(path)
        return Checked(found.lines, problems, "every image was read")

    def sample(self, cache: Path) -> Path:
        """Rendered sequences of photographed surfaces."""
        from d2eval.sample.hpatches import make_hpatches_sample

        return make_hpatches_sample(cache)

    def option_words(self) -> list[str | None]:
        """The protocol, and the pattern of sequences."""
        from d2eval.foundation.text.labels import make_label

        chosen, pattern = self.numbers.protocol, self.options.sequences
        return [
            chosen.removeprefix("hpatches_homography_") if chosen != OWN_PROTOCOL else None,
            make_label(pattern) if pattern != "*" else None,
        ]

    def score(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches, seed: int
    ) -> Row:
        """Counts and corner errors."""
        from d2eval.hpatches.homographies.scores import score_pair

        return score_pair(first, second, matches, pair.truth, self.numbers, seed)

    def errors(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches
    ) -> FloatArray:
        """Distances in the other image from where the homography takes a match's first point."""
        from d2eval.metrics.matching import match_errors

        points = first.keypoints[matches[:, 0]], second.keypoints[matches[:, 1]]
        return match_errors(*points, pair.truth)

    def summarize(self, rows: Sequence[Row], images: Sequence[Row]) -> list[Row]:
        """Over all pairs, and over each split's."""
        from d2eval.hpatches.homographies.scores import summarize

        return summarize(rows, images, self.numbers)

    def pairing(self) -> Pairing:
        """Whole sequences are drawn. Where a pair has several estimates, only matches compare."""
        from d2eval.evaluation.pairing import Compared, Pairing
        from d2eval.hpatches.homographies.scores import ERROR, INLIERS

        area = Compared("h_auc_{}px", ERROR, "homography AUC@{}px", is_area=True)
        counts = [Compared("mean_inliers", INLIERS), Compared("mean_matches", "matches")]
        return Pairing("sequence", [area, *counts], ERROR)

    def _own(self, root: Path) -> PairDataset | None:
        """The pairs of ``root/pairs.csv``; None without that file."""
        from d2eval.evaluation.pair_list import OWN
        from d2eval.foundation.files.reading import is_there
        from d2eval.hpatches.homographies.pairs import load_own

        if not is_there(root / OWN):
            return None
        if self.options.sequences != "*":
            raise D2EvalError(
                f"--sequences: chooses among HPatches sequences, but {root / OWN} lists pairs; "
                "leave it out"
            )
        return load_own(root)
