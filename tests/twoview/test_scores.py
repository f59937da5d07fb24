import math
from dataclasses import replace

import numpy as np
import pytest

from d2eval.contracts.features import make_features
from d2eval.metrics.relative_pose import CameraPair, PoseEstimator
from d2eval.pipeline.resizing import Resize
from d2eval.twoview.protocol import load_two_view
from d2eval.twoview.scores import score_pair, summarize

POINTS = np.random.default_rng(0).uniform([-2, -1.5, 4], [2, 1.5, 8], (200, 3))
MOVE = np.array([1.0, 0.1, 0.2])
OWN = load_two_view("twoview")
SIZE = (1000, 1000)


def pair(factors=(1.0, 1.0), size=(640, 480)):
    """Exact features of both images, and cameras of images that are ``factors`` times as large."""
    k = np.array([600.0, 600, 320, 240])
    sizes = [(round(size[0] * f), round(size[1] * f)) for f in factors]
    found, intrinsics = [], []
    for move, factor, own in zip((0, MOVE), factors, sizes, strict=True):
        local = POINTS + move
        corner = (local[:, :2] / local[:, 2:] * k[:2] + k[2:]) * factor
        intrinsics.append(k * factor)
        inside = np.clip(corner, 0, own)
        ones = np.ones(len(POINTS))
        unit = np.eye(2)[np.zeros(len(POINTS), int)]
        found.append(make_features(inside, ones, unit, own, origin="corner"))
    visible = np.all(
        [
            (f.own_keypoints() > 0).all(1) & (f.own_keypoints() < s).all(1)
            for f, s in zip(found, sizes, strict=True)
        ],
        axis=0,
    )
    matches = np.repeat(np.flatnonzero(visible)[:, None], 2, axis=1)
    return *found, matches, CameraPair(np.array(intrinsics), np.eye(3), MOVE)


@pytest.mark.parametrize(
    "name", ["twoview", "megadepth1500_glue", "megadepth1500_xfeat", "scannet1500_xfeat"]
)
def test_exact_matches_have_no_error_whatever_is_resized(name):
    row = score_pair(*pair((1.0, 2.0)), replace(load_two_view(name), pairs=None), 0)
    errors = [value for column, value in row.items() if column.startswith("pose_error")]
    # What pixels count from moves by half a pixel where a script has it so.
    assert max(errors) < (0.1 if "scannet" not in name and "xfeat" not in name else 1)
    assert row["matches"] > 100


def test_intrinsics_of_another_size_are_scaled_to_the_images():
    first, second, matches, cameras = pair((2.025, 2.025))
    numbers = cameras.intrinsics / 2.025, cameras.rotation, cameras.translation
    listed = CameraPair(*numbers, size_px=(640, 480))
    protocol = load_two_view("scannet1500_glue")
    row = score_pair(first, second, matches, listed, protocol, 0)
    assert row["pose_error_deg"] < 0.1
    assert row["epipolar_precision_1e-04"] == 1


def test_pixels_are_those_of_the_scripts():
    center, corner = (
        replace(load_two_view(name), resize=Resize("both", [500, 400], "down", 1, "none", "linear"))
        for name in ("megadepth1500_loftr", "megadepth1500_glue")
    )
    factors = np.array([0.5, 0.4])
    resized = np.array([[10.0, 20.0]])  # as a script that counts from centres has it
    original = (resized + 0.5) / factors - 0.5
    assert center.points(original, SIZE) == pytest.approx(resized / factors)
    # Half a pixel more, in resized pixels:
    assert corner.points(original, SIZE) == pytest.approx(resized + 0.5)
    assert OWN.points(original, SIZE) == pytest.approx(original + 0.5)


def test_a_pair_without_pose_fails_by_as_much_as_the_protocol_says():
    first, second, _, cameras = pair()
    none = np.zeros((0, 2), np.int32)
    row = score_pair(first, second, none, cameras, OWN, 0)
    assert row["pose_error_deg"] == math.inf
    assert row["inliers"] == row["epipolar_precision_5e-04"] == 0
    lenient = replace(OWN, errors=replace(OWN.errors, failure_deg=90.0))
    assert score_pair(first, second, none, cameras, lenient, 0)["pose_error_deg"] == 90


def test_each_repeat_sees_the_matches_in_another_order():
    first, second, matches, cameras = pair()
    seen = []

    class Spy(PoseEstimator):
        def estimate(self, points_0, points_1, *rest):
            seen.append(points_0[:3].tolist())
            return super().estimate(points_0, points_1, *rest)

    spy = Spy("opencv", [0.5], 5)
    own = replace(OWN, estimator=spy, repeats=3)
    row = score_pair(first, second, matches, cameras, own, 0)
    assert {"pose_error_deg_run_1", "pose_error_deg_run_2", "pose_error_deg_run_3"} <= set(row)
    score_pair(first, second, matches, cameras, own, 1)
    assert len({str(points) for points in seen}) == 6


def image(split="a"):
    return {"split": split, "features": 9, "seconds": 1.0, "peak_memory_mib": 5.0}


def row(split="a", ending="", error=1.0, inliers=10):
    errors = {
        "rotation_error_deg": error / 2,
        "translation_error_deg": error,
        "pose_error_deg": error,
    }
    return {
        "split": split, "matches": 4, "epipolar_precision_5e-04": 0.5,
        "epipolar_precision_1e-04": 0.25, **{k + ending: v for k, v in errors.items()},
        "inliers" + ending: inliers,
    }  # fmt: skip


def test_failures_are_infinite_and_bring_auc_down():
    found = summarize([row(error=e) for e in (0.0, 0.0, math.inf, math.inf)], [image()], OWN)
    assert [line["split"] for line in found] == ["overall"]
    assert found[0]["auc_5deg"] == found[0]["accuracy_20deg"] == 0.5
    assert found[0]["median_rotation_error_deg"] == math.inf


def test_the_best_of_several_thresholds_is_one_for_all_pairs_and_is_said():
    own = replace(OWN, estimator=replace(OWN.estimator, thresholds_px=[1.0, 2.0]))
    rows = [
        row(ending="_at_1px", error=a, split=s)
        | row(ending="_at_2px", error=b, split=s, inliers=30)
        for a, b, s in [(0.0, 4.0, "a"), (9.0, 1.0, "b"), (9.0, 1.0, "b")]
    ]
    found = {line["split"]: line for line in summarize(rows, [image("a"), image("b")], own)}
    assert [found[split]["threshold_px"] for split in ("overall", "a", "b")] == [2.0] * 3
    assert found["overall"]["thresholds_tried"] == 2
    assert found["overall"]["mean_inliers"] == 30
    assert found["a"]["auc_5deg"] == pytest.approx(0.6)  # recall rises to 1 at 4 of 5 deg
    assert found["overall"]["accuracy_5deg"] == 1


def test_all_repeats_count_in_one_auc():
    own = replace(OWN, repeats=2)
    rows = [row(ending="_run_1", error=0.0) | row(ending="_run_2", error=math.inf)]
    assert summarize(rows, [image()], own)[0]["auc_10deg"] == 0.5
