import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from d2eval.contracts.features import make_features
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.homographies.protocol import load_homographies
from d2eval.hpatches.homographies.scores import score_pair, summarize
from d2eval.metrics.homography_ransac import HomographyRansac, mean_corner_error

H = np.array([[1.1, 0.05, -20.0], [-0.04, 0.95, 15.0], [1e-4, -5e-5, 1.0]])
SIZES = (960, 720), (1000, 800)
PAPERS = [f"hpatches_homography_{whose}" for whose in ("glue", "loftr", "roma", "dad", "toolbox")]


def warp(points, matrix):
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def pair(noise_px=0.0, outliers=0):
    rng = np.random.default_rng(0)
    points = rng.uniform([150, 100], [800, 600], (300, 2))
    mapped = warp(points, H) + rng.normal(0, noise_px, (300, 2))
    mapped[:outliers] = rng.uniform(0, 790, (outliers, 2))
    unit = np.eye(2)[np.zeros(300, int)]
    features = [
        make_features(own, np.ones(300), unit, size)
        for own, size in zip((points, mapped), SIZES, strict=True)
    ]
    return *features, np.repeat(np.arange(300)[:, None], 2, axis=1)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize(("noise", "outliers"), [(0, 0), (0.3, 100)])
def test_a_known_homography_is_found(name, noise, outliers):
    row = score_pair(*pair(noise, outliers), H, load_homographies(name), 0)
    errors = [value for column, value in row.items() if column.startswith("corner_error")]
    assert len(errors) == (5 if name.endswith("dad") else 1)
    # A script that counts from corners applies a homography of centres half a pixel off.
    assert max(errors) < (0.3 if noise == 0 else 4)


def test_the_error_is_the_toolboxs_by_hand():
    """Formulas of immatch/utils/hpatches_helper.py, written out again."""
    first, second, matches = pair(1.0, 50)
    protocol = load_homographies("hpatches_homography_toolbox")
    row = score_pair(first, second, matches, H, protocol, 0)
    order = np.random.default_rng([0, 1]).permutation(300)
    p1, p2 = (f.keypoints[order].astype(np.float64) for f in (first, second))
    found, _ = cv2.findHomography(p1, p2, cv2.RANSAC, 2, confidence=0.99999)
    w, h = SIZES[0]
    corners = np.array([[0, 0], [0, h - 1], [w - 1, 0], [w - 1, h - 1]], float)
    distance = np.linalg.norm(warp(corners, H) - warp(corners, found), axis=1).mean()
    assert row["corner_error_px"] == pytest.approx(distance)
    assert distance > 0.05


def test_the_error_is_glue_factorys_by_hand():
    """Formulas of its datasets/hpatches.py and geometry/homography.py, written out again."""
    import poselib

    first, second, matches = pair(1.0, 50)
    protocol = load_homographies("hpatches_homography_glue")
    row = score_pair(first, second, matches, H, protocol, 0)
    order = np.random.default_rng([0, 1]).permutation(300)
    resized = (640, 480), (600, 480)  # the short side is 480
    scales = [np.array(new) / old for new, old in zip(resized, SIZES, strict=True)]
    points = [
        (f.keypoints[order].astype(np.float64) + 0.5) * s
        for f, s in zip((first, second), scales, strict=True)
    ]
    options = {"max_reproj_error": 1.0, "seed": 0}
    found, _ = poselib.estimate_homography(*points, options)
    true = np.diag([*scales[1], 1]) @ H @ np.linalg.inv(np.diag([*scales[0], 1]))
    corners = np.array([[0, 0], [640, 0], [640, 480], [0, 480]], float)
    distance = np.linalg.norm(warp(corners, found) - warp(corners, true), axis=1).mean()
    assert row["corner_error_px"] == pytest.approx(distance)


def test_romas_errors_and_thresholds_are_of_images_of_480():
    first, second, matches = pair(1.0, 50)
    roma = load_homographies("hpatches_homography_roma")
    plain = replace(
        roma,
        estimator=replace(roma.estimator, per_side_px=0, thresholds_px=[3 * 800 / 480]),
        errors=replace(roma.errors, per_side_px=0),
    )
    errors = [
        score_pair(first, second, matches, H, own, 0)["corner_error_px"] for own in (roma, plain)
    ]
    assert errors[0] == pytest.approx(errors[1] / (800 / 480))


def test_a_failure_counts_as_each_paper_has_it():
    first, second, _ = pair()
    none = np.zeros((0, 2), np.int32)
    lost = {name: score_pair(first, second, none, H, load_homographies(name), 0) for name in PAPERS}
    assert lost["hpatches_homography_glue"]["corner_error_px"] == math.inf
    assert lost["hpatches_homography_dad"]["corner_error_px_run_5"] == math.inf
    w, h = SIZES[0]
    corners = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float)
    away = np.linalg.norm(warp(corners, H), axis=1).mean() / (800 / 480)
    assert lost["hpatches_homography_roma"]["corner_error_px"] == pytest.approx(away)


def test_corner_errors_are_mean_distances():
    moved = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    assert mean_corner_error(moved, np.eye(3), 100, 50) == 5
    beyond = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])  # (100, 0) is at infinity
    assert mean_corner_error(beyond, np.eye(3), 100, 50) == math.inf


@pytest.mark.parametrize("name", ["opencv", "poselib"])
def test_points_without_a_homography_have_none(name):
    ransac = HomographyRansac(name, [1.0], 0)
    line = np.column_stack([np.arange(10.0), np.arange(10.0)])
    assert ransac.estimate(line[:3], line[:3], 1.0, 0) is None
    assert ransac.estimate(np.zeros((10, 2)), np.zeros((10, 2)), 1.0, 0) is None


def test_auc_and_accuracy_are_over_pairs_and_splits():
    protocol = load_homographies("homography")
    image = {"split": "i", "features": 9, "seconds": 1.0, "peak_memory_mib": 5.0}
    rows = [
        {"split": split, "matches": 4, "corner_error_px": error, "inliers": 3}
        for split, error in (("v", 0.0), ("v", math.inf), ("i", 3.0))
    ]
    found = {line["split"]: line for line in summarize(rows, [image], protocol)}
    assert list(found) == ["overall", "i", "v"]
    assert found["v"]["h_auc_5px"] == 0.5
    assert found["i"]["h_accuracy_3px"] == 1
    assert found["i"]["h_auc_5px"] == pytest.approx(0.7)  # recall rises to 1 at 3 of 5 px
    assert found["overall"]["h_accuracy_1px"] == pytest.approx(1 / 3)


def test_constants_are_those_of_the_papers():
    found = {}
    for name in PAPERS:
        p = load_homographies(name)
        own = (p.estimator.name, p.estimator.thresholds_px, p.resize.size_px, p.keypoints)
        found[name.rpartition("_")[2]] = (*own, len(p.excluded), sum(p.complete.values()))
        assert load_protocol(name).content["source"]
    assert found == {
        "glue": ("poselib", [1.0], [480], 1024, 8, 108),
        "loftr": ("opencv", [3.0], [480], 1024, 8, 108),
        "roma": ("opencv", [3.0], [], 5000, 8, 108),
        "dad": ("poselib", [2.0], [], 8192, 0, 116),
        "toolbox": ("opencv", [2.0], [], None, 8, 108),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[errors]\ncorners = "round"', r"\[errors\] corners"),
        ('[errors]\nfailure = "nan"', r"\[errors\] failure"),
        ("[errors]\nthresholds_px = []", r"\[errors\] thresholds_px"),
        ('[estimator]\nname = "pycolmap"', r"\[estimator\] name = 'pycolmap'; choose from opencv"),
        ("excluded = 3", "excluded = 3 must be a list"),
    ],
)
def test_a_mistake_in_a_file_of_the_users_is_one_line(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "homography"\n{text}\n')
    with pytest.raises(D2EvalError, match=said):
        load_homographies(str(path))
