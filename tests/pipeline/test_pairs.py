import numpy as np
import pytest

from d2eval.contracts.features import make_features
from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline import pairs
from d2eval.pipeline.pairs import PairMatcher, match_features, open_matcher
from d2eval.pipeline.store import Store, StoredFeatures

MNN = MatcherChoice("mnn")


def stored(descriptors, key):
    n = len(descriptors)
    features = make_features(np.ones((n, 2)), np.ones(n), descriptors, (4, 4))
    return StoredFeatures(features, key, Cost())


def angles(*degrees):
    turned = np.deg2rad(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1)


# By hand: 0 and 12 degrees are each other's nearest, 90 and 80, too; 170 is nobody's.
FIRST, OTHER = stored(angles(0, 90, 170), "f"), stored(angles(80, 12), "o")
MATCHES = [[0, 1], [1, 0]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def opened(name="mnn", **options) -> PairMatcher:
    return open_matcher(MatcherChoice(name, options), MNN, Runtime())


def test_matches_are_made_once(store, monkeypatch):
    made = match_features(FIRST, OTHER, store, opened())
    assert made.tolist() == MATCHES
    monkeypatch.delattr(pairs, "matches_of")
    again = match_features(FIRST, OTHER, store, opened())
    assert again.dtype == made.dtype == np.int32
    assert again.tolist() == MATCHES


@pytest.mark.parametrize(
    ("first", "other", "matcher", "top_k"),
    [
        (OTHER, FIRST, opened(), None),
        (FIRST, FIRST, opened(), None),
        (FIRST, OTHER, opened(), 2),
        (FIRST, OTHER, opened(max_distance=1.0), None),
        (FIRST, OTHER, opened("mnn_ratio"), None),
        (FIRST, OTHER, opened("methods.matchers.mnn:MutualNearest"), None),
    ],
)
def test_other_work_is_made_anew(store, first, other, matcher, top_k, monkeypatch):
    match_features(FIRST, OTHER, store, opened())
    monkeypatch.delattr(pairs, "matches_of")
    with pytest.raises(NameError):
        match_features(first, other, store, matcher, top_k)


def test_another_version_of_the_shared_code_is_other_work(store, monkeypatch):
    match_features(FIRST, OTHER, store, opened())
    monkeypatch.setattr(pairs, "VERSION", pairs.VERSION + 1)
    monkeypatch.delattr(pairs, "matches_of")
    with pytest.raises(NameError):
        match_features(FIRST, OTHER, store, opened())


def test_images_without_features_match_nothing(store):
    none = stored(np.zeros((0, 2)), "none")
    for _ in range(2):
        assert match_features(FIRST, none, store, opened()).shape == (0, 2)
        assert match_features(none, FIRST, store, opened()).shape == (0, 2)


def test_the_manifest_says_all_that_decides():
    described = opened("ratio", ratio=0.7).describe()
    assert described["name"] == "ratio"
    assert described["config"] == {"ratio": 0.7}
    assert described["version"] == 1
    assert described["source"]["sha256"] == ""
    assert not described["default"]


def test_the_default_is_what_the_protocol_names():
    strict = MatcherChoice("mnn", {"max_distance": 0.7})
    assert open_matcher(None, strict, Runtime()).is_default
    assert open_matcher(MatcherChoice("mnn", {"max_distance": 0.7}), strict, Runtime()).is_default
    assert not open_matcher(MNN, strict, Runtime()).is_default
    assert open_matcher(None, strict, Runtime()).headlines() == []
    assert open_matcher(MNN, strict, Runtime()).headlines() == ["matcher mnn: max_distance 2.0"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([[0, 1, 2]], "int64 (1, 3), not integers (M, 2)"),
        ([[0.0, 1.0]], "float64 (1, 2), not integers (M, 2)"),
        ([], "float64 (0,), not integers (M, 2)"),
        ([[0, 2]], "an index is none of 3 and 2 features"),
        ([[3, 0]], "an index is none of 3 and 2 features"),
        ([[-1, 0]], "an index is none of 3 and 2 features"),
        ([[0, 1], [1, 0], [0, 1]], "a pair stands twice"),
    ],
)
def test_matches_that_break_the_contract(store, monkeypatch, found, says):
    matcher = opened()
    monkeypatch.setattr(type(matcher.matcher), "match", lambda *_: found)
    with pytest.raises(D2EvalError) as caught:
        match_features(FIRST, OTHER, store, matcher)
    assert str(caught.value) == f"matcher mnn broke its contract: {says}"
    monkeypatch.undo()
    assert match_features(FIRST, OTHER, store, matcher).tolist() == MATCHES  # none was stored
