import math
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from inloc_folder import CUTOUTS, POSES, Q1, Q2, InlocFolder

from d2eval.foundation.formats.poses import read_poses
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Dataset, Reference, load_dataset
from d2eval.inloc.protocol import load_benchmark
from d2eval.inloc.scores import candidate_error, count_localized, query_rows, summarize
from d2eval.localization.submission import submission
from d2eval.metrics.intervals import wilson_interval
from d2eval.metrics.poses import Threshold

IDENTITY = pycolmap.Rigid3d()


def moved(metres: float, degrees: float = 0.0) -> pycolmap.Rigid3d:
    """A pose that is so far off the identity: the camera's centre lies at x = metres."""
    angle = math.radians(degrees)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    return pycolmap.Rigid3d(pycolmap.Rotation3d(turn), turn @ [-metres, 0, 0])


def candidate(pose: pycolmap.Rigid3d | None, cutout: str = CUTOUTS[0]) -> Candidate:
    return Candidate(Q1, cutout, 0.5, 40, 30, 2, 25, 20, pose, 30.5, math.nan)


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(InlocFolder(tmp_path / "data").write(), load_benchmark())


def scored(dataset: Dataset, errors: list[pycolmap.Rigid3d | None]) -> Dataset:
    """With one reference at the identity for each of ``errors``, alternately of both floors."""
    floors = ("DUC1", "DUC2")
    names = [f"IMG_{k:04}.JPG" for k in range(len(errors))]
    references = {name: Reference(floors[k % 2], IDENTITY) for k, name in enumerate(names)}
    return replace(dataset, references=references, queries=dict.fromkeys(names, dataset.root))


def test_errors():
    reference = Reference("DUC1", IDENTITY)
    position, rotation = candidate_error(candidate(moved(0.3, 4)), reference)
    assert (position, rotation) == pytest.approx((0.3, 4))
    infinite = (math.inf, math.inf)
    assert candidate_error(None, reference) == infinite
    assert candidate_error(candidate(None), reference) == infinite
    assert candidate_error(candidate(IDENTITY, CUTOUTS[3]), reference) == infinite
    assert all(map(math.isnan, candidate_error(candidate(IDENTITY), None)))


@pytest.mark.parametrize(
    ("position", "rotation", "expected"),
    [
        (0.25, 0, 0),
        (0.2499999, 0, 1),
        (0.1, 10, 1),
        (0.1, 10.000001, 0),
        (0, 180, 0),
        (math.inf, math.inf, 0),
        (math.nan, math.nan, 0),
    ],
)
def test_strictly_below_the_metres_and_no_more_than_the_degrees(position, rotation, expected):
    assert count_localized([(position, rotation)], Threshold(0.25, 10.0)) == expected


def test_rows(dataset):
    chosen = {Q1: candidate(moved(0.5)), Q2: None}
    references = {**dataset.references, "IMG_0003.JPG": Reference("DUC2", IDENTITY)}
    del references[Q2]
    rows = query_rows(replace(dataset, references=references), chosen, {})
    first, second, third = rows
    assert [row["name"] for row in rows] == [Q1, Q2, "IMG_0003.JPG"]
    assert [row["scored"] for row in rows] == [1, 0, 1]
    assert [row["posed"] for row in rows] == [1, 0, 0]
    assert (first["floor"], first["cutout"], first["found_floor"]) == ("DUC1", CUTOUTS[0], "DUC1")
    assert (first["matches"], first["verified"], first["inliers"]) == (40, 30, 20)
    expected = np.linalg.norm(np.array([0.5, 0, 0]) + POSES["DUC1"][Q1][:, 3])
    assert first["position_m"] == pytest.approx(expected)
    assert (first["tx"], first["ref_tz"]) == ("-0.5", "3")
    assert (second["floor"], second["cutout"], second["matches"], second["qw"]) == (None,) * 4
    assert math.isnan(second["position_m"])
    assert (third["floor"], third["position_m"]) == ("DUC2", math.inf)
    assert first.keys() == second.keys() == third.keys()


def test_the_summary_pools_the_floors_and_lists_each(dataset):
    poses = [moved(0.1), moved(0.3), moved(0.1, 10.5), moved(0.7), None, moved(0.04, 4)]
    data = scored(dataset, poses)
    chosen = {
        name: candidate(pose, CUTOUTS[0] if reference.floor == "DUC1" else CUTOUTS[3])
        for (name, reference), pose in zip(data.references.items(), poses, strict=True)
    }
    chosen["IMG_0001.JPG"] = candidate(poses[1], CUTOUTS[0])  # of the other floor
    del chosen["IMG_0004.JPG"]
    summary = summarize(query_rows(data, chosen, {}), load_benchmark())
    localized = {(r["floor"], r["position_m"]): (r["localized"], r["queries"]) for r in summary}
    assert localized == {
        ("all", 0.25): (2, 6), ("all", 0.5): (2, 6), ("all", 1.0): (3, 6),
        ("all", 0.05): (1, 6), ("all", 0.1): (1, 6),
        ("DUC1", 0.25): (1, 3), ("DUC1", 0.5): (1, 3), ("DUC1", 1.0): (1, 3),
        ("DUC1", 0.05): (0, 3), ("DUC1", 0.1): (0, 3),
        ("DUC2", 0.25): (1, 3), ("DUC2", 0.5): (1, 3), ("DUC2", 1.0): (2, 3),
        ("DUC2", 0.05): (1, 3), ("DUC2", 0.1): (1, 3),
    }  # fmt: skip
    first = summary[0]
    low, high = wilson_interval(2, 6)
    assert first["percent"] == pytest.approx(100 / 3)
    assert (first["percent_low"], first["percent_high"]) == pytest.approx((100 * low, 100 * high))
    assert first["posed"] == 5
    assert first["median_position_m"] == pytest.approx(0.1)  # of .04, .1, .1 and .7 metres
    assert first["median_rotation_deg"] == pytest.approx(2)


def test_references_without_a_query_stay_in_the_denominator(dataset):
    data = replace(scored(dataset, [None] * 4), queries={})
    summary = summarize(query_rows(data, {}, {}), load_benchmark())
    assert {(row["floor"], row["queries"], row["localized"]) for row in summary} == {
        ("all", 4, 0), ("DUC1", 2, 0), ("DUC2", 2, 0)
    }  # fmt: skip


def test_queries_without_a_reference_are_not_scored(dataset):
    data = replace(dataset, references={Q2: Reference("DUC1", IDENTITY)})
    chosen = {Q1: candidate(IDENTITY), Q2: candidate(moved(0.1))}
    summary = summarize(query_rows(data, chosen, {}), load_benchmark())
    assert {row["floor"] for row in summary} == {"all", "DUC1"}
    assert {row["queries"] for row in summary} == {1}


def test_without_references_there_are_no_scores(dataset):
    data = replace(dataset, references={})
    summary = summarize(query_rows(data, {Q1: candidate(IDENTITY)}, {}), load_benchmark())
    assert [row["floor"] for row in summary] == ["all"] * 5
    assert {(row["queries"], row["posed"], row["localized"]) for row in summary} == {(2, 1, None)}


def test_the_submission(tmp_path):
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d([0.5, 0.5, 0.5, -0.5]), [1, -2, 0.25])
    text = submission([(Q2, pose), (Q1, None)])
    assert text == f"{Q2} 0.5 -0.5 -0.5 -0.5 1 -2 0.25\n"
    path = tmp_path / "poses.txt"
    path.write_text(text)
    np.testing.assert_allclose(read_poses(path)[Q2].matrix(), pose.matrix())
