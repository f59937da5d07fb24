"""The summary that a command prints."""

import math

from d2eval.evaluation.summary import aligned


def test_shares_and_areas_have_three_places():
    row = {"split": "i", "pairs": 15, "mean_inliers": 663.94, "h_auc_1px": 0.3781, "auc_5deg": 0.5,
           "mma_3px": math.nan}  # fmt: skip
    titles = {name: name for name in row}
    assert aligned([row], titles)[1].split() == ["i", "15", "663.9", "0.378", "0.500", "-"]
