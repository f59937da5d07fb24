"""Pose from pairs of images, as a benchmark of image pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from d2eval.contracts.options import option
from d2eval.evaluation.benchmark import Checked
from d2eval.evaluation.dataset import PairDataset
from d2eval.evaluation.estimates_benchmark import EstimatesBenchmark
from d2eval.evaluation.pairs_shown import Curves
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    from d2eval.contracts.features import Features
    from d2eval.contracts.matching import Matches
    from d2eval.evaluation.dataset import ImagePair
    from d2eval.evaluation.pairing import Pairing
    from d2eval.metrics.homography import FloatArray
    from d2eval.runs.folder import Row
    from d2eval.twoview.protocol import TwoViewProtocol

OWN_PROTOCOL = "twoview"


@dataclass(frozen=True)
class TwoViewOptions:
    """What is chosen beside the method.

    Raises:
        D2EvalError: a number is out of range.
    """

    # not keyed: the manifest has its name and the hash of its numbers
    protocol: str = option(
        OWN_PROTOCOL,
        "megadepth1500_ or scannet1500_ with whose constants, as in megadepth1500_glue ('d2eval "
        "protocols' lists them), or the path of a .toml of yours",
        keyed=False,
        metavar="NAME|FILE",
    )
    top_k: int | None = option(
        None, "keep the K features of highest score of each image", metavar="K"
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise D2EvalError("--top-k must be 1 or more")


class TwoView(EstimatesBenchmark):
    """Pose from pairs of images with known intrinsics: MegaDepth-1500, ScanNet-1500, your own.

    --data is the folder of the images. Where it holds pairs.csv, these pairs are measured, by the
    constants of --protocol; otherwise those of the protocol's own list whose images are there.
    Without --data it runs on a small embedded sample, whose numbers compare with nothing published.
    Writes pairs.csv, summary.csv, manifest.json, a table and a plot under OUTPUT/twoview/RUN/.
    """

    name = "twoview"
    Options = TwoViewOptions
    examples = """examples:
  python -m d2eval twoview --method rootsift
  python -m d2eval twoview --method aliked --matcher lightglue --data MYPAIRS
  python -m d2eval twoview --method aliked --data megadepth_test_1500 --protocol megadepth1500_glue
  python -m d2eval twoview --method disk --data scannet_test_1500 --protocol scannet1500_loftr
  python -m d2eval twoview --method disk --data MYPAIRS --protocol mine.toml
"""
    shown: ClassVar[Mapping[str, str]] = {
        "split": "split", "pairs": "pairs", "mean_features": "features", "mean_matches": "matches",
        "mean_inliers": "inliers", "auc_5deg": "AUC@5deg", "auc_10deg": "AUC@10deg",
        "auc_20deg": "AUC@20deg",
    }  # fmt: skip

    error_bins = (1e-4, 5e-4, 1e-3, 1e-2)
    error_unit = ""

    numbers: TwoViewProtocol

    def __init__(self, options: TwoViewOptions | None = None) -> None:
        from d2eval.twoview.protocol import load_two_view

        super().__init__(options)
        self.numbers = load_two_view(self.options.protocol)

    @property
    def curves(self) -> Curves:  # type: ignore[override]
        """AUC at the protocol's thresholds."""
        limits = self.numbers.errors.thresholds_deg
        return Curves("auc_{}deg", limits, "AUC of pose errors", "threshold [deg]")

    def load(self, root: Path, *, sample: bool = False) -> PairDataset:
        """The pairs of ``root/pairs.csv``, or else those of the protocol whose images are there."""
        from d2eval.twoview.dataset import load_pairs

        return load_pairs(root, self.numbers, sample=sample)

    def check(self, root: Path) -> Checked:
        """Looks for the images of every pair and decodes them."""
        from d2eval.foundation.errors import told
        from d2eval.foundation.images.decoding import read_image
        from d2eval.foundation.terminal.progress import progress
        from d2eval.twoview.dataset import absent, completeness, find_list

        listed, own = find_list(root, self.numbers)
        whole = [pair for pair in listed if not absent(root, pair)]
        names = dict.fromkeys(name for pair in listed for name in pair.names)
        missing = [name for name in names if not (root / name).is_file()]
        problems = [f"{root / name}: no such image; add it" for name in missing if own]
        for name in progress([n for n in names if n not in missing], "checking the images"):
            with told(problems.append):
                read_image(root / name)
        lines = [
            f"{self.numbers.name} in {root}: {completeness(len(whole), len(listed))}",
            f"pairs: {len(whole)}, scenes: {len({pair.scene for pair in whole})}",
            *([f"lacking: {len(missing)} of {len(names)} images"] if missing else []),
        ]
        if not whole and not own:
            problems.append(f"{root / listed[0].names[0]}: no such image, nor those of other pairs")
        return Checked(lines, problems, "every image was read")

    def sample(self, cache: Path) -> Path:
        """Rendered pictures of a market square."""
        from d2eval.sample.twoview import make_twoview_sample

        return make_twoview_sample(cache)

    def option_words(self) -> list[str | None]:
        """The protocol."""
        from d2eval.evaluation.naming import protocol_part

        return [protocol_part(self.numbers.protocol, OWN_PROTOCOL)]

    def score(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches, seed: int
    ) -> Row:
        """Counts, epipolar precision, errors of poses."""
        from d2eval.twoview.scores import score_pair

        return score_pair(first, second, matches, pair.truth, self.numbers, seed)

    def errors(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches
    ) -> FloatArray:
        """Squared distances to the epipolar lines at z = 1."""
        from d2eval.twoview.scores import match_errors

        return match_errors(first, second, matches, pair.truth, self.numbers)

    def summarize(self, rows: Sequence[Row], images: Sequence[Row]) -> list[Row]:
        """Over all pairs, and over each scene's where the protocol says so."""
        from d2eval.twoview.scores import summarize

        return summarize(rows, images, self.numbers)

    def pairing(self) -> Pairing:
        """Scenes, and what several estimates of a pair don't blur."""
        from d2eval.evaluation.pairing import Compared, Pairing
        from d2eval.twoview.scores import ERROR, INLIERS, PRECISION

        return Pairing(
            "scene",
            [
                Compared("auc_{}deg", ERROR, "pose AUC@{} deg", is_area=True),
                Compared(f"{PRECISION}{{}}", f"{PRECISION}{{}}"),
                Compared("mean_inliers", INLIERS),
                Compared("mean_matches", "matches"),
            ],
            ERROR,
        )
