"""By hand; a homography of InLoc's needs more than 10 inliers, a dense one more than 400."""

import math
from dataclasses import replace

import pycolmap
import pytest
from inloc_folder import CUTOUTS, Q1, Q2, InlocFolder

from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Reference, load_dataset
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.protocol import load_benchmark
from d2eval.inloc.reasons import reasons
from d2eval.inloc.scores import query_rows
from d2eval.inloc.strategies import STRATEGIES

BENCHMARK = load_benchmark()
HLOC = load_benchmark("inloc_hloc")


@pytest.fixture
def dataset(tmp_path):
    loaded = load_dataset(InlocFolder(tmp_path / "data").write(), BENCHMARK)
    return replace(loaded, retrieval={query: [Retrieved(CUTOUTS[0], 0.5)] for query in (Q1, Q2)})


def lost(matches: int, verified: int, points: int, inliers: int) -> Candidate:
    return Candidate(
        Q1, CUTOUTS[0], 0.5, matches, verified, 0, points, inliers, None, 0.5, math.nan
    )


@pytest.mark.parametrize(
    ("strategy", "counts", "reason"),
    [
        ("sparse", (7, 0, 0, 0), "too few matches: 7, 11 are needed"),
        ("sparse", (40, 0, 0, 0), "too few verified matches: 0 of 40 matches, 11 are needed"),
        ("sparse", (40, 12, 2, 0),
         "too few matches with depth: 2 of 12 verified matches, 3 are needed"),
        ("sparse", (40, 12, 9, 0), "too few inliers: 0 of 9 matches with depth, 3 are needed"),
        ("dense", (900, 350, 0, 0), "too few verified matches: 350 of 900 matches, 401 are needed"),
        ("direct", (2, 0, 0, 0), "too few matches: 2, 3 are needed"),
        ("direct", (40, 0, 1, 0), "too few matches with depth: 1 of 40 matches, 3 are needed"),
        ("merge", (40, 0, 0, 0), "too few verified matches: 0 of 40 matches, 3 are needed"),
        ("pooled", (40, 0, 30, 3), "too few inliers: 3 of 30 matches with depth, 4 are needed"),
    ],
)  # fmt: skip
def test_the_first_count_that_is_too_small(dataset, strategy, counts, reason) -> None:
    protocol = HLOC if strategy == "pooled" else BENCHMARK
    assert reasons(dataset, {Q1: lost(*counts)}, protocol, STRATEGIES[strategy])[Q1] == reason


def test_queries_without_a_candidate_and_with_a_pose(dataset) -> None:
    references = {**dataset.references, "IMG_9.JPG": Reference("DUC1", pycolmap.Rigid3d())}
    posed = replace(lost(40, 30, 20, 10), pose=pycolmap.Rigid3d())
    data = replace(dataset, references=references, retrieval={Q1: dataset.retrieval[Q1]})
    found = reasons(data, {Q1: posed}, BENCHMARK, STRATEGIES["sparse"])
    assert found == {
        "IMG_9.JPG": "no image of the query is there", Q2: "no cutout was retrieved"
    }  # fmt: skip
    rows = {row["name"]: row["reason"] for row in query_rows(data, {Q1: posed}, found)}
    assert rows == {Q1: "", **found}
    # hloc's protocol leaves out cutouts of fewer than 20 matches
    found = reasons(data, {Q1: None}, HLOC, STRATEGIES["pooled"])
    assert found[Q1] == "too few matches: no cutout has 20"
