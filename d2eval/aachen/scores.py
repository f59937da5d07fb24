"""Rows of the queries, the summary at the protocol's thresholds, and the site's submission file."""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.aachen.registration import Registered
from d2eval.foundation.formats.poses import pose_cells
from d2eval.metrics.intervals import wilson_interval
from d2eval.metrics.poses import count_within, pose_error
from d2eval.runs.folder import Row


def query_rows(
    dataset: Dataset,
    results: Mapping[str, Registered],
    keypoints: Mapping[str, ImageKeypoints],
) -> list[Row]:
    """One row for each query; errors are NaN without a pose or without a reference."""
    rows = []
    for name, split in dataset.queries.items():
        found, reference = results[name], dataset.references.get(name)
        position = rotation = math.nan
        if found.pose is not None and reference is not None:
            position, rotation = pose_error(found.pose, reference)
        rows.append(
            {
                "name": name,
                "split": split,
                "registered": int(found.pose is not None),
                "features": len(keypoints[name].keypoints),
                "matches": found.matches,
                "verified": found.verified,
                "visible_points": found.visible_points,
                "inliers": found.inliers,
                "mean_reprojection_px": found.mean_reprojection_px,
                "position_m": position,
                "rotation_deg": rotation,
                **pose_cells(found.pose),
                **pose_cells(reference, "ref_"),
                "reason": found.reason,
            }
        )
    return rows


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan


def summarize(
    rows: Sequence[Row], benchmark: AachenBenchmark, scored: bool, mean_features: float
) -> list[Row]:
    """One row for each epoch, split and threshold.

    A query without a pose counts as not localized. Medians are over the registered queries.

    Args:
        rows: from `query_rows`.
        benchmark: the protocol.
        scored: whether there are reference poses.
        mean_features: of an image, database and queries together.
    """
    summary = []
    for epoch, thresholds in benchmark.thresholds.items():
        for split in dict.fromkeys(row["split"] for row in rows):
            queries = [row for row in rows if row["split"] == split]
            registered = [row for row in queries if row["registered"]]
            errors = [(row["position_m"], row["rotation_deg"]) for row in queries]
            for threshold in thresholds:
                line: Row = {
                    "protocol": benchmark.protocol,
                    "epoch": epoch,
                    "split": split,
                    "position_m": threshold.position_m,
                    "rotation_deg": threshold.rotation_deg,
                    "queries": len(queries),
                    "registered": len(registered),
                }
                scores = dict.fromkeys(("localized", "percent", "percent_low", "percent_high"))
                if scored:
                    count = count_within(errors, threshold)
                    low, high = wilson_interval(count, len(queries))
                    shares = (count / len(queries), low, high)
                    scores = dict(
                        zip(scores, (count, *(100 * share for share in shares)), strict=True)
                    )
                summary.append(
                    {
                        **line,
                        **scores,
                        "median_position_m": _median([r["position_m"] for r in registered]),
                        "median_rotation_deg": _median([r["rotation_deg"] for r in registered]),
                        "mean_features": mean_features,
                    }
                )
    return summary


def mean_count(keypoints: Mapping[str, ImageKeypoints]) -> float:
    """Mean number of features of an image."""
    return float(np.mean([len(image.keypoints) for image in keypoints.values()]))
