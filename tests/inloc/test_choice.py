"""The choice among a query's candidates, against lists worked out by hand."""

import math

from d2eval.inloc.choice import merge, rerank
from d2eval.inloc.data.candidates import Candidate

INF, NAN = math.inf, math.nan


def candidate(cutout: str, pv_score: float, inliers: int = 0) -> Candidate:
    """``inliers`` tells candidates of one cutout apart."""
    return Candidate("q", cutout, 0.5, 9, 8, 1, 7, inliers, None, 8.5, pv_score)


def names(candidates: list[Candidate]) -> list[str]:
    return [item.cutout for item in candidates]


def test_higher_scores_of_the_verification_come_first_and_equal_ones_stay():
    listed = [
        candidate(name, score)
        for name, score in [("a", 2.0), ("b", INF), ("c", 0.0), ("d", 3.0), ("e", 2.0), ("f", INF)]
    ]
    assert names(rerank(listed)) == ["b", "f", "d", "a", "e", "c"]


def test_without_verification_nothing_moves():
    listed = [candidate(name, NAN) for name in "cab"]
    assert rerank(listed) == listed
    assert rerank([]) == []


def test_scores_are_summed_by_cutout():
    first = [candidate("a", 3.0), candidate("b", 2.5), candidate("c", 0.5)]
    second = [candidate("d", 4.0), candidate("b", 2.0), candidate("c", 1.5)]
    merged = merge(first, second)
    assert [(item.cutout, item.score) for item in merged] == [
        ("b", 4.5), ("d", 4.0), ("a", 3.0), ("c", 2.0),
    ]  # fmt: skip
    # What was measured of each pose stays its own.
    assert [item.pv_score for item in merged] == [2.5, 4.0, 3.0, 1.5]


def test_of_a_cutout_in_both_lists_the_better_pose_is_taken():
    first = [candidate("a", 1.0, 10), candidate("b", 3.0, 10), candidate("c", 2.0, 10)]
    second = [candidate("a", 1.5, 20), candidate("b", 2.0, 20), candidate("c", 2.0, 20)]
    taken = {item.cutout: item.inliers for item in merge(first, second)}
    assert taken == {"a": 20, "b": 10, "c": 20}  # equal: the second list's, as merge_files.m:68
    turned = {item.cutout: item.inliers for item in merge(second, first)}
    assert turned == {"a": 20, "b": 10, "c": 10}


def test_infinite_and_zero_scores_are_merged_too():
    first = [candidate("a", 9.0, 10), candidate("b", 0.0, 10), candidate("c", 0.0, 10)]
    second = [candidate("b", INF, 20), candidate("c", 0.0, 20)]
    merged = merge(first, second)
    assert [(item.cutout, item.score, item.inliers) for item in merged] == [
        ("b", INF, 20), ("a", 9.0, 10), ("c", 0.0, 20),
    ]  # fmt: skip


def test_of_equal_sums_the_first_cutout_by_name_is_taken():
    # keys(containers.Map) are in the order of their characters, and merge_files.m:34 takes the
    # first of the largest: 1.5 + .5 = 2 = 2, and capitals come before small letters.
    first, second = [candidate("c", 2.0), candidate("a", 1.5)], [candidate("a", 0.5)]
    assert names(merge(first, second)) == ["a", "c"]
    assert names(merge(second, first)) == ["a", "c"]
    listed = [candidate(name, 1.0) for name in ("b/2", "b/10", "a", "B")]
    assert names(merge(listed, [])) == ["B", "a", "b/10", "b/2"]


def test_scores_that_are_all_zero_have_an_order():
    first = [candidate("b", 0.0, 10), candidate("c", 0.0, 10)]
    second = [candidate("a", 0.0, 20), candidate("b", 0.0, 20)]
    merged = merge(first, second)
    assert [(item.cutout, item.inliers) for item in merged] == [("a", 20), ("b", 20), ("c", 10)]


def test_a_list_may_be_empty():
    listed = [candidate("b", 1.0), candidate("a", 2.0)]
    assert names(merge([], listed)) == names(merge(listed, [])) == ["a", "b"]
    assert merge([], []) == []
