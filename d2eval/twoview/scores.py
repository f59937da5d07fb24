"""One pair of images -> one row of numbers; rows -> the summary. Pure functions."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.estimates import shuffled
from d2eval.evaluation.summary import mean, summary_row
from d2eval.metrics.homography import FloatArray, error_auc
from d2eval.metrics.relative_pose import (
    CameraPair,
    epipolar_errors,
    rotation_error,
    translation_error,
)
from d2eval.runs.folder import Row
from d2eval.twoview.protocol import TwoViewProtocol

ERROR, ROTATION, TRANSLATION, INLIERS = (
    "pose_error_deg", "rotation_error_deg", "translation_error_deg", "inliers",
)  # fmt: skip
PRECISION = "epipolar_precision_"  # begins its columns


def epipolar_column(threshold: float) -> str:
    """Of the precision at a squared distance."""
    return f"{PRECISION}{threshold:.0e}"


def score_pair(
    first: Features,
    second: Features,
    matches: Matches,
    cameras: CameraPair,
    protocol: TwoViewProtocol,
    seed: int,
) -> Row:
    """The numbers of one pair: counts, precision, and errors of each estimate.

    The columns of estimates end as `Variants.endings` says.
    """
    points, cameras = _as_estimated(first, second, matches, cameras, protocol)
    epipolar = epipolar_errors(points[0], points[1], cameras)
    row: Row = {"features_0": len(first), "features_1": len(second), "matches": len(matches)}
    for threshold in protocol.errors.epipolar:
        row[epipolar_column(threshold)] = mean((epipolar < threshold).tolist() or [0.0])
    for ending, (threshold, repeat) in protocol.variants.endings.items():
        order = shuffled(len(matches), seed, repeat)
        found = protocol.estimator.estimate(
            points[0][order], points[1][order], cameras.intrinsics, threshold, seed
        )
        rotation = translation = protocol.errors.failure_deg
        if found is not None:
            rotation = rotation_error(found.rotation, cameras.rotation)
            translation = translation_error(found.translation, cameras.translation)
        row[ROTATION + ending], row[TRANSLATION + ending] = rotation, translation
        row[ERROR + ending] = max(rotation, translation)
        row[INLIERS + ending] = 0 if found is None else found.inliers
    return row


def match_errors(
    first: Features,
    second: Features,
    matches: Matches,
    cameras: CameraPair,
    protocol: TwoViewProtocol,
) -> FloatArray:
    """(M,) `epipolar_errors` of matches."""
    points, cameras = _as_estimated(first, second, matches, cameras, protocol)
    return epipolar_errors(points[0], points[1], cameras)


def _as_estimated(
    first: Features,
    second: Features,
    matches: Matches,
    cameras: CameraPair,
    protocol: TwoViewProtocol,
) -> tuple[list[FloatArray], CameraPair]:
    """Matched points of both images, and the cameras, as the protocol's estimator takes them."""
    sizes = [first.image_size, second.image_size]
    if cameras.size_px:
        cameras = cameras.scaled(np.array(sizes) / cameras.size_px)
    cameras = cameras.scaled(np.array([protocol.factors(size) for size in sizes]))
    points = [
        protocol.points(features.keypoints[matches[:, k]], features.image_size)
        for k, features in enumerate((first, second))
    ]
    return points, cameras


def summarize(rows: Sequence[Row], images: Sequence[Row], protocol: TwoViewProtocol) -> list[Row]:
    """The rows of the summary: all pairs, and each scene's where the protocol says so.

    Of several thresholds the one whose mean AUC over all pairs is highest counts everywhere. The
    errors of all repeats go into one AUC.
    """
    variants, limits = protocol.variants, protocol.errors.thresholds_deg
    best = variants.best(rows, ERROR, limits)

    def further(pairs: Sequence[Row]) -> Row:
        errors = variants.values(pairs, ERROR, best)
        return {
            **{f"auc_{limit}deg": error_auc(errors, limit) for limit in limits},
            **{f"accuracy_{limit}deg": mean([e <= limit for e in errors]) for limit in limits},
            "median_rotation_error_deg": median(variants.values(pairs, ROTATION, best)),
            "median_translation_error_deg": median(variants.values(pairs, TRANSLATION, best)),
            "mean_inliers": mean(variants.values(pairs, INLIERS, best)),
            "threshold_px": best,
            "thresholds_tried": len(variants.thresholds_px),
        }

    scenes = list(dict.fromkeys(row["split"] for row in rows))
    splits = [OVERALL, *(scenes if len(scenes) > 1 else [])]
    averaged = {"mean_matches": "matches"} | {
        name: name for name in map(epipolar_column, protocol.errors.epipolar)
    }
    return [summary_row(split, rows, images, averaged, further) for split in splits]
