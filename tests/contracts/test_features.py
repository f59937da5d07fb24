import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2eval.contracts.features import Features, InvalidFeaturesError, make_features, no_features
from d2eval.foundation.errors import D2EvalError

SIZE = (40, 30)


def valid(n: int = 4, dim: int = 3, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, dim))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return {
        "keypoints": rng.uniform((0, 0), (39, 29), (n, 2)).astype(np.float32),
        "scores": rng.random(n).astype(np.float32),
        "descriptors": descriptors.astype(np.float32),
        "image_size": SIZE,
        "scales": rng.uniform(1, 9, n).astype(np.float32),
        "orientations": rng.uniform(-3, 3, n).astype(np.float32),
        "affine_shapes": rng.normal(size=(n, 2, 2)).astype(np.float32),
    }


def test_a_record_keeps_what_it_is_given():
    given_arrays = valid()
    features = Features(**given_arrays)
    assert len(features) == 4
    for name in (
        "keypoints", "scores", "descriptors", "scales", "orientations", "affine_shapes"
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(features, name), given_arrays[name])
        assert getattr(features, name).dtype == np.float32
    assert features.image_size == SIZE
    with pytest.raises(dataclasses.FrozenInstanceError):
        features.scores = np.zeros(4)


def test_lists_and_doubles_become_float32_in_c_order():
    record = valid()
    record["keypoints"] = np.asfortranarray(record["keypoints"].astype(np.float64))
    record["scores"] = record["scores"].tolist()
    record["scales"] = None
    features = Features(**record)
    assert features.keypoints.flags.c_contiguous
    assert features.keypoints.dtype == features.scores.dtype == np.float32
    assert features.scales is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("keypoints", np.zeros((4, 3)), r"keypoints are \(4, 3\), not \(N, 2\)"),
        ("keypoints", np.zeros(4), r"keypoints are \(4,\)"),
        ("keypoints", np.zeros((5, 2)), r"not \(5,\)"),
        ("scores", np.zeros((4, 1)), r"scores are \(4, 1\), not \(4,\)"),
        ("scores", np.zeros(3), r"scores are \(3,\)"),
        ("descriptors", np.zeros((3, 3)), r"descriptors are \(3, 3\), not \(4, D\)"),
        ("descriptors", np.zeros(4), r"descriptors are \(4,\)"),
        ("scales", np.zeros(5), r"scales are \(5,\)"),
        ("scales", np.zeros((4, 1)), r"scales are \(4, 1\)"),
        ("orientations", np.zeros(5), r"orientations are \(5,\)"),
        ("affine_shapes", np.zeros((4, 3)), r"affine_shapes are \(4, 3\), not \(4, 2, 2\)"),
        ("scores", ["a", "b", "c", "d"], "scores is not an array of numbers"),
        ("descriptors", [[1.0], [1.0, 2.0]], "descriptors is not an array of numbers"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, value, says):
    with pytest.raises(InvalidFeaturesError, match=says) as caught:
        Features(**{**valid(), name: value})
    assert isinstance(caught.value, D2EvalError)


@pytest.mark.parametrize(
    "name", ["keypoints", "scores", "descriptors", "scales", "orientations", "affine_shapes"]
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name, bad):
    record = valid()
    record[name] = record[name].copy()
    record[name].flat[2] = bad
    with pytest.raises(InvalidFeaturesError, match=f"{name} holds NaN or infinite"):
        Features(**record)


@pytest.mark.parametrize(
    ("point", "fits"),
    [
        # A 40x30 image covers -0.5..39.5 by -0.5..29.5, counted from the first pixel's centre.
        ((-0.5, -0.5), True),
        ((39.5, 29.5), True),
        ((-0.51, 3), False),
        ((3, -0.51), False),
        ((39.51, 3), False),
        ((3, 29.51), False),
        ((29.6, 39.0), False),  # x and y swapped
    ],
)
def test_keypoints_lie_inside_the_image(point, fits):
    record = valid()
    record["keypoints"][1] = point
    if fits:
        np.testing.assert_array_equal(Features(**record).keypoints[1], point)
    else:
        with pytest.raises(InvalidFeaturesError, match="outside the image of 40x30"):
            Features(**record)


@pytest.mark.parametrize(
    ("factor", "fits"), [(1.0005, True), (0.9995, True), (1.01, False), (0, False)]
)
def test_descriptors_are_normalised(factor, fits):
    record = valid()
    record["descriptors"][3] *= factor
    if fits:
        Features(**record)
    else:
        with pytest.raises(InvalidFeaturesError, match="not L2-normalised"):
            Features(**record)


def test_top_k_by_hand():
    record = valid(5)
    record["scores"] = np.array([0.5, 0.9, 0.1, 0.9, 0.7], np.float32)
    features = Features(**record)
    best = features.top_k(3)
    # 0.9 twice, in their order, then 0.7
    for name in ("keypoints", "descriptors", "scales", "orientations", "affine_shapes"):
        np.testing.assert_array_equal(getattr(best, name), record[name][[1, 3, 4]])
    np.testing.assert_array_equal(best.scores, np.array([0.9, 0.9, 0.7], np.float32))
    assert best.image_size == SIZE


def test_top_k_that_cuts_nothing_keeps_the_order():
    features = Features(**valid())
    for k in (None, 4, 5):
        np.testing.assert_array_equal(features.top_k(k).keypoints, features.keypoints)


def test_top_k_without_scales():
    assert Features(**{**valid(), "scales": None}).top_k(2).scales is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 40))
def test_top_k_takes_the_highest_and_of_equal_ones_the_first(scores, k):
    n = len(scores)
    features = Features(
        np.column_stack([np.arange(n), np.zeros(n)]),
        np.array(scores, np.float32),
        np.ones((n, 1)),
        (64, 1),
    )
    left, expected = list(range(n)), []  # take the best of what is left, k times
    if k >= n:
        expected = left
    else:
        for _ in range(k):
            best = left[0]
            for index in left:
                if scores[index] > scores[best]:
                    best = index
            expected.append(best)
            left.remove(best)
    assert features.top_k(k).keypoints[:, 0].astype(int).tolist() == expected


def test_the_corner_origin_is_half_a_pixel_off():
    record = valid(2)
    del record["keypoints"]
    corner = make_features([[0.5, 0.5], [40.0, 30.0]], origin="corner", **record)
    np.testing.assert_array_equal(corner.keypoints, [[0, 0], [39.5, 29.5]])
    center = make_features([[0.5, 0.5], [39.0, 29.0]], **record)
    np.testing.assert_array_equal(center.keypoints, [[0.5, 0.5], [39, 29]])


@pytest.mark.parametrize(("origin", "more"), [("center", 0.0), ("corner", 0.5), ("matlab", 1.0)])
def test_the_method_s_own_keypoints_come_back_to_the_last_bit(origin, more):
    rng = np.random.default_rng(3)
    own = rng.uniform(more - 0.5, more + 3999.5, (500, 2))
    own[:9, 0] = more + np.array([0, -0.5, 1e-3, 0.5, 1 - 1e-7, 1, 1023.99994, 3999, 3999.5])
    own = own.astype(np.float32)
    features = make_features(own, np.ones(500), np.ones((500, 1)), (4000, 4000), origin=origin)
    np.testing.assert_allclose(features.keypoints, own - more, atol=3e-4, rtol=0)
    assert features.origin == origin
    assert features.own_keypoints().dtype == np.float32
    np.testing.assert_array_equal(features.own_keypoints(), own)
    again = make_features(
        features.own_keypoints(), np.ones(500), np.ones((500, 1)), (4000, 4000), origin=origin
    )
    np.testing.assert_array_equal(again.keypoints, features.keypoints)
    np.testing.assert_array_equal(features.top_k(7).own_keypoints(), own[:7])


def test_keypoints_smaller_than_float32_tells_from_half_a_pixel():
    # 1e-9 from the corner: what is left of it is the same after every further turn.
    tiny = np.full((1, 2), 1e-9, np.float32)
    one = make_features(tiny, [1], [[1]], SIZE, origin="corner")
    other = make_features(one.own_keypoints(), [1], [[1]], SIZE, origin="corner")
    np.testing.assert_array_equal(other.keypoints, one.keypoints)
    np.testing.assert_allclose(one.own_keypoints(), tiny, atol=1e-7)


def test_an_origin_that_there_isn_t():
    with pytest.raises(InvalidFeaturesError, match="the origin is 'centre', not center or corner"):
        make_features([[1, 1]], [1], [[1]], SIZE, origin="centre")


def test_no_features():
    features = no_features(128, SIZE)
    assert len(features) == 0
    assert features.keypoints.shape == (0, 2)
    assert features.descriptors.shape == (0, 128)
    assert features.scales.shape == (0,)
    assert no_features(128, SIZE, with_scales=False).scales is None
    assert len(features.top_k(5)) == 0
