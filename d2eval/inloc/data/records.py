"""Candidates as text, for the store and for candidates.csv."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pycolmap

from d2eval.foundation.formats.poses import pose_cells
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.files import Reference
from d2eval.inloc.scores import candidate_error
from d2eval.runs.folder import Row


def to_records(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """What JSON can say of candidates, without loss."""
    records = []
    for candidate in candidates:
        # asdict would copy a pose that can't be copied so
        record = asdict(replace(candidate, pose=None))
        if candidate.pose is not None:
            # not a matrix: back from it, the quaternion would differ in its last bits
            quaternion, translation = candidate.pose.rotation.quat, candidate.pose.translation
            record["pose"] = [quaternion.tolist(), translation.tolist()]
        record["pv_score"] = None if math.isnan(candidate.pv_score) else candidate.pv_score
        records.append(record)
    return records


def from_records(records: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """What `to_records` was given."""
    candidates = []
    for record in records:
        pose = record["pose"]
        if pose is not None:
            quaternion, translation = map(np.array, pose)
            pose = pycolmap.Rigid3d(pycolmap.Rotation3d(quaternion), translation)
        score = math.nan if record["pv_score"] is None else record["pv_score"]
        candidates.append(Candidate(**{**record, "pose": pose, "pv_score": score}))
    return candidates


def candidate_rows(
    candidates: Mapping[str, Sequence[Candidate]], references: Mapping[str, Reference]
) -> list[Row]:
    """One row for each query and candidate, in their ranking."""
    rows = []
    for query, listed in candidates.items():
        for rank, candidate in enumerate(listed, 1):
            position, rotation = candidate_error(candidate, references.get(query))
            fields = asdict(replace(candidate, pose=None))
            del fields["pose"]
            rows.append(
                {
                    **fields,
                    "rank": rank,
                    "position_m": position,
                    "rotation_deg": rotation,
                    **pose_cells(candidate.pose),
                }
            )
    return rows
