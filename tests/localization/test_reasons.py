from d2eval.localization.reasons import MOST_QUERIES, without_pose


def test_queries_without_a_pose_say_why() -> None:
    rows = [
        {"name": "a.jpg", "registered": 1, "reason": ""},
        {"name": "b.jpg", "registered": 0, "reason": "too few inliers: 7 of 90, 30 are needed"},
    ]
    assert without_pose(rows, "registered") == [
        "no pose for b.jpg: too few inliers: 7 of 90, 30 are needed"
    ]


def test_of_many_the_first_ones_are_listed() -> None:
    rows = [{"name": f"{i}.jpg", "posed": 0, "reason": "no cutout"} for i in range(98)]
    lines = without_pose(rows, "posed")
    assert len(lines) == MOST_QUERIES + 1
    assert lines[-1] == f"and {98 - MOST_QUERIES} more; queries.csv has the reasons"
