import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.protocol import load_benchmark
from d2eval.aachen.registration import Registered, failure
from d2eval.aachen.scores import mean_count, query_rows, summarize
from d2eval.foundation.formats.poses import wxyz
from d2eval.foundation.machine.resources import Cost
from d2eval.localization.submission import submission
from d2eval.metrics.poses import Threshold

THRESHOLDS = {"2019": (Threshold(0.5, 2), Threshold(5, 10)), "2020": (Threshold(0.25, 2),)}
BENCHMARK = replace(load_benchmark("aachen"), thresholds=THRESHOLDS)
QUERIES = {
    "query/night/nexus5x/a.jpg": "night",
    "query/day/nexus4/b.jpg": "day",
    "query/night/nexus5x/c.jpg": "night",
    "query/night/nexus5x/d.jpg": "night",
}
A, B, C, D = QUERIES


def pose(degrees, translation):
    """Turned about z."""
    return pycolmap.Rigid3d(
        pycolmap.Rotation3d(np.array([0, 0, math.radians(degrees)])), np.array(translation, float)
    )


def points(count):
    return ImageKeypoints(np.zeros((count, 2), np.float32), "key", "sha", Cost(0.5, 1.0), 512)


@pytest.fixture
def dataset():
    return Dataset(
        root=Path("root"), images_folder=Path("root"),
        image_ids={name: k for k, name in enumerate(QUERIES, 1)}, cameras={}, poses={},
        queries=QUERIES, pairs=(), merged_pairs=0,
        references=dict.fromkeys(QUERIES, pycolmap.Rigid3d()), notes=(), completeness="sample",
    )  # fmt: skip


# Errors by hand, the reference being the identity: a 0.25 m, 2 deg exactly at no limit but 0.25;
# b 5 m (3-4-5), 90 deg; c none; d 0.3 m, 1 deg.
RESULTS = {
    A: Registered(pose(1.5, [0, 0.25, 0]), 120, 100, 0.75, {3: 7}),
    B: Registered(pose(90, [3, 4, 0]), 60, 40, 2.5, {}),
    C: failure(12),
    D: Registered(pose(-1, [0, 0, 0.3]), 33, 31, 1.0, {}),
}
KEYPOINTS = {A: points(500), B: points(300), C: points(0), D: points(7), "db/1.jpg": points(93)}


def test_rows_by_hand(dataset):
    rows = query_rows(dataset, RESULTS, KEYPOINTS)
    assert [(r["name"], r["split"], r["registered"]) for r in rows] == [
        (A, "night", 1), (B, "day", 1), (C, "night", 0), (D, "night", 1)
    ]  # fmt: skip
    assert [(r["features"], r["visible_points"], r["inliers"]) for r in rows] == [
        (500, 120, 100), (300, 60, 40), (0, 12, 0), (7, 33, 31)
    ]  # fmt: skip
    errors = [value for r in rows for value in (r["position_m"], r["rotation_deg"])]
    expected = [0.25, 1.5, 5, 90, math.nan, math.nan, 0.3, 1]
    assert errors == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert [r["mean_reprojection_px"] for r in rows] == pytest.approx(
        [0.75, 2.5, math.nan, 1.0], nan_ok=True
    )
    half = math.sqrt(0.5)
    cells = [rows[1][name] for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")]
    assert [float(cell) for cell in cells] == pytest.approx([half, 0, 0, half, 3, 4, 0], abs=1e-11)
    cells = [rows[2][name] for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")]
    assert cells == [None] * 7
    for row in rows:  # the reference is the identity
        cells = [row[f"ref_{name}"] for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")]
        assert [float(cell) for cell in cells] == [1, 0, 0, 0, 0, 0, 0]
    assert all(list(row) == list(rows[0]) for row in rows)


def test_rows_without_references(dataset):
    rows = query_rows(replace(dataset, references={}), RESULTS, KEYPOINTS)
    assert all(math.isnan(r["position_m"]) and math.isnan(r["rotation_deg"]) for r in rows)
    assert all(row["ref_qw"] is None for row in rows)
    assert [row["qw"] is None for row in rows] == [False, False, True, False]


def test_summary_by_hand(dataset):
    summary = summarize(query_rows(dataset, RESULTS, KEYPOINTS), BENCHMARK, True, 180.0)
    found = {
        (r["epoch"], r["split"], r["position_m"], r["rotation_deg"]): r["localized"]
        for r in summary
    }
    assert found == {
        ("2019", "night", 0.5, 2): 2, ("2019", "night", 5, 10): 2,
        ("2019", "day", 0.5, 2): 0, ("2019", "day", 5, 10): 0,  # 5 m, but 90 degrees
        ("2020", "night", 0.25, 2): 1,  # 0.25 m counts
        ("2020", "day", 0.25, 2): 0,
    }  # fmt: skip
    assert len(summary) == 6
    first = summary[0]
    assert (first["protocol"], first["epoch"], first["split"]) == ("aachen", "2019", "night")
    # c has no pose: it counts among the queries, but not in the medians.
    assert (first["queries"], first["registered"], first["localized"]) == (3, 2, 2)
    assert first["percent"] == pytest.approx(200 / 3)
    assert (first["percent_low"], first["percent_high"]) == pytest.approx((20.77, 93.85), abs=0.01)
    assert first["median_position_m"] == pytest.approx((0.25 + 0.3) / 2)
    assert first["median_rotation_deg"] == pytest.approx(1.25)
    assert first["mean_features"] == 180.0
    day = summary[2]
    assert (day["split"], day["queries"], day["percent"]) == ("day", 1, 0)
    assert (day["median_position_m"], day["median_rotation_deg"]) == pytest.approx((5, 90))


def test_a_summary_without_references_has_no_scores(dataset):
    rows = query_rows(replace(dataset, references={}), RESULTS, KEYPOINTS)
    for row in summarize(rows, BENCHMARK, False, 180.0):
        for name in ("localized", "percent", "percent_low", "percent_high"):
            assert row[name] is None
        assert math.isnan(row["median_position_m"])
        assert row["registered"] == {"night": 2, "day": 1}[row["split"]]


def test_nothing_registered(dataset):
    rows = query_rows(dataset, dict.fromkeys(QUERIES, failure(0)), KEYPOINTS)
    for row in summarize(rows, BENCHMARK, True, 180.0):
        assert (row["registered"], row["localized"], row["percent"]) == (0, 0, 0)
        assert math.isnan(row["median_position_m"])
        assert math.isnan(row["median_rotation_deg"])
        assert row["percent_low"] == pytest.approx(0, abs=1e-12)


def test_the_paper_s_count():
    # Published as 72.5 %: 71 of 98.
    rows = [
        {"split": "night", "registered": 1, "position_m": 1.0 if k < 71 else 99.0,
         "rotation_deg": 1.0}
        for k in range(98)
    ]  # fmt: skip
    (row,) = summarize(rows, replace(BENCHMARK, thresholds={"x": (Threshold(1, 1),)}), True, 1.0)
    assert (row["queries"], row["localized"]) == (98, 71)
    assert row["percent"] == pytest.approx(72.449, abs=1e-3)
    assert (row["percent_low"], row["percent_high"]) == pytest.approx((62.88, 80.32), abs=0.01)


def test_submission_by_hand():
    # A quarter turn about z whose quaternion has w < 0 in pycolmap, and a camera at (4, -3, 0).
    half = math.sqrt(0.5)
    turned = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([0, 0, -half, -half])), [-3, -4, 0])
    assert turned.rotation.quat[3] < 0
    text = submission([("a.jpg", turned), ("c.jpg", None), ("b.jpg", RESULTS[B].pose)])
    assert text.endswith("\n")
    one, other = (line.split(" ") for line in text.splitlines())
    assert [one[0], other[0]] == ["a.jpg", "b.jpg"]
    assert [float(v) for v in one[1:]] == pytest.approx([half, 0, 0, half, -3, -4, 0], abs=1e-11)
    assert [float(v) for v in other[1:]] == pytest.approx([half, 0, 0, half, 3, 4, 0], abs=1e-11)
    assert wxyz(turned)[0] > 0


def test_a_submission_of_nothing_is_empty():
    assert submission([("a.jpg", None)]) == ""


def test_mean_count():
    assert mean_count(KEYPOINTS) == 180
