import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography import error_auc
from d2eval.metrics.relative_pose import (
    CameraPair,
    PoseEstimator,
    epipolar_errors,
    rotation_error,
    translation_error,
)

INTRINSICS = np.array([[800.0, 810.0, 320.0, 240.0], [600.0, 590.0, 400.0, 300.0]])
TURN = Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix()
MOVE = np.array([1.0, 0.2, 0.1])
CAMERAS = CameraPair(INTRINSICS, TURN, MOVE)
ESTIMATORS = {
    "opencv": {"method": "RANSAC", "prob": 0.99999, "maxIters": 5000},
    "poselib": {"min_iterations": 100, "max_iterations": 10000},
    "pycolmap": {"min_num_trials": 100, "max_num_trials": 10000},
}


def scene(rng, count=300, plane=False):
    """Points before both cameras."""
    points = rng.uniform([-2, -1.5, 4], [2, 1.5, 8], (count, 3))
    if plane:
        points[:, 2] = 6 + 0.3 * points[:, 0] - 0.2 * points[:, 1]
    return points


def seen(local, intrinsics):
    return local[:, :2] / local[:, 2:] * intrinsics[:2] + intrinsics[2:]


def matched(rng, noise_px=0.0, outliers=0.0, move=MOVE, plane=False):
    points = scene(rng, plane=plane)
    first, second = seen(points, INTRINSICS[0]), seen(points @ TURN.T + move, INTRINSICS[1])
    first, second = (x + rng.normal(0, noise_px, x.shape) for x in (first, second))
    wrong = int(outliers * len(points))
    second[:wrong] = rng.uniform(0, [800, 600], (wrong, 2))
    return first, second


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return PoseEstimator(request.param, [1.0], 5, options=ESTIMATORS[request.param])


@pytest.mark.parametrize(
    ("noise", "outliers", "within_deg"), [(0.0, 0.0, 0.01), (0.5, 0.0, 1.0), (0.3, 0.5, 1.0)]
)
def test_a_known_pose_is_found(estimator, noise, outliers, within_deg):
    first, second = matched(np.random.default_rng(0), noise, outliers)
    found = estimator.estimate(first, second, INTRINSICS, 2.0, 0)
    if estimator.name == "opencv":  # a model of five points, which nothing refines
        within_deg *= 3
    assert rotation_error(found.rotation, TURN) < within_deg
    assert translation_error(found.translation, MOVE) < 3 * within_deg
    right = 300 * (1 - outliers)
    assert 0.9 * right <= found.inliers <= right + 10


def test_points_of_a_plane_agree_with_the_pose_that_is_found(estimator):
    # Two poses explain a plane: which of them is found is a draw.
    first, second = matched(np.random.default_rng(1), 0.1, plane=True)
    found = estimator.estimate(first, second, INTRINSICS, 1.0, 0)
    twisted = CameraPair(INTRINSICS, found.rotation, found.translation)
    assert np.median(epipolar_errors(first, second, twisted)) < 1e-6


def test_a_pure_rotation_is_found_though_no_translation_is(estimator):
    first, second = matched(np.random.default_rng(2), 0.1, move=np.zeros(3))
    found = estimator.estimate(first, second, INTRINSICS, 1.0, 0)
    if found is not None:  # an essential matrix of noise may have no point before both cameras
        assert rotation_error(found.rotation, TURN) < 3


def test_noise_alone_or_few_matches_make_no_crash(estimator):
    rng = np.random.default_rng(3)
    few = rng.uniform(0, 600, (4, 2))
    assert estimator.estimate(few, few, INTRINSICS, 1.0, 0) is None
    one = np.full((10, 2), 100.0)
    found = estimator.estimate(one, one, INTRINSICS, 1.0, 0)
    assert found is None or np.isfinite(found.translation).all()
    empty = np.zeros((0, 2))
    assert estimator.estimate(empty, empty, INTRINSICS, 1.0, 0) is None


def test_fewer_matches_than_the_protocol_wants_have_no_pose():
    first, second = matched(np.random.default_rng(4))
    wants = PoseEstimator("poselib", [1.0], 20)
    assert wants.estimate(first[:19], second[:19], INTRINSICS, 1.0, 0) is None
    assert wants.estimate(first[:20], second[:20], INTRINSICS, 1.0, 0) is not None


def test_opencv_divides_its_threshold_by_the_focal_lengths_that_are_named():
    # Errors lie between the two thresholds that one number of pixels comes to.
    first, second = matched(np.random.default_rng(5))
    intrinsics = INTRINSICS * np.array([[1, 1, 1, 1], [1, 10, 1, 1]])
    second = (second - INTRINSICS[1, 2:]) * [1, 10] + intrinsics[1, 2:]
    second += np.random.default_rng(6).normal(0, 1, second.shape) * [1, 10]
    counts = [
        PoseEstimator("opencv", [1.0], 5, focal=focal)
        .estimate(first, second, intrinsics, 1.5, 0)
        .inliers
        for focal in (["fx0", "fx1"], ["fx0", "fy1"])
    ]
    assert counts[0] > 1.5 * counts[1]


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 5, 90, 179.99])
def test_the_error_of_a_rotation_is_its_angle(degrees):
    turned = TURN @ Rotation.from_rotvec([0, math.radians(degrees), 0]).as_matrix()
    assert rotation_error(turned, TURN) == pytest.approx(degrees, rel=1e-4)


def test_a_translation_has_neither_length_nor_sign():
    assert translation_error(-3 * MOVE, MOVE) == pytest.approx(0, abs=1e-6)
    assert translation_error(np.array([0, 0, 2.0]), np.array([1.0, 0, 1.0])) == pytest.approx(45)
    assert translation_error(np.array([1.0, 0, 0]), np.array([-1, 1e-9, 0])) < 1e-6
    assert translation_error(np.zeros(3), MOVE) == math.inf


def test_epipolar_errors_are_squared_distances_to_both_lines():
    first, second = matched(np.random.default_rng(7))
    assert epipolar_errors(first, second, CAMERAS).max() < 1e-20
    # A sideways pair: lines are rows, so a vertical shift is the distance in both images.
    unit = CameraPair(np.array([[1.0, 1, 0, 0]] * 2), np.eye(3), np.array([1.0, 0, 0]))
    errors = epipolar_errors(np.array([[0.1, 0.2]]), np.array([[0.5, 0.2 + 0.01]]), unit)
    assert errors == pytest.approx([2 * 0.01**2])


def test_auc_is_the_area_under_recall_by_brute_force():
    rng = np.random.default_rng(8)
    for limit in (5, 10, 20):
        errors = np.r_[rng.exponential(6, 60), [np.inf] * 7]
        ordered = np.sort(errors[np.isfinite(errors)])
        x = np.linspace(0, limit, 400_001)
        # Recall rises linearly from error to error and stays after the last below the limit.
        below = ordered[ordered < limit]
        recall = np.interp(x, np.r_[0, below], np.arange(len(below) + 1) / len(errors))
        area = ((recall[1:] + recall[:-1]) / 2).mean()
        assert error_auc(errors, limit) == pytest.approx(area, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "opencv5"}, "choose from opencv, poselib, pycolmap"),
        ({"thresholds_px": []}, "thresholds_px"),
        ({"thresholds_px": [0]}, "thresholds_px"),
        ({"thresholds_px": [1, 1]}, "different"),
        ({"focal": ["f"]}, "focal"),
        ({"options": {"iterations": 3}}, "opencv has no 'iterations'"),
        ({"options": {"maxIters": 3.5}}, "must be a int"),
        ({"options": {"method": "MAGIC"}}, "method must be one of"),
        ({"name": "poselib", "options": {"seed": 3}}, "poselib has no 'seed'"),
    ],
)
def test_a_wrong_constant_is_named(changes, said):
    right = {"name": "opencv", "thresholds_px": [0.5], "min_matches": 5}
    with pytest.raises(D2EvalError, match=said):
        PoseEstimator(**right | changes)
