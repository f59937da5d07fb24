"""Protocols that estimate a geometry from the matches of a pair, once or several times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.protocol import ProtocolFile
from d2eval.evaluation.summary import mean
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography import error_auc
from d2eval.pipeline.resizing import Resize
from d2eval.runs.folder import Row

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Variants:
    """The estimates of each pair: one for each threshold and repeat, in columns of their own.

    Attributes:
        thresholds_px: of an inlier; the one of best results counts.
        repeats: of each, with the matches in another order.
    """

    thresholds_px: Sequence[float]
    repeats: int

    @cached_property
    def endings(self) -> Mapping[str, tuple[float, int]]:
        """Ending of columns -> threshold and repeat; there is none where there is one estimate."""
        return {
            (f"_at_{threshold:g}px" if len(self.thresholds_px) > 1 else "")
            + (f"_run_{repeat}" if self.repeats > 1 else ""): (threshold, repeat)
            for threshold in self.thresholds_px
            for repeat in range(1, self.repeats + 1)
        }

    def values(self, rows: Sequence[Row], column: str, threshold: float) -> list[float]:
        """A column of rows at a threshold; all repeats, one after the other."""
        endings = [ending for ending, (own, _) in self.endings.items() if own == threshold]
        return [float(row[column + ending]) for row in rows for ending in endings]

    def best(self, rows: Sequence[Row], column: str, limits: Sequence[float]) -> float:
        """The threshold whose mean AUC of the errors in a column is highest; the first of equals.

        Source: glue-factory, eval/utils.py, eval_poses; XFeat, modules/eval/scannet1500.py.
        """

        def score(threshold: float) -> float:
            errors = self.values(rows, column, threshold)
            return mean([error_auc(errors, limit) for limit in limits])

        return max(self.thresholds_px, key=score)


def shuffled(count: int, seed: int, repeat: int) -> npt.NDArray[np.intp]:
    """In which order the matches of a pair are given to its estimator."""
    return np.random.default_rng([seed, repeat]).permutation(count)


@dataclass(frozen=True)
class EstimateProtocol:
    """What all such protocols say.

    Attributes:
        protocol: stem of the benchmark file.
        name: how tables call it.
        folder: where its file lies.
        keypoints: of highest score, of each image; None: all.
        keypoint_origin: from where the pixels of the geometry count: "corner" or "center".
        pixels: in which thresholds hold: of the "original" or the "resized" image.
        repeats: estimates of each pair.
        resize: before features are extracted.
        matcher: the protocol's own.
        overlaps: what it measures on, see `d2eval.contracts.leaks`.
        sha256: of the protocol's numbers.
    """

    protocol: str
    name: str
    folder: Path
    keypoints: int | None
    keypoint_origin: str
    pixels: str
    repeats: int
    resize: Resize
    matcher: MatcherChoice
    overlaps: tuple[str, ...]
    sha256: str

    def points(
        self, keypoints: npt.NDArray[np.floating], image_size: tuple[int, int]
    ) -> FloatArray:
        """Keypoints (N, 2) of an image of (width, height) as the protocol's estimator takes them.

        Those of its authors count from ``keypoint_origin`` in the resized image, and are multiplied
        by the ratio of sizes where they are scaled back.
        """
        factors = self.resize.factors(image_size)
        shift = 0.0 if self.keypoint_origin == "corner" else 0.5
        resized = (keypoints.astype(np.float64) + 0.5) * factors - shift
        return resized if self.pixels == "resized" else resized / factors

    def factors(self, image_size: tuple[int, int]) -> FloatArray:
        """(2,) by which x and y of the original image are multiplied to come to its pixels."""
        return self.resize.factors(image_size) if self.pixels == "resized" else np.ones(2)


def shared_entries(file: ProtocolFile) -> dict[str, Any]:
    """What a benchmark file says of `EstimateProtocol`.

    Raises:
        D2EvalError: an entry is missing, or isn't taken.
    """
    keypoints, repeats = file.value("keypoints", int), file.value("repeats", int)
    if keypoints < 0 or repeats < 1:
        raise D2EvalError(f"{file.path}: keypoints must be 0 or more, repeats 1 or more; mend it")
    return {
        "protocol": file.path.stem,
        "name": file.value("name", str),
        "folder": file.path.parent,
        "keypoints": keypoints or None,
        "keypoint_origin": file.choice("keypoint_origin", "corner", "center"),
        "pixels": file.choice("pixels", "original", "resized"),
        "repeats": repeats,
        "resize": file.table("resize", Resize),
        "matcher": MatcherChoice.of_table(file.value("matcher", dict), str(file.path)),
        "overlaps": file.overlaps,
        "sha256": file.sha256,
    }


def check_numbers(name: str, numbers: Sequence[Any]) -> None:
    """Sees to it that there are numbers, all positive.

    Raises:
        D2EvalError: there are none, or one isn't.
    """
    if not numbers or not all(isinstance(n, int | float) and n > 0 for n in numbers):
        raise D2EvalError(f"{name} = {numbers}: must be positive numbers")
