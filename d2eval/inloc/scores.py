"""Rows of the queries, and the summary at the protocol's thresholds."""

import math
from collections.abc import Iterable, Mapping, Sequence

from d2eval.foundation.formats.poses import pose_cells
from d2eval.inloc.columns import BOTH_FLOORS
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Dataset, Reference
from d2eval.inloc.data.files import floor_of
from d2eval.inloc.protocol import InlocBenchmark
from d2eval.localization.scores import summary_rows
from d2eval.metrics.poses import Threshold, pose_error
from d2eval.runs.folder import Row

COUNTS = ("matches", "verified", "homographies", "points", "inliers")
NUMBERS = ("retrieval", "score", "pv_score")


def candidate_error(
    candidate: Candidate | None, reference: Reference | None
) -> tuple[float, float]:
    """Position error in metres and rotation error in degrees.

    Infinite without a pose and where the cutout is of another floor than the query: poses of
    different floors aren't of one frame. NaN without a reference.
    Source: `ht_plotcurve_WUSTL` of InLoc_demo.
    """
    if reference is None:
        return math.nan, math.nan
    if candidate is None or candidate.pose is None or floor_of(candidate.cutout) != reference.floor:
        return math.inf, math.inf
    return pose_error(candidate.pose, reference.pose)


def count_localized(errors: Iterable[tuple[float, float]], threshold: Threshold) -> int:
    """How many (metres, degrees) lie below the position threshold, and not above the angle's."""
    return sum(p < threshold.position_m and r <= threshold.rotation_deg for p, r in errors)


def query_rows(
    dataset: Dataset, chosen: Mapping[str, Candidate | None], reasons: Mapping[str, str]
) -> list[Row]:
    """One row for each query with an image or a reference, sorted by name.

    ``chosen`` is the final candidate of each query; None, or no entry, is a failure.
    """
    rows = []
    for name in sorted({*dataset.queries, *dataset.references}):
        reference, candidate = dataset.references.get(name), chosen.get(name)
        position, rotation = candidate_error(candidate, reference)
        pose = candidate.pose if candidate else None
        rows.append(
            {
                "name": name,
                "floor": reference.floor if reference else None,
                "scored": int(reference is not None),
                "posed": int(pose is not None),
                "cutout": candidate.cutout if candidate else None,
                "found_floor": floor_of(candidate.cutout) if candidate else None,
                **{key: getattr(candidate, key, None) for key in (*COUNTS, *NUMBERS)},
                "position_m": position,
                "rotation_deg": rotation,
                **pose_cells(pose),
                **pose_cells(reference.pose if reference else None, "ref_"),
                "reason": reasons.get(name, ""),
            }
        )
    return rows


def summarize(rows: Sequence[Row], benchmark: InlocBenchmark) -> list[Row]:
    """One row for each threshold, over all references and over those of each floor.

    The denominator is the number of references. Without any there is one row for each threshold,
    over all queries and without scores. Medians are over poses on the right floor.
    """
    scored = [row for row in rows if row["scored"]]
    groups = {BOTH_FLOORS: scored or list(rows)}
    for floor in sorted({row["floor"] for row in scored}):
        groups[floor] = [row for row in scored if row["floor"] == floor]
    thresholds = (*benchmark.thresholds, *benchmark.further_thresholds)
    count = count_localized if scored else None
    return [
        line
        for floor, queries in groups.items()
        for line in summary_rows(
            {"protocol": benchmark.protocol, "floor": floor}, queries, thresholds, "posed", count
        )
    ]
