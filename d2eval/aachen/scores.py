"""Rows of the queries, and the summary at the protocol's thresholds."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.aachen.registration import Registered
from d2eval.foundation.formats.poses import pose_cells
from d2eval.localization.scores import summary_rows
from d2eval.metrics.poses import count_within, pose_error
from d2eval.runs.folder import Row


def query_rows(
    dataset: Dataset, results: Mapping[str, Registered], keypoints: Mapping[str, ImageKeypoints]
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


def summarize(
    rows: Sequence[Row], benchmark: AachenBenchmark, scored: bool, mean_features: float
) -> list[Row]:
    """One row for each epoch, split and threshold.

    ``scored`` says that there are reference poses; ``mean_features`` are of an image, database and
    queries together.
    """
    splits: dict[str, list[Row]] = {}
    for row in rows:
        splits.setdefault(row["split"], []).append(row)
    count = count_within if scored else None
    return [
        {**line, "mean_features": mean_features}
        for epoch, thresholds in benchmark.thresholds.items()
        for split, queries in splits.items()
        for line in summary_rows(
            {"protocol": benchmark.protocol, "epoch": epoch, "split": split},
            queries, thresholds, "registered", count,
        )
    ]  # fmt: skip


def mean_count(keypoints: Mapping[str, ImageKeypoints]) -> float:
    """Mean number of features of an image."""
    return float(np.mean([len(image.keypoints) for image in keypoints.values()]))
