import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography import (
    HomographyEstimator,
    check_homography,
    corner_error,
    corners,
    error_auc,
    inside,
    project,
)

# x' = (2x + y + 3) / (0.01x + 1), y' = (3y + 5) / (0.01x + 1)
PERSPECTIVE = np.array([[2.0, 1.0, 3.0], [0.0, 3.0, 5.0], [0.01, 0.0, 1.0]])


def test_projection_by_hand():
    points = np.array([[0.0, 0.0], [100.0, 10.0], [-50.0, 4.0]])
    expected = [[3.0, 5.0], [213 / 2, 35 / 2], [-93 / 0.5, 17 / 0.5]]
    np.testing.assert_allclose(project(PERSPECTIVE, points), expected, rtol=1e-15)


def test_projection_takes_float32_and_computes_in_double():
    points = np.array([[1000.1, 999.9]], np.float32)
    x, y = (float(v) for v in points[0])
    projected = project(PERSPECTIVE, points)
    assert projected.dtype == np.float64
    w = 0.01 * x + 1
    np.testing.assert_allclose(projected, [[(2 * x + y + 3) / w, (3 * y + 5) / w]], rtol=1e-14)


def test_no_points_project_to_no_points():
    assert project(PERSPECTIVE, np.zeros((0, 2))).shape == (0, 2)


def test_the_line_at_infinity_is_not_finite():
    assert not np.isfinite(project(PERSPECTIVE, np.array([[-100.0, 7.0]]))).any()


def test_the_scale_of_a_homography_does_not_matter():
    points = np.array([[3.0, 4.0], [-300.0, 7.0]])
    np.testing.assert_allclose(
        project(-7.5 * PERSPECTIVE, points), project(PERSPECTIVE, points), rtol=1e-14
    )


small = st.floats(-0.3, 0.3)


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(small, small, small, small),
    st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    st.tuples(st.floats(-3e-4, 3e-4), st.floats(-3e-4, 3e-4)),
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), min_size=1, max_size=10),
)
def test_the_inverse_projects_back(affine, shift, perspective, points):
    a, b, c, d = affine
    homography = np.array([[1 + a, b, shift[0]], [c, 1 + d, shift[1]], [*perspective, 1.0]])
    there = project(homography, np.array(points))
    back = project(np.linalg.inv(homography), there)
    np.testing.assert_allclose(back, points, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.eye(3), None),
        (PERSPECTIVE, None),
        (np.array([[1, 0, 5000.0], [0, 1, -5000.0], [1e-6, 0, 1]]), None),
        (np.eye(2), "2x2"),
        (np.zeros((1, 9)), "1x9"),
        (np.array([[1, 0, 0], [0, np.nan, 0], [0, 0, 1]]), "NaN"),
        (np.array([[1, 0, 0], [0, np.inf, 0], [0, 0, 1]]), "infinite"),
        (np.zeros((3, 3)), "singular"),
        (np.array([[1.0, 2, 3], [2, 4, 6], [0, 0, 1]]), "singular"),
        (np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.5, 0.7, 0.9]]), "singular"),
    ],
)
def test_what_is_wrong_with_a_homography(matrix, says):
    problem = check_homography(np.asarray(matrix, np.float64))
    if says is None:
        assert problem is None
    else:
        assert says in problem


def test_inside_counts_from_pixel_centres():
    points = np.array(
        [
            [-0.5, -0.5],
            [9.5, 4.5],
            [-0.51, 0],
            [9.51, 0],
            [0, 4.51],
            [4.6, 9],
            [np.nan, 1],
            [np.inf, 1],
        ]
    )
    expected = [True, True, False, False, False, False, False, False]
    assert inside(points, (10, 5)).tolist() == expected


def test_corners_are_pixel_centres():
    assert corners((10, 5)).tolist() == [[0, 0], [9, 0], [9, 4], [0, 4]]


def test_corner_error_by_hand():
    shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])  # every corner by 5 px
    assert corner_error(shift, np.eye(3), (10, 5)) == 5.0
    # Twice the size about the first corner: off by 0, 9, sqrt(9^2 + 4^2) and 4 px.
    double = np.diag([2.0, 2.0, 1.0])
    expected = (0 + 9 + math.sqrt(97) + 4) / 4
    assert corner_error(double, np.eye(3), (10, 5)) == pytest.approx(expected, rel=1e-15)
    assert corner_error(-3 * double, double, (10, 5)) == pytest.approx(0, abs=1e-12)


def test_no_homography_is_infinitely_wrong():
    assert corner_error(None, np.eye(3), (10, 5)) == math.inf


def test_a_corner_sent_to_infinity_is_infinitely_wrong():
    vanishing = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 9, 0, 1]])  # x = 9 has no image
    assert corner_error(vanishing, np.eye(3), (10, 5)) == math.inf


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.0, 0.0, 0.0], 1.0),
        ([1.5], 0.75),  # rises to 1 at half the threshold: a triangle of 1/4, then 1/2
        ([3.0], 0.0),  # the threshold itself is not below it
        ([math.inf, math.inf], 0.0),
        ([0.0, math.inf], 0.5),
        ([1.5, math.inf], 0.375),
        # (0, 0) -> (1, 1/2) -> (2, 1) -> (3, 1): 1/4 + 3/4 + 1 over 3
        ([2.0, 1.0], 2 / 3),
    ],
)
def test_auc_by_hand(errors, expected):
    assert error_auc(errors, 3.0) == pytest.approx(expected, abs=1e-15)


def test_auc_of_nothing_is_not_known():
    assert math.isnan(error_auc([], 3.0))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(0.01, 20, allow_subnormal=False), st.just(math.inf)),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    st.sampled_from([1.0, 3.0, 5.0]),
)
def test_auc_is_the_integral_of_recall(errors, threshold):
    ordered = sorted(e for e in errors if e != math.inf)
    known = [(0.0, 0.0)] + [(e, (i + 1) / len(errors)) for i, e in enumerate(ordered)]

    def recall(at: float) -> float:
        """Linear between the errors below the threshold, flat from the last of them."""
        below = [point for point in known if point[0] < threshold]
        for (x0, y0), (x1, y1) in itertools.pairwise(below):
            if x0 <= at < x1:
                return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        return below[-1][1]

    steps = 3000
    middle = [(i + 0.5) / steps * threshold for i in range(steps)]
    integral = sum(map(recall, middle)) / steps
    assert error_auc(errors, threshold) == pytest.approx(integral, abs=2e-3)


def estimator(**changes: object) -> HomographyEstimator:
    values = {
        "estimator": "poselib",
        "threshold_px": 3.0,
        "confidence": 0.9999,
        "min_iterations": 1000,
        "max_iterations": 10000,
    }
    return HomographyEstimator(**{**values, **changes})


TRUE = np.array([[0.9, -0.12, 40.0], [0.15, 1.05, -25.0], [2e-4, -1e-4, 1.0]])


def matched_points(inliers: int, outliers: int, noise_px: float, seed: int = 3):
    rng = np.random.default_rng(seed)
    first = rng.uniform((0, 0), (640, 480), (inliers + outliers, 2))
    second = project(TRUE, first) + rng.normal(0, noise_px, first.shape)
    second[inliers:] = rng.uniform((0, 0), (640, 480), (outliers, 2))
    return first.astype(np.float32), second.astype(np.float32)


def test_a_known_homography_is_found_among_outliers():
    first, second = matched_points(150, 100, 0.5)
    found = estimator().estimate(first, second, seed=0)
    assert found.shape == (3, 3)
    assert found.dtype == np.float64
    distance = project(found, corners((640, 480))) - project(TRUE, corners((640, 480)))
    assert np.linalg.norm(distance, axis=1).mean() < 0.5


def test_the_estimate_maps_the_first_image_to_the_second():
    first, second = matched_points(60, 0, 0.0)
    found = estimator().estimate(first, second, seed=0)
    np.testing.assert_allclose(found / found[2, 2], TRUE, rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_estimate():
    first, second = matched_points(30, 200, 1.0)
    one, again = (estimator().estimate(first, second, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_the_seed_reaches_the_sampling():
    # Three iterations among many outliers find what the draws happen to hit.
    first, second = matched_points(12, 200, 1.0)
    hasty = estimator(min_iterations=3, max_iterations=3)
    found = [hasty.estimate(first, second, seed=seed) for seed in range(6)]
    distinct = {None if h is None else h.tobytes() for h in found}
    assert len(distinct) > 1


@pytest.mark.parametrize("count", range(4))
def test_fewer_than_four_matches_give_no_homography(count):
    first, second = matched_points(count, 0, 0.0)
    assert estimator().estimate(first, second, seed=0) is None


def test_an_unknown_estimator_is_refused():
    with pytest.raises(D2EvalError, match="'magsac' is not known; use poselib"):
        estimator(estimator="magsac")
