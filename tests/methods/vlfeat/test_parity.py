"""Counts of Hessian-affine RootSIFT on real sequences, against the D2-Net authors' results."""

import numpy as np
import pytest
from official_counts import COUNTS, REAL, SEQUENCES, check_counts, row_of
from places import REFERENCE, needs

from d2eval.contracts.method import Runtime
from methods.vlfeat import HessianAffineRootSIFT

CURVES = REFERENCE / "hpatches_curves.csv"


@pytest.fixture(scope="module")
def method():
    return HessianAffineRootSIFT(HessianAffineRootSIFT.Config(), Runtime())


@needs(SEQUENCES, COUNTS)
def test_counts_equal_the_authors_on_a_pair(method):
    check_counts(method, "hesaff", "v_dogman", images=2)


@pytest.mark.slow
@needs(SEQUENCES, COUNTS, CURVES)
def test_counts_equal_the_authors_on_all_and_accuracy_is_near_their_curve(method):
    accuracies = [value for name in REAL for value in check_counts(method, "hesaff", name)]
    published = float(row_of(CURVES, method="hesaff", split="v")["mma_3px"])
    # Over 56 sequences, of which these are four
    assert abs(np.mean(accuracies) - published) < 0.1
