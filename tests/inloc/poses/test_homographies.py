from dataclasses import replace

import numpy as np
import pytest
from inloc_hololens import FEW, features, needs_data, rows

from d2eval.contracts.matching import mutual_nearest_neighbors
from d2eval.inloc.poses.homographies import HomographySettings, frames, homography_groups
from d2eval.inloc.poses.sparse import verify
from d2eval.inloc.protocol import load_benchmark

SETTINGS = HomographySettings(**load_benchmark().strategy("sparse"))
FRAME_ONLY = replace(SETTINGS, iterations=1, affine_iterations=0)


def project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = np.c_[points, np.ones(len(points))] @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


def slow_best(x1, f1, x2, f2, s):
    """geometricVerification, written down step by step."""
    n, best = len(x1), np.zeros(0, int)
    hom1, hom2 = np.c_[x1, np.ones(n)], np.c_[x2, np.ones(n)]
    for m in range(n):
        inliers = None
        for t in range(1, s.iterations + 1):
            if t == 1:
                one, two = np.eye(3), np.eye(3)
                one[:2, :2], one[:2, 2], two[:2, :2], two[:2, 2] = f1[m], x1[m], f2[m], x2[m]
                H, tolerance = two @ np.linalg.inv(one), s.frame_px
            elif t <= 1 + s.affine_iterations:
                A = np.linalg.lstsq(hom1[inliers], x2[inliers], rcond=None)[0].T
                H, tolerance = np.vstack([A, [0, 0, 1]]), s.affine_px
            else:
                S = []
                for x in (x1[inliers], x2[inliers]):
                    std, mean = np.maximum(x.std(axis=0, ddof=1), 1), x.mean(axis=0)
                    S.append(np.array([[1 / std[0], 0, -mean[0] / std[0]],
                                       [0, 1 / std[1], -mean[1] / std[1]], [0, 0, 1]]))  # fmt: skip
                a, b = hom1[inliers] @ S[0].T, hom2[inliers] @ S[1].T
                zero = np.zeros_like(a)
                equations = np.r_[np.c_[a, zero, -b[:, :1] * a], np.c_[zero, a, -b[:, 1:2] * a]]
                h = np.linalg.svd(equations, full_matrices=False)[2][-1].reshape(3, 3)
                H, tolerance = np.linalg.inv(S[1]) @ h @ S[0], s.homography_px
            inliers = np.flatnonzero(((x2 - project(H, x1)) ** 2).sum(axis=1) < tolerance**2)
            if len(inliers) < s.min_support or len(inliers) > s.enough_share * n:
                break
        if len(inliers) > len(best):
            best = inliers
    return best


def slow_groups(x1, f1, x2, f2, s):
    """at_sparseransac, after the matching."""
    left, groups = np.arange(len(x1)), []
    while len(groups) < s.max_homographies and len(left) > s.min_inliers:
        inliers = slow_best(x1[left], f1[left], x2[left], f2[left], s)
        if len(inliers) <= s.min_inliers:
            break
        groups.append(left[inliers])
        left = np.delete(left, inliers)
    return groups


def planes(rng, sizes, wrong):
    """Matches of so many points on each of some planes, and wrong ones, in random order."""
    n = sum(sizes) + wrong
    x1, x2 = rng.uniform(0, [640, 480], (2, n, 2))
    turn, zoom, start = np.zeros(n), np.ones(n), 0
    for size in sizes:
        own = slice(start, start + size)
        angle, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.7, 1.4)
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        H = np.array([[c, -s, rng.uniform(-200, 200)], [s, c, rng.uniform(-200, 200)],
                      [*rng.uniform(-4e-4, 4e-4, 2), 1]])  # fmt: skip
        x2[own] = project(H, x1[own]) + rng.normal(0, 2, (size, 2))
        turn[own], zoom[own], start = angle, scale, start + size
    scales, angles = rng.uniform(2, 20, n), rng.uniform(-3, 3, n)
    order = rng.permutation(n)
    f1 = frames(n, scales, angles)
    f2 = frames(n, scales * zoom * rng.lognormal(0, 0.2, n), angles + turn + rng.normal(0, 0.2, n))
    return x1[order], f1[order], x2[order], f2[order]


def shifted(n, by=(100.0, 50.0)):
    """Matches that a shift explains exactly, spread over the image; unit frames."""
    x1 = np.random.default_rng(n).uniform(0, [640, 480], (n, 2))
    return x1, frames(n), x1 + by, frames(n)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("sizes", "wrong"), [([40], 60), ([60, 30, 20, 15], 40), ([90], 10)])
def test_groups_equal_a_step_by_step_search(seed, sizes, wrong):
    matches = planes(np.random.default_rng(seed), sizes, wrong)
    expected = slow_groups(*matches, SETTINGS)
    found = homography_groups(*matches, SETTINGS)
    assert [group.tolist() for group in found] == [group.tolist() for group in expected]
    assert len(found) >= 1


@pytest.mark.parametrize(("n", "groups"), [(0, 0), (10, 0), (11, 1)])
def test_a_homography_needs_more_than_ten_inliers(n, groups):
    x1, _, x2, _ = shifted(n)
    far = np.random.default_rng(1).uniform(5000, 90000, (30, 2))
    found = homography_groups(
        np.r_[x1, np.zeros((30, 2))], frames(n + 30), np.r_[x2, far], frames(n + 30), SETTINGS
    )
    assert [group.tolist() for group in found] == [list(range(n))] * groups


def test_at_most_three_homographies_the_largest_first():
    parts = [shifted(size, (1000.0 * k, 0)) for k, size in enumerate((12, 20, 14, 30))]
    x1, f1, x2, f2 = (np.concatenate(side) for side in zip(*parts, strict=True))
    found = homography_groups(x1, f1, x2, f2, SETTINGS)
    assert [group[0] for group in found] == [46, 12, 32]
    assert [len(group) for group in found] == [30, 20, 14]


def test_frames_turn_from_x_to_y_and_scale():
    shapes = frames(2, np.array([2.0, 3.0]), np.array([np.pi / 2, 0.0]))
    np.testing.assert_allclose(shapes, [[[0, -2], [2, 0]], [[3, 0], [0, 3]]], atol=1e-15)
    np.testing.assert_array_equal(frames(1), [[[1, 0], [0, 1]]])


def test_a_hypothesis_is_the_motion_of_its_frames():
    """Image 2 is image 1 turned by 90 degrees and twice as large; one pair of frames says so."""
    x1 = np.random.default_rng(0).uniform(0, 400, (20, 2))
    x2 = 2 * np.stack([-x1[:, 1], x1[:, 0]], axis=1) + [900, 30]
    f1, f2 = frames(20, np.full(20, 5.0)), frames(20, np.full(20, 5.0))
    assert homography_groups(x1, f1, x2, f2, FRAME_ONLY) == []
    f2[7] = frames(1, np.array([10.0]), np.array([np.pi / 2]))[0]
    (group,) = homography_groups(x1, f1, x2, f2, FRAME_ONLY)
    assert group.tolist() == list(range(20))


@pytest.mark.parametrize(("off", "inliers"), [(20.0, 11), (19.999, 12)])
def test_an_inlier_is_nearer_than_the_tolerance(off, inliers):
    x1 = np.round(shifted(12)[0])
    x2 = np.add(x1, [100, 50])
    x2[5] += [0, off]
    f1 = frames(12)
    f1[5] = 0  # no hypothesis of its own
    (group,) = homography_groups(x1, f1, x2, frames(12), FRAME_ONLY)
    assert len(group) == inliers


def test_a_hypothesis_of_most_matches_is_not_refined():
    """One match is 18 px off: within the frames' tolerance, beyond the affinity's."""
    x1, f1, x2, f2 = shifted(20)
    x2[3] += [18, 0]
    (group,) = homography_groups(x1, f1, x2, f2, SETTINGS)
    assert len(group) == 20
    (group,) = homography_groups(x1, f1, x2, f2, replace(SETTINGS, enough_share=1.0))
    assert group.tolist() == [k for k in range(20) if k != 3]


def test_refinement_ends_with_a_homography():
    """Frames fit a similarity nearby; only the homography explains every point to 8 px."""
    rng = np.random.default_rng(3)
    x1 = rng.uniform(0, [640, 480], (60, 2))
    x2 = project(np.array([[1.0, 0, 5], [0, 1, -3], [4e-4, 2e-4, 1]]), x1)
    found = homography_groups(x1, frames(60), x2, frames(60), SETTINGS)
    assert [len(group) for group in found] == [60]
    without = replace(SETTINGS, iterations=4)
    assert len(homography_groups(x1, frames(60), x2, frames(60), without)[0]) < 60


@pytest.mark.parametrize("points", ["line", "point"])
def test_points_on_a_line_or_a_point_are_a_group(points):
    x1 = np.zeros((20, 2))
    if points == "line":
        x1[:, 0] = np.arange(20) * 10.0
    found = homography_groups(
        x1, frames(20), x1 + 7, frames(20), replace(SETTINGS, enough_share=1, iterations=4)
    )
    assert [group.tolist() for group in found] == [list(range(20))]


def test_flat_frames_have_no_hypothesis():
    x1, f1, x2, f2 = shifted(20)
    assert homography_groups(x1, np.zeros_like(f1), x2, f2, SETTINGS) == []


def _check(queries):
    table = rows("sparsepe_candidates", queries)
    for row in table:
        query, cutout = features(row["query"]), features(row["db"])
        matches = mutual_nearest_neighbors(query.descriptors, cutout.descriptors)
        groups = verify(query, cutout, matches, SETTINGS)
        found = (len(query), len(cutout), len(matches), sum(map(len, groups)), len(groups))
        names = ("n_query", "n_db", "n_mutual", "n_gv", "n_homographies")
        assert found == tuple(int(row[name]) for name in names), row
    return len(table)


@needs_data
def test_numbers_equal_the_reference_of_a_few_queries():
    assert _check(FEW) == 30


@needs_data
@pytest.mark.slow
def test_numbers_equal_the_reference():
    assert _check(None) == 160
