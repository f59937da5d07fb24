"""Methods whose weights have to be fetched, where they are: counts beside the authors' results."""

import pytest
from official_counts import COUNTS, REAL, SEQUENCES, check_counts
from places import needs

from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.files.paths import default_cache

OFFICIAL = {  # method -> what the results call it
    "delf": "delf",
    "delf_new": "delf-new",
    "lfnet": "lf-net",
    "superpoint": "superpoint",
    "hesaffnet_hardnet": "hesaffnet",
}


@pytest.mark.slow
@needs(SEQUENCES, COUNTS)
@pytest.mark.parametrize("sequence", REAL)
@pytest.mark.parametrize("name", OFFICIAL)
def test_counts_are_near_the_authors(name, sequence):
    cls, runtime = method_class(name), Runtime(cache=default_cache())
    state = cls.weights_state(runtime)
    if state.startswith("missing"):
        pytest.skip(state)
    method = cls(cls.Config(), runtime)
    check_counts(method, OFFICIAL[name], sequence, features_within=0.02, matches_within=0.05)
