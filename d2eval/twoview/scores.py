"""One pair of images -> one row of numbers; rows -> the summary. Pure functions."""

import math
from collections.abc import Sequence

import numpy as np

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.summary import mean, summary_row
from d2eval.metrics.homography import error_auc
from d2eval.metrics.relative_pose import (
    CameraPair,
    FloatArray,
    epipolar_errors,
    rotation_error,
    translation_error,
)
from d2eval.runs.folder import Row
from d2eval.twoview.protocol import TwoViewProtocol

ERROR, ROTATION, TRANSLATION, INLIERS = (
    "pose_error_deg", "rotation_error_deg", "translation_error_deg", "inliers",
)  # fmt: skip


def epipolar_column(threshold: float) -> str:
    """Of the precision at a squared distance."""
    return f"epipolar_precision_{threshold:.0e}"


def pose_points(points: FloatArray, factors: FloatArray, protocol: TwoViewProtocol) -> FloatArray:
    """Keypoints as the protocol's estimator takes them.

    Args:
        points: (N, 2) pixels of the original image, from the centre of the first pixel.
        factors: (2,) by which its x and y shrank.
        protocol: says from where resized pixels count, and whether they are scaled back.
    """
    shift = 0.0 if protocol.keypoint_origin == "corner" else 0.5
    resized = (points + 0.5) * factors - shift
    return resized if protocol.pose_pixels == "resized" else resized / factors


def score_pair(
    first: Features,
    second: Features,
    matches: Matches,
    cameras: CameraPair,
    protocol: TwoViewProtocol,
    seed: int,
) -> Row:
    """The numbers of one pair: counts, precision, and errors of each estimate.

    The columns of estimates end as `TwoViewProtocol.variants` says.
    """
    sizes = [first.image_size, second.image_size]
    factors = np.array([protocol.resize.factors(size) for size in sizes])
    if protocol.pairs is not None and protocol.pairs.intrinsics_size_px:
        cameras = cameras.scaled(np.array(sizes) / protocol.pairs.intrinsics_size_px)
    if protocol.pose_pixels == "resized":
        cameras = cameras.scaled(factors)
    points = [
        pose_points(features.keypoints[matches[:, k]].astype(np.float64), factors[k], protocol)
        for k, features in enumerate((first, second))
    ]
    epipolar = epipolar_errors(points[0], points[1], cameras)
    row: Row = {"features_0": len(first), "features_1": len(second), "matches": len(matches)}
    for threshold in protocol.errors.epipolar:
        row[epipolar_column(threshold)] = mean((epipolar < threshold).tolist() or [0.0])
    for ending, (threshold, repeat) in protocol.variants.items():
        order = np.random.default_rng([seed, repeat]).permutation(len(matches))
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


def summarize(rows: Sequence[Row], images: Sequence[Row], protocol: TwoViewProtocol) -> list[Row]:
    """The rows of the summary: all pairs, and each scene's where the protocol says so.

    Of several thresholds the one whose mean AUC over all pairs is highest counts everywhere. The
    errors of all repeats go into one AUC.
    """
    tried = protocol.estimator.thresholds_px

    def of(pairs: Sequence[Row], column: str, threshold: float) -> list[float]:
        endings = [e for e, (t, _) in protocol.variants.items() if t == threshold]
        return [float(row[column + ending]) for row in pairs for ending in endings]

    def areas(errors: Sequence[float]) -> Row:
        limits = protocol.errors.thresholds_deg
        return {f"auc_{limit}deg": error_auc(errors, limit) for limit in limits}

    best = max(tried, key=lambda threshold: mean([*areas(of(rows, ERROR, threshold)).values()]))

    def further(pairs: Sequence[Row]) -> Row:
        errors = of(pairs, ERROR, best)
        limits = protocol.errors.thresholds_deg
        return {
            **areas(errors),
            **{f"accuracy_{limit}deg": mean([e <= limit for e in errors]) for limit in limits},
            "median_rotation_error_deg": _median(of(pairs, ROTATION, best)),
            "median_translation_error_deg": _median(of(pairs, TRANSLATION, best)),
            "mean_inliers": mean(of(pairs, INLIERS, best)),
            "threshold_px": best,
            "thresholds_tried": len(tried),
        }

    scenes = list(dict.fromkeys(row["split"] for row in rows))
    splits = [OVERALL, *(scenes if len(scenes) > 1 else [])]
    averaged = {"mean_matches": "matches"} | {
        name: name for name in map(epipolar_column, protocol.errors.epipolar)
    }
    return [summary_row(split, rows, images, averaged, further) for split in splits]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return above if math.isinf(above) else (below + above) / 2
