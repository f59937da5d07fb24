"""The contract that every matcher keeps: those of this repository, the template, and whatever
installed packages add. A new matcher needs no test of its own to be held to it."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
from option_contract import assert_options

from d2eval.cli.evaluate import Command
from d2eval.cli.matchers import add_matcher_options
from d2eval.contracts.citations import papers_of
from d2eval.contracts.features import Features
from d2eval.contracts.matcher import Matcher, matcher_class, matches_of
from d2eval.contracts.method import Runtime
from d2eval.contracts.registry import registered
from d2eval.contracts.weights import NOT_STATED
from d2eval.foundation.files.paths import default_cache

TEMPLATE = "methods.TEMPLATE_MATCHER:MyMatcher"
MATCHERS = [*registered("matchers"), TEMPLATE]
SIZE = (140, 76)


@pytest.fixture(scope="module", params=MATCHERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def matcher(name: str) -> Matcher:
    return build(name)


def build(name: str) -> Matcher:
    # One with weights for each method takes those of this one, if it has them at all.
    cls, runtime = matcher_class(name), Runtime(cache=default_cache(), method="aliked")
    state = cls.weights_state(runtime)
    if state.startswith("missing"):
        pytest.skip(f"weights {state.partition(';')[0]}")
    return cls(cls.Config(), runtime)


def features(n: int, seed: int, optional: bool = True) -> Features:
    random = np.random.default_rng(seed)
    descriptors = random.normal(size=(n, 128))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        random.uniform(0, np.array(SIZE) - 1, (n, 2)), random.random(n), descriptors, SIZE,
        random.uniform(1, 9, n) if optional else None,
        random.uniform(-3, 3, n) if optional else None,
    )  # fmt: skip


def taken(of: Features, order: np.ndarray) -> Features:
    arrays = {
        field.name: getattr(of, field.name)[order]
        for field in dataclasses.fields(of)
        if isinstance(getattr(of, field.name), np.ndarray)
    }
    return dataclasses.replace(of, **arrays)


def test_what_it_says_of_itself(name):
    cls = matcher_class(name)
    assert cls.description.strip()
    assert "\n" not in cls.description
    assert cls.license != NOT_STATED.name
    assert cls.papers is not None
    assert len(papers_of(cls)) == len(cls.papers)
    assert isinstance(cls.version, int)
    assert cls.weights_state(Runtime(cache=default_cache())).strip()


def test_its_options(name):
    assert_options(matcher_class(name).Config)


def test_its_options_are_offered(name):
    parser = argparse.ArgumentParser(conflict_handler="error")
    Command("hpatches").add_arguments(parser)
    add_matcher_options(parser, name)
    given = vars(parser.parse_args(["--method", "x"]))
    config = matcher_class(name).Config
    assert config(**{f.name: given[f"matcher_{f.name}"] for f in dataclasses.fields(config)}) == (
        config()
    )


def test_its_identity_can_be_stored(name, matcher):
    identity = matcher.identity(name, matcher_class(name).Config())
    text = json.dumps(dataclasses.asdict(identity), sort_keys=True)
    assert json.loads(text)["method"] == name
    assert len(identity.key) == 16
    assert identity == build(name).identity(name, matcher_class(name).Config())


@pytest.mark.parametrize("sizes", [(90, 70), (70, 90), (1, 30), (30, 1), (1, 1), (2, 2), (2000, 3)])
@pytest.mark.parametrize("optional", [True, False])
def test_matches_are_valid(matcher, sizes, optional):
    first, second = (features(n, seed, optional) for seed, n in enumerate(sizes))
    found = matches_of(matcher, first, second)  # which raises where they aren't
    assert (found.dtype, found.shape[1]) == (np.int32, 2)


def test_images_without_features_have_no_matches(matcher):
    none, some = features(0, 0), features(5, 1)
    for pair in ((none, some), (some, none), (none, none)):
        assert matches_of(matcher, *pair).shape == (0, 2)


def test_the_same_features_give_the_same_matches(name, matcher):
    first, second = features(60, 1), features(50, 2)
    before = [array.copy() for array in (first.descriptors, second.keypoints)]
    found = matches_of(matcher, first, second)
    matches_of(matcher, second, features(9, 3))
    assert np.array_equal(matches_of(matcher, first, second), found)
    assert np.array_equal(matches_of(build(name), first, second), found)
    assert np.array_equal(first.descriptors, before[0])
    assert np.array_equal(second.keypoints, before[1])


def test_most_of_a_shuffled_copy_is_found_again(matcher):
    first, order = features(80, 4), np.random.default_rng(5).permutation(80)
    found = matches_of(matcher, first, taken(first, order))
    right = order[found[:, 1]] == found[:, 0]
    assert right.sum() > 40
    assert right.mean() > 0.9
