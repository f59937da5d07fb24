import math
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.poses.p3p import P3PSettings, _iterations, _solutions, estimate_pose
from d2eval.inloc.protocol import load_benchmark
from d2eval.metrics.poses import pose_error

SETTINGS = P3PSettings(**load_benchmark().strategy("p3p"))
WIDTH, HEIGHT, FOCAL = 4032, 3024, 3136.0
CAMERA = pycolmap.Camera(
    model="PINHOLE", width=WIDTH, height=HEIGHT, params=[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]
)


def scene(seed, n, wrong=0, noise_px=0.0):
    """Correspondences in front of a random camera, the wrong ones first, and its pose."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=4)
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d(q / np.linalg.norm(q)), rng.uniform(-20, 20, 3))
    pixels = rng.uniform(0, [WIDTH, HEIGHT], (n + wrong, 2))
    rays = np.c_[CAMERA.cam_from_img(pixels), np.ones(n + wrong)]
    points = pose.inverse() * (rays * rng.uniform(2, 12, (n + wrong, 1)))
    pixels += rng.normal(0, noise_px, pixels.shape)
    pixels[:wrong] = rng.uniform(0, [WIDTH, HEIGHT], (wrong, 2))
    return pixels, points, pose


def angles_deg(pose, pixels, points):
    """Between the rays and the directions to the points, the slow way."""
    rays = np.c_[CAMERA.cam_from_img(pixels), np.ones(len(pixels))]
    seen = (pose * points).reshape(-1, 3)
    cosines = (
        (rays * seen).sum(axis=1) / np.linalg.norm(rays, axis=1) / np.linalg.norm(seen, axis=1)
    )
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 120), st.floats(0, 0.5))
def test_poses_are_recovered_despite_wrong_matches(seed, n, share):
    wrong = int(n * share / (1 - share))
    pixels, points, pose = scene(seed, n, wrong, noise_px=1)
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    position, rotation = pose_error(found.pose, pose)
    assert position < 0.2
    assert rotation < 1.5
    assert found.inliers[wrong:].mean() > 0.95
    angles = angles_deg(found.pose, pixels, points)
    np.testing.assert_array_equal(found.inliers, angles < SETTINGS.threshold_deg)
    assert found.count == np.count_nonzero(angles < SETTINGS.threshold_deg)


def test_exact_correspondences_give_the_exact_pose():
    pixels, points, pose = scene(1, 50, wrong=20)
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    position, rotation = pose_error(found.pose, pose)
    assert position < 0.01
    assert rotation < 0.1


@pytest.mark.parametrize(
    ("inliers", "n", "expected"),
    # 6 / (n (n-1) (n-2)) is below 2^-52 from n = 300080 on; log(.05) / log(1 - 1/10) by hand
    [(3, 500_000, math.inf), (3, 300_081, math.inf), (0, 10, math.inf), (3, 5, 28.4332),
     (5, 5, 1.0)],
)  # fmt: skip
def test_how_many_samples_there_must_be(inliers, n, expected):
    assert _iterations(inliers, n, 0.95) == pytest.approx(expected, abs=1e-4)
    assert 0 < _iterations(3, 290_000, 0.95) < 1e17  # just above the limit


def test_a_pose_of_next_to_no_matches_among_very_many(monkeypatch):
    monkeypatch.setattr("d2eval.inloc.poses.p3p.draw_samples", lambda *_: np.array([[0, 1, 2]] * 3))
    pixels, points, _ = scene(6, 3)
    many = np.concatenate([pixels, np.zeros((500_000, 2))])
    behind = np.concatenate([points, np.zeros((500_000, 3))])
    found = estimate_pose(many, behind, CAMERA, SETTINGS, seed=0)
    assert found.inliers[:3].all()


def test_solutions_of_a_sample_with_the_first_ones_rotation():
    """P3PSolver.m:15 puts the centre of every solution together with the rotation of the first."""
    several = 0
    for seed in range(60):
        pixels, points, _ = scene(seed, 3)
        rays = np.c_[CAMERA.cam_from_img(pixels), np.ones(3)]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        own = [np.c_[R, t] for R, t in zip(*_solutions(rays, points, "own"), strict=True)]
        first = [np.c_[R, t] for R, t in zip(*_solutions(rays, points, "first"), strict=True)]
        assert len(own) == len(first)
        away = [np.linalg.norm(points @ P[:, :3].T + P[:, 3], axis=1) for P in own]
        ratios = [second / first for first, second, _ in away]
        ordered = [own[k] for k in np.argsort(ratios)[::-1]]
        np.testing.assert_allclose(first[0], ordered[0], atol=1e-9)
        for made, true in zip(first, ordered, strict=True):
            np.testing.assert_array_equal(made[:, :3], first[0][:, :3])
            center = -true[:, :3].T @ true[:, 3]
            np.testing.assert_allclose(made[:, 3], -made[:, :3] @ center, atol=1e-7)
        several += len(own) > 1
    assert several > 20


def test_the_first_rotation_loses_poses():
    """One sample alone, whose true solution isn't the first: its own rotation finds it."""
    own, first = SETTINGS, replace(SETTINGS, rotation="first")
    own, first = (replace(s, max_iterations=1, max_refinements=0) for s in (own, first))
    counts = []
    for seed in range(40):
        pixels, points, _ = scene(seed, 30)
        found = [estimate_pose(pixels, points, CAMERA, choice, seed=0) for choice in (own, first)]
        counts.append([pose.count for pose in found])
    assert all(count == 30 for count, _ in counts)
    lost = sum(other < 30 for _, other in counts)
    assert 0 < lost < 40


@pytest.mark.parametrize("name", ["rotation", "keypoints"])
def test_choices_that_are_not_known(name):
    with pytest.raises(D2EvalError, match=f"{name} 'any' is not known; use .* or "):
        replace(SETTINGS, **{name: "any"})


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_have_no_pose(n):
    found = estimate_pose(np.zeros((n, 2)), np.ones((n, 3)), CAMERA, SETTINGS, seed=0)
    assert found.pose is None
    assert found.inliers.tolist() == [False] * n


def test_three_have_one():
    pixels, points, _ = scene(2, 3)
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    assert found.count == 3
    assert angles_deg(found.pose, pixels, points).max() < 1e-4


def test_points_behind_the_camera_are_no_inliers():
    """Mirrored in the camera's centre, a point lies on its ray's line, but not on its ray."""
    pixels, points, pose = scene(3, 40)
    center = pose.inverse().translation
    points[:12] = 2 * center - points[:12]
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    assert found.inliers.tolist() == [False] * 12 + [True] * 28


@pytest.mark.parametrize(("threshold", "inliers"), [(0.4, 30), (3.0, 50)])
def test_the_threshold_is_an_angle(threshold, inliers):
    """Exact points fix the pose; those turned by 0.5 and 2 degrees are inliers or not."""
    pixels, points, _ = scene(4, 50)
    turn = np.zeros(50)
    turn[30:40], turn[40:] = 0.5, 2.0
    rays = np.c_[CAMERA.cam_from_img(pixels), np.ones(50)]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    side = np.cross(rays, [0, 1.0, 0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    rays = rays * np.cos(np.radians(turn))[:, None] + side * np.sin(np.radians(turn))[:, None]
    own = replace(SETTINGS, threshold_deg=threshold, max_refinements=0)
    found = estimate_pose(CAMERA.img_from_cam(rays), points, CAMERA, own, seed=0)
    assert found.inliers.tolist() == [True] * inliers + [False] * (50 - inliers)


def cost(pose, pixels, points):
    return (1 - np.cos(np.radians(angles_deg(pose, pixels, points)))) ** 2


def test_the_pose_minimises_the_demos_cost_over_its_inliers():
    pixels, points, _ = scene(5, 80, noise_px=8)
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    assert found.inliers.all()

    def residuals(step):
        moved = pycolmap.Rigid3d(pycolmap.Rotation3d(step[:3]), step[3:]) * found.pose
        return 1e4 * np.sqrt(cost(moved, pixels, points))

    best = least_squares(residuals, np.zeros(6), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert cost(found.pose, pixels, points).sum() <= best.cost * 2e-8 * 1.001
    unrefined = estimate_pose(pixels, points, CAMERA, replace(SETTINGS, max_refinements=0), seed=0)
    assert cost(found.pose, pixels, points).sum() < cost(unrefined.pose, pixels, points).sum()


def test_a_seed_gives_the_same_pose_again():
    pixels, points, _ = scene(6, 30, wrong=60, noise_px=3)
    poses = [
        estimate_pose(pixels, points, CAMERA, SETTINGS, seed).pose.matrix() for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert (poses[0] != poses[2]).any()


def test_iterations_end_once_confident(monkeypatch):
    """With w of n inliers, log(1 - .95) / log(1 - C(w,3) / C(n,3)) samples are enough."""
    import poselib

    drawn, solve = [], poselib.p3p

    def counted(rays, points):
        drawn.append(points)
        return solve(rays, points)

    monkeypatch.setattr(poselib, "p3p", counted)
    pixels, points, _ = scene(7, 30, wrong=30)
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    assert found.count >= 30
    share = math.comb(found.count, 3) / math.comb(60, 3)
    assert len(drawn) >= math.ceil(math.log(0.05) / math.log(1 - share))
    drawn.clear()
    estimate_pose(pixels[:30], points[:30], CAMERA, replace(SETTINGS, max_iterations=17), seed=0)
    assert len(drawn) == 17
    assert all(len(np.unique(sample, axis=0)) == 3 for sample in drawn)


def test_samples_are_drawn_evenly(monkeypatch):
    import poselib

    drawn = []
    monkeypatch.setattr(poselib, "p3p", lambda rays, points: drawn.append(points[:, 0]) or [])
    points = np.arange(5.0)[:, None] * [1, 0, 0] + [0, 0, 5]
    found = estimate_pose(
        np.zeros((5, 2)), points, CAMERA, replace(SETTINGS, max_iterations=6000), seed=0
    )
    assert found.pose is None
    counts = np.zeros((5, 5, 5))
    np.add.at(counts, tuple(np.array(drawn).astype(int).T), 1)
    drawn_triples = counts[counts > 0]
    assert len(drawn_triples) == 60  # ordered triples of five
    assert ((drawn_triples - 100) ** 2 / 100).sum() < 100  # chi squared, 59 degrees of freedom


@pytest.mark.parametrize("kind", ["one point", "line", "two places"])
def test_degenerate_points_do_not_stop_it(kind):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, [WIDTH, HEIGHT], (40, 2))
    points = np.tile([1.0, 2, 3], (40, 1))
    if kind == "line":
        points += np.arange(40)[:, None] * [0.1, 0, 0]
    if kind == "two places":
        points[20:] += 1
        pixels[:20], pixels[20:] = pixels[0], pixels[20]
    found = estimate_pose(pixels, points, CAMERA, SETTINGS, seed=0)
    assert len(found.inliers) == 40
