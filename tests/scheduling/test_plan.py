"""How far a run is, from its plan and the pace of the stage that is under way."""

import pytest

from d2eval.scheduling.plan import Planned, left_in_all

FEATURES, MATCHES = Planned("features", 14, 4, 60.0), Planned("matches", 76, 0, 300.0)
UNKNOWN, SCORES = Planned("features", 14), Planned("scores", 76)
MADE = Planned("matches", 5, 5)


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
        ([UNKNOWN, MATCHES], "features", None, "stage 1 of 2, over 2:30 left in all"),
        ([UNKNOWN, SCORES], "features", None, "stage 1 of 2"),
        ([FEATURES], "poses", 9.0, ""),
        ([], "features", 9.0, ""),
    ],
)  # fmt: skip
def test_what_is_left_in_all(stages, stage, seconds, text):
    assert left_in_all(stages, stage, seconds, workers=2) == text
