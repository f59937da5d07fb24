import json
import math
from dataclasses import fields

import numpy as np
import pycolmap
import pytest

from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.files import Reference
from d2eval.inloc.data.records import candidate_rows, from_records, to_records
from d2eval.pipeline.store import Store

CUTOUTS = [f"DUC{floor}/000/DUC_cutout_000_{yaw}_0.jpg" for floor in (1, 2) for yaw in (0, 30)]


def poses(count: int) -> list[pycolmap.Rigid3d]:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(count):
        quaternion = rng.standard_normal(4)
        rotation = pycolmap.Rotation3d(quaternion / np.linalg.norm(quaternion))
        found.append(pycolmap.Rigid3d(rotation, 30 * rng.standard_normal(3)))
    return found


def candidate(
    cutout: str, pose: pycolmap.Rigid3d | None, pv_score: float, query: str = "q"
) -> Candidate:
    return Candidate(
        query, cutout, 1 / 3, 40, 30, 2, 20, 10, pose, np.float64(30 + 1 / 3), pv_score
    )


def same(a: object, b: object) -> bool:
    """To the last bit, and NaN equals NaN."""
    if isinstance(a, pycolmap.Rigid3d) and isinstance(b, pycolmap.Rigid3d):
        return bytes(a.rotation.quat) + bytes(a.translation) == bytes(b.rotation.quat) + bytes(
            b.translation
        )
    return a == b or (isinstance(a, float) and isinstance(b, float) and a != a and b != b)


def test_candidates_come_back_from_the_store_to_the_last_bit(tmp_path):
    scores = [math.nan, math.inf, 0.0, 1 / 7]
    given = [candidate(CUTOUTS[k % 4], pose, scores[k % 4]) for k, pose in enumerate(poses(100))]
    given.append(candidate(CUTOUTS[0], None, 0.0))
    store = Store(tmp_path)
    path = store.unit_path("poses", "these")
    store.write_record(path, to_records(given))
    found = from_records(store.read_record(path))
    assert len(found) == len(given)
    for a, b in zip(given, found, strict=True):
        for field in fields(Candidate):
            assert same(getattr(a, field.name), getattr(b, field.name)), field.name
    # A resumed run hashes what it read, an uninterrupted one what it estimated.
    assert json.dumps(to_records(found)) == json.dumps(to_records(given))


def test_no_candidates():
    assert from_records(json.loads(json.dumps(to_records([])))) == []


def test_rows_are_ranked_and_scored_query_by_query():
    (pose, other) = poses(2)
    shift = pycolmap.Rigid3d(pose.rotation, pose.translation + np.array([0.3, 0, 0.4]))
    listed = {
        "b": [candidate(CUTOUTS[0], shift, 2.0, "b"), candidate(CUTOUTS[2], pose, 1.0, "b")],
        "c": [],
        "a": [candidate(CUTOUTS[3], other, math.nan, "a"), candidate(CUTOUTS[1], None, 0.0, "a")],
    }
    rows = candidate_rows(listed, {"b": Reference("DUC1", pose)})
    assert [(row["query"], row["rank"], row["cutout"]) for row in rows] == [
        ("b", 1, CUTOUTS[0]), ("b", 2, CUTOUTS[2]), ("a", 1, CUTOUTS[3]), ("a", 2, CUTOUTS[1]),
    ]  # fmt: skip
    assert rows[0]["position_m"] == pytest.approx(0.5)
    assert rows[0]["rotation_deg"] == pytest.approx(0, abs=1e-5)
    assert rows[1]["position_m"] == rows[1]["rotation_deg"] == math.inf  # another floor
    assert math.isnan(rows[2]["position_m"])  # no reference
    assert math.isnan(rows[3]["position_m"])
    assert [rows[3][name] for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")] == [None] * 7
    assert float(rows[2]["tx"]) == pytest.approx(other.translation[0])
    counts = ("matches", "verified", "homographies", "points", "inliers", "retrieval", "pv_score")
    assert [rows[0][name] for name in counts] == [40, 30, 2, 20, 10, 1 / 3, 2.0]
    assert "pose" not in rows[0]
