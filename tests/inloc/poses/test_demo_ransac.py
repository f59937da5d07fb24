"""The demo's RANSAC against NumPy's own singular vectors and slow loops."""

import numpy as np
import pytest

from d2eval.inloc.poses.demo_ransac import (
    demo_inliers,
    least_squares_homography,
    minimal_homography,
)
from d2eval.inloc.poses.samples import draw_samples
from d2eval.metrics.homography import project

TILTED = np.array([[1.1, 0.05, 3.0], [-0.04, 0.95, 5.0], [4e-4, -2e-4, 1.0]])


def equations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(9, 2 N) the columns that are orthogonal to a homography, an equation after the other."""
    x = np.c_[first.T, np.ones(first.shape[1])]
    zero = np.zeros_like(x)
    return np.r_[np.c_[x, zero, -second[0][:, None] * x], np.c_[zero, x, -second[1][:, None] * x]].T


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two homographies differ by a factor alone."""
    a, b = (H.ravel() / np.linalg.norm(H) for H in (one, other))
    return bool(min(np.abs(a - b).max(), np.abs(a + b).max()) < 1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimal_homography_is_the_eighth_vector_and_fits_nothing(seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(2, 4))
    second = project(TILTED, 100 * first.T).T / 100
    M = equations(first, second)
    whole = np.linalg.svd(M, full_matrices=True)[0]
    economical = np.linalg.svd(M, full_matrices=False)[0]
    assert economical.shape == (9, 8)  # what MATLAB's 'econ' gives too
    found = minimal_homography(first, second)
    assert same(found, economical[:, -1].reshape(3, 3))
    right = whole[:, -1].reshape(3, 3)  # the null vector
    assert np.abs(project(right, first.T) - second.T).max() < 1e-9
    assert np.abs(project(found, first.T) - second.T).max() > 0.01


def test_least_squares_slow():
    rng = np.random.default_rng(1)
    first = rng.uniform(0, 150, (2, 60))
    second = project(TILTED, first.T).T + rng.normal(0, 0.5, (2, 60))
    chosen = rng.random(60) < 0.7

    def normalised(points):
        mean = points.mean(axis=1)
        scale = np.sqrt(2) / np.linalg.norm(points - mean[:, None], axis=0).mean()
        return np.array([[scale, 0, -scale * mean[0]], [0, scale, -scale * mean[1]], [0, 0, 1]])

    one, two = normalised(first[:, chosen]), normalised(second[:, chosen])
    sides = [project(T, p[:, chosen].T).T for T, p in ((one, first), (two, second))]
    h = np.linalg.svd(equations(*sides))[0][:, -1].reshape(3, 3)
    assert same(least_squares_homography(first, second, chosen), np.linalg.inv(two) @ h @ one)


def test_matches_of_one_plane_are_found_in_spite_of_it():
    rng = np.random.default_rng(2)
    first = rng.uniform(0, [200, 150], (500, 2))
    found = demo_inliers(first, project(TILTED, first), 10.0, 0.999, 10000, 0)
    assert found.mean() > 0.9


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_fewer_than_ten_have_no_homography(n):
    points = np.random.default_rng(0).uniform(0, 99, (n, 2))
    assert demo_inliers(points, points, 10.0, 0.999, 100, 0).tolist() == [False] * n


def test_matches_on_one_point_have_no_homography():
    points = np.ones((40, 2))
    assert not demo_inliers(points, points, 10.0, 0.999, 100, 0).any()


@pytest.mark.parametrize("n", [4, 5, 30])
def test_samples_are_four_different_ones_all_equally_likely(n):
    drawn = draw_samples(n, 4, 6000, 3)
    assert drawn.min() == 0
    assert drawn.max() == n - 1
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    counts = np.bincount(drawn.ravel(), minlength=n)
    assert np.abs(counts / (6000 * 4 / n) - 1).max() < 0.2
