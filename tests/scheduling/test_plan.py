"""How far a run is, from its plan and the pace of the stage that is under way."""

import pytest

from d2eval.scheduling.plan import Planned, left_in_all

FEATURES, MATCHES = Planned("features", 14, 4, 60.0), Planned("matches", 76, 0, 300.0)
UNKNOWN, SCORES = Planned("features", 14), Planned("scores", 76)
MADE = Planned("matches", 5, 5)
ALONE = Planned("triangulation", 1, 0, 50.0, is_shared=False)


@pytest.mark.parametrize(
    ("stages", "stage", "seconds", "text"),
    [
        # 10 s by the pace, and 300 s of one process for two workers
        ([FEATURES, MATCHES], "features", 10.0, "stage 1 of 2, about 2:40 left in all"),
        # without a pace as planned: 60 s / 2 + 300 s / 2
        ([FEATURES, MATCHES], "features", None, "stage 1 of 2, about 3:00 left in all"),
        ([FEATURES, MATCHES, SCORES], "matches", 70.0, "stage 2 of 3, over 1:10 left in all"),
        # what is stored takes nothing, whether its cost is on record or not
        ([FEATURES, MADE], "features", 9.0, "stage 1 of 2, about 0:09 left in all"),
        # but to be read, which is what is under way
        ([MADE, FEATURES], "matches", 20.0, "stage 1 of 2, about 0:50 left in all"),
        ([MADE, UNKNOWN], "matches", 20.0, "stage 1 of 2, over 0:20 left in all"),
        ([MADE, FEATURES], "matches", None, "stage 1 of 2, over 0:30 left in all"),
        ([MADE, MADE], "matches", None, "stage 1 of 2"),
        # what the run does by itself isn't divided
        ([FEATURES, ALONE], "features", 10.0, "stage 1 of 2, about 1:00 left in all"),
        ([FEATURES, ALONE], "triangulation", None, "stage 2 of 2, about 0:50 left in all"),
        ([UNKNOWN, MATCHES], "features", None, "stage 1 of 2, over 2:30 left in all"),
        ([UNKNOWN, SCORES], "features", None, "stage 1 of 2"),
        ([FEATURES], "poses", 9.0, ""),
        ([], "features", 9.0, ""),
    ],
)  # fmt: skip
def test_what_is_left_in_all(stages, stage, seconds, text):
    assert left_in_all(stages, stage, seconds, workers=2) == text


def test_what_is_planned_of_a_stage_grows_less_with_time():
    stages = [ALONE, FEATURES]
    for elapsed, text in ((0, "1:20"), (20, "1:00"), (70, "0:30")):
        said = left_in_all(stages, "triangulation", None, 2, elapsed)
        assert said == f"stage 1 of 2, about {text} left in all"
    assert (
        left_in_all(stages, "triangulation", 40.0, 2, 70) == "stage 1 of 2, about 1:10 left in all"
    )
