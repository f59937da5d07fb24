"""One pair of images -> one row of numbers; rows -> the summary. Pure functions."""

from collections.abc import Sequence

import numpy as np

from d2eval.contracts.features import Features
from d2eval.contracts.matching import Matches
from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.estimates import shuffled
from d2eval.evaluation.summary import mean, summary_row
from d2eval.hpatches.homographies.protocol import HomographyProtocol
from d2eval.metrics.homography import FloatArray, error_auc
from d2eval.metrics.homography_ransac import mean_corner_error
from d2eval.runs.folder import Row

ERROR, INLIERS = "corner_error_px", "inliers"
ORIGIN = np.diag([0.0, 0.0, 1.0])  # takes every point to (0, 0)


def score_pair(
    first: Features,
    second: Features,
    matches: Matches,
    homography: FloatArray,
    protocol: HomographyProtocol,
    seed: int,
) -> Row:
    """The numbers of one pair: counts, and the corner error and inliers of each estimate.

    The columns of estimates end as `Variants.endings` says. As its authors' scripts do, the
    homography is applied to the protocol's pixels, wherever these count from.
    """
    sizes = [first.image_size, second.image_size]
    to_first, to_second = (np.diag([*protocol.factors(size), 1.0]) for size in sizes)
    true = to_second @ homography @ np.linalg.inv(to_first)
    shown = [np.array(size) * protocol.factors(size) for size in sizes]
    right, bottom = shown[0] - (0 if protocol.errors.corners == "size" else 1)
    side = float(shown[1].min())
    unit = side / protocol.errors.per_side_px if protocol.errors.per_side_px else 1.0
    estimator = protocol.estimator
    scale = side / estimator.per_side_px if estimator.per_side_px else 1.0
    points = [
        protocol.points(features.keypoints[matches[:, k]], features.image_size)
        for k, features in enumerate((first, second))
    ]
    row: Row = {"features_0": len(first), "features_1": len(second), "matches": len(matches)}
    for ending, (threshold, repeat) in protocol.variants.endings.items():
        order = shuffled(len(matches), seed, repeat)
        found = estimator.estimate(points[0][order], points[1][order], threshold * scale, seed)
        estimated, inliers = found or (ORIGIN, 0)
        error = float("inf")
        if found is not None or protocol.errors.failure == "origin":
            error = mean_corner_error(estimated, true, right, bottom) / unit
        row[ERROR + ending], row[INLIERS + ending] = error, inliers
    return row


def summarize(
    rows: Sequence[Row], images: Sequence[Row], protocol: HomographyProtocol
) -> list[Row]:
    """The rows of the summary: all pairs, and those of each split.

    Of several thresholds the one whose mean AUC over all pairs is highest counts everywhere. The
    errors of all repeats go into one AUC.
    """
    variants, limits = protocol.variants, protocol.errors.thresholds_px
    best = variants.best(rows, ERROR, limits)

    def further(pairs: Sequence[Row]) -> Row:
        errors = variants.values(pairs, ERROR, best)
        return {
            **{f"h_accuracy_{t}px": mean([e <= t for e in errors]) for t in limits},
            **{f"h_auc_{t}px": error_auc(errors, t) for t in limits},
            "mean_inliers": mean(variants.values(pairs, INLIERS, best)),
            "threshold_px": best,
            "thresholds_tried": len(variants.thresholds_px),
        }

    found = list(dict.fromkeys(row["split"] for row in rows))
    splits = [OVERALL, *(sorted(found) if len(found) > 1 else [])]
    averaged = {"mean_matches": "matches"}
    return [summary_row(split, rows, images, averaged, further) for split in splits]
