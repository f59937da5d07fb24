import numpy as np
import pytest

from d2eval import pairs
from d2eval.features import make_features
from d2eval.matching import VERSION
from d2eval.pairs import match_features, matcher_settings
from d2eval.resources import Cost
from d2eval.store import Store, StoredFeatures


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


def test_settings_say_all_that_decides():
    given = {"name": "mutual-nn"}
    assert matcher_settings(given) == {"name": "mutual-nn", "version": VERSION, "top_k": None}
    assert matcher_settings(given, 512)["top_k"] == 512
    assert given == {"name": "mutual-nn"}


def test_matches_are_made_once(store, monkeypatch):
    matcher = matcher_settings({"name": "mutual-nn"})
    made = match_features(FIRST, OTHER, store, matcher, "cpu")
    assert made.tolist() == MATCHES
    monkeypatch.delattr(pairs, "mutual_nearest_neighbors")
    again = match_features(FIRST, OTHER, store, matcher, "cpu")
    assert again.dtype == made.dtype == np.int32
    assert again.tolist() == MATCHES


@pytest.mark.parametrize(
    ("first", "other", "top_k"), [(OTHER, FIRST, None), (FIRST, FIRST, None), (FIRST, OTHER, 2)]
)
def test_other_work_is_made_anew(store, first, other, top_k, monkeypatch):
    match_features(FIRST, OTHER, store, matcher_settings({"name": "mutual-nn"}), "cpu")
    monkeypatch.delattr(pairs, "mutual_nearest_neighbors")
    with pytest.raises(NameError):
        match_features(first, other, store, matcher_settings({"name": "mutual-nn"}, top_k), "cpu")


def test_images_without_features_match_nothing(store):
    matcher = matcher_settings({"name": "mutual-nn"})
    none = stored(np.zeros((0, 2)), "none")
    assert match_features(FIRST, none, store, matcher, "cpu").shape == (0, 2)
    assert match_features(FIRST, none, store, matcher, "cpu").shape == (0, 2)
