from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA, needs

from d2eval.aachen.data.dataset import Dataset, load_dataset
from d2eval.aachen.data.holdout import MIN_NEIGHBORS, hold_out
from d2eval.aachen.protocol import load_benchmark
from d2eval.foundation.errors import D2EvalError

FOUNTAIN = DATA / "aachen-fountain"
QUERY = "query/night/q.jpg"


def make(centers: dict[str, tuple[float, float]], pairs: Iterable[tuple[str, str]]) -> Dataset:
    """Cameras in a plane, an image "bare" without pose, and one query that sees all."""
    names = [*centers, "bare", QUERY]
    poses = {
        name: pycolmap.Rigid3d(pycolmap.Rotation3d(), -np.array([*xy, 0.0]))
        for name, xy in centers.items()
    }
    return Dataset(
        root=Path("root"),
        images_folder=Path("root"),
        image_ids={name: k for k, name in enumerate(names, 1)},
        cameras=dict.fromkeys(names, pycolmap.Camera()),
        poses=poses,
        queries={QUERY: "night"},
        pairs=(*pairs, *((QUERY, name) for name in centers)),
        merged_pairs=0,
        references={QUERY: pycolmap.Rigid3d()},
        notes=("a note",),
        completeness="complete",
    )


def ladder(length: int) -> Dataset:
    """Cameras 0..length-1 on a line, each paired with the two before it."""
    centers = {f"db/{k}": (float(k), 0.0) for k in range(length)}
    pairs = [(f"db/{k}", f"db/{k - d}") for k in range(length) for d in (1, 2) if k >= d]
    return make(centers, pairs)


def test_the_choice_by_hand():
    # The middle of 0..10 is 5; then the ends, 5 away (0 before 10, but both end up held); then of
    # the rest the farthest that is no neighbour: 2 is paired with 0, 3 with 5: none is left apart.
    dataset = hold_out(ladder(11), 3)
    assert list(dataset.queries.items()) == [
        ("db/0", "holdout"), ("db/10", "holdout"), ("db/5", "holdout")
    ]  # fmt: skip
    assert list(dataset.references) == list(dataset.queries)
    assert dataset.references["db/10"].translation.tolist() == [-10, 0, 0]
    assert sorted(dataset.poses) == [f"db/{k}" for k in (1, 2, 3, 4, 6, 7, 8, 9)]
    assert len(dataset.pairs) == 19  # of 10 + 9, none between the three
    assert not any(QUERY in pair for pair in dataset.pairs)
    assert dataset.notes[0] == "a note"
    assert dataset.notes[1:] == (
        "3 database images held out as queries; the dataset's own 1 queries and their 11 pairs "
        "are left out",
    )


def test_neighbours_are_held_out_only_where_it_must_be():
    dataset = hold_out(ladder(11), 4)  # 0, 5 and 10 again; all others are paired with one of them
    assert {"db/0", "db/5", "db/10"} < set(dataset.queries)
    assert dataset.notes[-1] == "1 pairs of two held-out images are dropped"
    assert len(dataset.pairs) == 18


def test_an_image_apart_comes_before_a_farther_neighbour():
    centers = {f"db/{k}": (float(k), 0.0) for k in range(11)}
    pairs = [("db/5", f"db/{k}") for k in (0, 1, 9, 10)]  # 2, 3, 7 and 8 are left apart
    pairs += [(f"db/{k}", f"db/{k - 1}") for k in range(1, 11)]
    assert set(hold_out(make(centers, pairs), 2).queries) == {"db/5", "db/2"}


def test_images_that_are_not_paired_or_not_posed_are_no_candidates():
    centers = {name: (float(k), 0.0) for k, name in enumerate(["a", "b", "c", "far"])}
    dataset = make(centers, [("a", "b"), ("b", "c"), ("c", "a"), ("far", "bare"), ("far", "a")])
    assert list(hold_out(dataset, 1).queries) == ["b"]  # nearest 1.5, first of b and c
    with pytest.raises(D2EvalError, match="--holdout 2: only 1 database images can be held out"):
        hold_out(dataset, 2)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "at least one"),
        (-3, "at least one"),
        (6, "there are 6 database images with a pose"),
        (99, "there are 6"),
        (5, "--holdout 5: only [34] database images"),
    ],
)
def test_counts_that_make_no_sense(count, expected):
    with pytest.raises(D2EvalError, match=expected):
        hold_out(ladder(6), count)


def test_no_candidate_at_all():
    with pytest.raises(D2EvalError, match="only 0 database images"):
        hold_out(make({"a": (0, 0), "b": (1, 0), "c": (2, 0)}, []), 1)


@st.composite
def datasets(draw) -> Dataset:
    count = draw(st.integers(4, 12))
    names = [f"db/{k:02}" for k in range(count)]
    coordinate = st.integers(-20, 20).map(float)
    centers = {name: (draw(coordinate), draw(coordinate)) for name in names}
    every = [(a, b) for a in names for b in names if a < b]
    return make(centers, draw(st.lists(st.sampled_from(every), unique=True, min_size=count)))


@settings(max_examples=150, deadline=None)
@given(datasets(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_properties(dataset, count, random):
    try:
        held_out = hold_out(dataset, count)
    except D2EvalError:
        partners = [{a for pair in dataset.pairs if n in pair for a in pair} for n in dataset.poses]
        assert count > 1 or max(len(p - {QUERY}) for p in partners) <= MIN_NEIGHBORS  # with itself
        return
    held = set(held_out.queries)
    assert len(held) == count
    assert set(held_out.references) == held
    assert set(held_out.poses) == set(dataset.poses) - held
    for name in held:
        assert held_out.references[name] == dataset.poses[name]
        partners = {a for pair in held_out.pairs if name in pair for a in pair} - {name}
        assert not partners & held
        assert len(partners & set(held_out.poses)) >= MIN_NEIGHBORS
    left = [pair for pair in dataset.pairs if QUERY not in pair and not set(pair) <= held]
    assert list(held_out.pairs) == left
    shuffled = list(dataset.poses.items())
    random.shuffle(shuffled)
    again = Dataset(**{**vars(dataset), "poses": dict(shuffled), "pairs": dataset.pairs[::-1]})
    assert hold_out(again, count).queries == held_out.queries


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 30), st.integers(1, 3))
def test_far_apart_images_share_no_pair(length, count):
    """On a ladder there is always a choice without a pair for a third of it."""
    count = min(count, length // 6)
    held_out = hold_out(ladder(length), count)
    assert len(held_out.pairs) == 2 * length - 3


@needs(FOUNTAIN)
def test_the_real_fountain():
    dataset = load_dataset(FOUNTAIN, load_benchmark())
    held_out = hold_out(dataset, 2)
    assert list(held_out.queries) == ["db/0004.jpg", "db/0010.jpg"]  # near the mean; an end
    assert len(held_out.pairs) == 27  # of 28, all of 8 with all
    assert set(held_out.images) == set(dataset.poses)
    with pytest.raises(D2EvalError, match="only 6 database images can be held out"):
        hold_out(dataset, 7)
