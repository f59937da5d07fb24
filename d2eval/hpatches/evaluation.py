"""One pair of images -> one row of numbers; rows -> the summary. Pure functions.

Source: the authors' HPatches notebook (d2-net 0a3356c) for features, matches and MMA; the columns
after those are beyond the paper, and each says where its definition is from.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.evaluation.summary import summary_row
from d2eval.hpatches.protocol import HPatchesBenchmark
from d2eval.metrics.homography import FloatArray, corner_error, error_auc, inside, project
from d2eval.metrics.matching import match_errors, mean_matching_accuracy, repeatability

Row = dict[str, Any]


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


def evaluate_pair(
    features_1: Features,
    features_k: Features,
    matches: Matches,
    homography: FloatArray,
    benchmark: HPatchesBenchmark,
    seed: int = 0,
) -> Row:
    """The numbers of one pair.

    ``matching_score`` is the mean, over the two images, of the share of features with a correct
    match among those in the part that both show (Ono et al., LF-Net, NeurIPS 2018; Revaud et al.,
    R2D2, NeurIPS 2019).
    """
    matched_1 = features_1.keypoints[matches[:, 0]]
    matched_k = features_k.keypoints[matches[:, 1]]
    errors = match_errors(matched_1, matched_k, homography)
    row: Row = {
        "features_1": len(features_1),
        "features_k": len(features_k),
        "matches": len(matches),
    }
    for threshold in benchmark.thresholds_px:
        row[f"mma_{threshold}px"] = mean_matching_accuracy(errors, threshold)

    in_k = project(homography, features_1.keypoints)
    back = project(np.asarray(np.linalg.inv(homography)), features_k.keypoints)
    shared_1 = inside(in_k, features_k.image_size)  # which features show in the other image too
    shared_k = inside(back, features_1.image_size)
    correct = matches[errors <= benchmark.correct_px]
    row["correct_matches"] = len(correct)
    row["matching_score"] = (
        _share(shared_1[correct[:, 0]].sum(), shared_1.sum())
        + _share(shared_k[correct[:, 1]].sum(), shared_k.sum())
    ) / 2
    row["repeatability"] = repeatability(
        in_k[shared_1], features_k.keypoints[shared_k].astype(np.float64), benchmark.correct_px
    )

    estimated = benchmark.estimator.estimate(matched_1, matched_k, seed)
    error = corner_error(estimated, homography, features_1.image_size)
    row["corner_error_px"] = error
    for threshold in benchmark.corner_error_px:
        row[f"h_accuracy_{threshold}px"] = float(error <= threshold)
    return row


def summarize(
    rows: Sequence[Row], images: Sequence[Row], benchmark: HPatchesBenchmark
) -> list[Row]:
    """The rows ``overall``, ``i`` and ``v`` of the summary.

    Every mean is over pairs, and ``overall`` over all of them: not the mean of the two splits. In
    a complete set these are the notebook's fixed denominators (52 * 5, 56 * 5 and 108 * 5 pairs);
    in a partial one, the pairs that are there. Features are counted once for each image.
    A row is from `evaluate_pair` with ``split``; an image has ``split``, ``features``, ``seconds``
    and ``peak_memory_mib``.
    """
    mma = [f"mma_{t}px" for t in benchmark.thresholds_px]
    accuracy = [f"h_accuracy_{t}px" for t in benchmark.corner_error_px]
    averaged = {
        "mean_matches": "matches",
        **{name: name for name in mma},
        "mean_correct_matches": "correct_matches",
        **{name: name for name in ("matching_score", "repeatability", *accuracy)},
    }

    def areas(pairs: Sequence[Row]) -> Row:
        errors = [row["corner_error_px"] for row in pairs]
        return {f"h_auc_{t}px": error_auc(errors, t) for t in benchmark.corner_error_px}

    return [summary_row(s, rows, images, averaged, areas) for s in ("overall", "i", "v")]
