import csv
import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from d2eval.cli import main
from d2eval.contracts.features import Features, no_features
from d2eval.contracts.matching import mutual_nearest_neighbors
from d2eval.hpatches.evaluation import evaluate_pair, match_errors, repeatability, summarize
from d2eval.hpatches.hpatches import HPatches
from d2eval.hpatches.protocol import load_benchmark
from d2eval.metrics.homography import HomographyEstimator

BENCHMARK = load_benchmark()
THRESHOLDS = range(1, 16)
SEQUENCES = DATA / "hpatches-sequences-release"


def features_at(points, size: tuple[int, int], descriptors=None, scores=None) -> Features:
    points = np.asarray(points, np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.ones((len(points), 1), np.float32)
    return Features(points, np.ones(len(points)) if scores is None else scores, descriptors, size)


def identity_matches(count: int) -> np.ndarray:
    return np.column_stack([np.arange(count)] * 2).astype(np.int32)


# All numbers are sums of powers of two, so that errors are exact in floating point.
# (x, y) -> ((2x + 10) / w, 2y / w) with w = x / 128 + 1
PERSPECTIVE = np.array([[2.0, 0, 10], [0, 2, 0], [1 / 128, 0, 1]])
POINTS_1 = [(0, 0), (128, 50), (384, 20), (128, 0), (128, 80), (399, 99)]
#       -> (10, 0) (133, 50) (194.5, 10) (133, 0) (133, 80) (about 196.3, 48.1)
POINTS_K = [(13, 4), (133, 51), (194.5, 10), (142, 12), (133, 83), (2, 40)]
#   errors: 5        1          0            15         3          not matched
SIZE_1, SIZE_K = (400, 100), (200, 100)


def hand_made_row() -> dict:
    return evaluate_pair(
        features_at(POINTS_1, SIZE_1),
        features_at(POINTS_K, SIZE_K),
        identity_matches(5),
        PERSPECTIVE,
        BENCHMARK,
    )


def test_a_pair_is_called_by_both_images():
    assert HPatches().item_name(("v_bird", "5")) == "v_bird/1-5"


def test_errors_by_hand():
    points_1, points_k = np.float64(POINTS_1[:5]), np.float64(POINTS_K[:5])
    errors = match_errors(points_1, points_k, PERSPECTIVE)
    assert errors.tolist() == [5, 1, 0, 15, 3]


def test_errors_are_in_image_k():
    # Image k is ten times as large: an error of 1 px in image 1 is one of 10 px here.
    points_1, points_k = np.array([[1.0, 1], [5, 5]]), np.array([[10.0, 10], [60, 50]])
    assert match_errors(points_1, points_k, np.diag([10.0, 10, 1])).tolist() == [0, 10]


def test_accuracy_follows_the_matches():
    first = features_at([(1, 1), (5, 5)], (90, 90))
    other = features_at([(5, 5), (1, 1)], (90, 90))
    for matches, accuracy in (([[0, 1], [1, 0]], 1), ([[0, 0], [1, 1]], 0)):
        row = evaluate_pair(first, other, np.array(matches, np.int32), np.eye(3), BENCHMARK)
        assert row["mma_1px"] == accuracy


def test_accuracy_by_hand_includes_the_threshold():
    row = hand_made_row()
    assert (row["features_1"], row["features_k"], row["matches"]) == (6, 6, 5)
    # 1 px counts at 1, 3 px at 3, 5 px at 5, 15 px at 15.
    expected = [2 / 5] * 2 + [3 / 5] * 2 + [4 / 5] * 10 + [1.0]
    assert [row[f"mma_{t}px"] for t in THRESHOLDS] == expected


def test_correct_matches_matching_score_and_repeatability_by_hand():
    row = hand_made_row()
    assert row["correct_matches"] == 3  # 1, 0 and just 3 px
    # All six points of image 1 fall into image k. (2, 40) comes from x = -4, left of image 1:
    # five of image k are in the part that both show.
    assert row["matching_score"] == pytest.approx((3 / 6 + 3 / 5) / 2, abs=1e-15)
    # The three have a neighbour, both ways, among 6 + 5 points.
    assert row["repeatability"] == pytest.approx((3 + 3) / (6 + 5), abs=1e-15)


def test_the_columns_of_a_pair():
    assert list(hand_made_row()) == [
        "features_1", "features_k", "matches", *(f"mma_{t}px" for t in THRESHOLDS),
        "correct_matches", "matching_score", "repeatability", "corner_error_px",
        "h_accuracy_1px", "h_accuracy_3px", "h_accuracy_5px",
    ]  # fmt: skip


def test_a_correct_match_beside_the_shared_part_is_no_share_of_it():
    # Image k shows what is right of x = 100. (99, 9) goes to (-1, 9), outside, and is matched
    # within 3 px all the same; so is (110, 9), inside.
    moved = np.array([[1.0, 0, -100], [0, 1, 0], [0, 0, 1]])
    first = features_at([(99, 9), (110, 9)], (200, 50))
    other = features_at([(0, 9), (10, 9)], (200, 50))
    row = evaluate_pair(first, other, identity_matches(2), moved, BENCHMARK)
    assert row["correct_matches"] == 2
    assert row["matching_score"] == (1 / 1 + 2 / 2) / 2


def test_repeatability_counts_neighbours_not_matches():
    # Two points share one neighbour at exactly 3 px, a third has none.
    one = np.array([[0.0, 0], [6, 0], [50, 50]])
    other = np.array([[3.0, 0]])
    assert repeatability(one, other, 3) == (2 + 1) / (3 + 1)
    assert repeatability(one, other, 2.999) == 0
    assert repeatability(one, np.zeros((0, 2)), 3) == 0
    assert repeatability(np.zeros((0, 2)), other, 3) == 0


@pytest.mark.parametrize(("n1", "nk"), [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_no_matches_score_0(n1, nk):
    row = evaluate_pair(
        features_at(POINTS_1[:n1], SIZE_1),
        features_at(POINTS_K[:nk], SIZE_K),
        np.zeros((0, 2), np.int32),
        PERSPECTIVE,
        BENCHMARK,
    )
    assert (row["features_1"], row["features_k"], row["matches"]) == (n1, nk, 0)
    assert [row[f"mma_{t}px"] for t in THRESHOLDS] == [0.0] * 15
    assert row["correct_matches"] == row["matching_score"] == 0
    assert row["corner_error_px"] == math.inf
    assert [row[f"h_accuracy_{t}px"] for t in (1, 3, 5)] == [0, 0, 0]
    if not (n1 and nk):
        assert row["repeatability"] == 0


def test_points_that_go_to_infinity_are_never_correct():
    # w = 1 - x / 128 is 0 at x = 128: x becomes infinite and y, of 0, not a number.
    vanishing = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 128, 0, 1]])
    first = features_at([(128, 0), (128, 7), (0, 3)], (400, 400))
    other = features_at([(128, 0), (128, 7), (0, 3)], (400, 400))
    errors = match_errors(first.keypoints, other.keypoints, vanishing)
    assert errors.tolist() == [math.inf, math.inf, 0]
    row = evaluate_pair(first, other, identity_matches(3), vanishing, BENCHMARK)
    assert [row[f"mma_{t}px"] for t in THRESHOLDS] == [1 / 3] * 15
    assert row["correct_matches"] == 1


def test_points_behind_the_camera_are_divided_as_the_notebook_does():
    # w = 1 - 256 / 128 = -1: (256, 4) -> (-256, -4); the match at (0, 0) is off by its length.
    vanishing = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 128, 0, 1]])
    errors = match_errors(np.array([[256.0, 4]]), np.zeros((1, 2)), vanishing)
    assert errors.tolist() == [math.sqrt(256**2 + 4**2)]


@dataclass
class FakeEstimator:
    found: np.ndarray | None
    calls: list = field(default_factory=list)

    def estimate(self, points_1, points_2, seed):
        self.calls.append((np.array(points_1), np.array(points_2), seed))
        return self.found


def test_the_corner_error_counts_up_to_its_threshold_and_is_of_image_1():
    off = np.array([[1.0, 0, 3], [0, 1, 0], [0, 0, 1]])
    fake = FakeEstimator(off)
    first, other = features_at([(1, 2), (3, 4)], (50, 40)), features_at([(5, 6), (7, 8)], (9, 9))
    matches = np.array([[0, 1], [1, 0]], np.int32)
    row = evaluate_pair(
        first, other, matches, np.eye(3), replace(BENCHMARK, estimator=fake), seed=17
    )
    assert row["corner_error_px"] == 3
    assert [row[f"h_accuracy_{t}px"] for t in (1, 3, 5)] == [0, 1, 1]
    ((points_1, points_2, seed),) = fake.calls
    assert points_1.tolist() == [[1, 2], [3, 4]]
    assert points_2.tolist() == [[7, 8], [5, 6]]  # as they are matched
    assert seed == 17
    # A stretch by 2 moves the corners (49, 39) of image 1: a mean of 0, 49, 39 and the diagonal.
    fake.found = np.diag([2.0, 2.0, 1.0])
    row = evaluate_pair(first, other, matches, np.eye(3), replace(BENCHMARK, estimator=fake))
    assert row["corner_error_px"] == pytest.approx((0 + 49 + 39 + math.hypot(49, 39)) / 4)


def test_the_estimator_of_the_protocol():
    assert HomographyEstimator("poselib", 3.0, 0.9999, 1000, 10000) == BENCHMARK.estimator
    assert BENCHMARK.corner_error_px == (1, 3, 5)
    assert BENCHMARK.correct_px == 3


# The authors' notebook and the added columns once more, as slow loops from their description.


def slow_project(homography, point) -> tuple[float, float]:
    x, y = float(point[0]), float(point[1])
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in homography.tolist())
    return u / w, v / w


def slow_is_inside(point, size) -> bool:
    return all(-0.5 <= p <= s - 0.5 for p, s in zip(point, size, strict=True))


def slow_distance(one, other) -> float:
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True)))


def slow_matches(first, other) -> list[tuple[int, int]]:
    similarity = [
        [sum(float(a) * float(b) for a, b in zip(d1, dk, strict=True)) for dk in other.descriptors]
        for d1 in first.descriptors
    ]
    there = [max(range(len(other)), key=row.__getitem__) for row in similarity]
    back = [
        max(range(len(first)), key=[row[k] for row in similarity].__getitem__)
        for k in range(len(other))
    ]
    return [(i, j) for i, j in enumerate(there) if back[j] == i]


def slow_pair(first, other, matches, homography) -> dict:
    errors = [
        slow_distance(slow_project(homography, first.keypoints[i]), other.keypoints[j])
        for i, j in matches
    ]
    row = {"features_1": len(first), "features_k": len(other), "matches": len(errors)}
    for threshold in THRESHOLDS:
        good = sum(error <= threshold for error in errors)
        row[f"mma_{threshold}px"] = good / len(errors) if errors else 0.0
    correct = [match for match, error in zip(matches, errors, strict=True) if error <= 3]
    row["correct_matches"] = len(correct)
    inverse = np.linalg.inv(homography)
    in_k = {i: slow_project(homography, p) for i, p in enumerate(first.keypoints)}
    in_k = {i: p for i, p in in_k.items() if slow_is_inside(p, other.image_size)}
    of_k = {
        j: p
        for j, p in enumerate(other.keypoints)
        if slow_is_inside(slow_project(inverse, p), first.image_size)
    }
    score = sum(i in in_k for i, _ in correct) / len(in_k) if in_k else 0.0
    score += sum(j in of_k for _, j in correct) / len(of_k) if of_k else 0.0
    row["matching_score"] = score / 2
    in_k, of_k = list(in_k.values()), list(of_k.values())
    near = sum(any(slow_distance(p, q) <= 3 for q in of_k) for p in in_k)
    near += sum(any(slow_distance(p, q) <= 3 for q in in_k) for p in of_k)
    row["repeatability"] = near / (len(in_k) + len(of_k)) if in_k and of_k else 0.0
    return row


def random_pair(seed: int):
    """Two views of some points under a random perspective, with noise and strangers."""
    rng = np.random.default_rng(seed)
    size_1, size_k = (120, 90), (100, 110)
    homography = np.eye(3) + rng.uniform(-1, 1, (3, 3)) * [
        [0.2, 0.2, 15],
        [0.2, 0.2, 15],
        [1e-3, 1e-3, 0],
    ]
    n = int(rng.integers(0, 30))
    points_1 = rng.uniform((0, 0), (119, 89), (n, 2)).astype(np.float32)
    seen = np.array([slow_project(homography, p) for p in points_1]).reshape(-1, 2)
    points_k = (seen + rng.normal(0, 3, seen.shape)).astype(np.float32)
    descriptors = rng.normal(size=(n, 6))
    other = descriptors + rng.normal(0, 0.5, descriptors.shape)
    kept = [k for k in range(n) if slow_is_inside(points_k[k], size_k)]
    strangers = int(rng.integers(0, 6))
    points_k = np.vstack([points_k[kept], rng.uniform((0, 0), (99, 109), (strangers, 2))])
    other = np.vstack([other[kept], rng.normal(size=(strangers, 6))])

    def features(points, described, size):
        described = described / np.linalg.norm(described, axis=1, keepdims=True)
        return features_at(points, size, described)

    return features(points_1, descriptors, size_1), features(points_k, other, size_k), homography


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_pair_equals_the_slow_notebook(seed):
    first, other, homography = random_pair(seed)
    matches = mutual_nearest_neighbors(first.descriptors, other.descriptors)
    expected_matches = slow_matches(first, other) if len(first) and len(other) else []
    assert [tuple(match) for match in matches.tolist()] == expected_matches
    row = evaluate_pair(first, other, matches, homography, BENCHMARK)
    for name, value in slow_pair(first, other, expected_matches, homography).items():
        assert row[name] == pytest.approx(value, abs=1e-12), name


def some_rows(rng, split: str, pairs: int) -> list[dict]:
    rows = []
    for _ in range(pairs):
        row = {"split": split, "matches": int(rng.integers(0, 3000))}
        row |= {f"mma_{t}px": float(rng.random()) for t in THRESHOLDS}
        row |= {name: float(rng.random()) for name in ("matching_score", "repeatability")}
        row["correct_matches"] = int(rng.integers(0, 900))
        row["corner_error_px"] = float(rng.choice([rng.uniform(0, 8), math.inf]))
        row |= {f"h_accuracy_{t}px": float(row["corner_error_px"] <= t) for t in (1, 3, 5)}
        rows.append(row)
    return rows


def some_images(rng, split: str, count: int) -> list[dict]:
    return [
        {
            "split": split,
            "features": int(rng.integers(0, 9000)),
            "seconds": float(rng.random()),
            "peak_memory_mib": float(rng.uniform(100, 900)),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize(("i", "v"), [(52, 56), (1, 6)])
def test_the_summary_divides_by_the_pairs_of_each_split(i, v):
    """In a complete set these are the notebook's 52 * 5, 56 * 5 and 108 * 5."""
    rng = np.random.default_rng(i)
    rows = some_rows(rng, "i", i * 5) + some_rows(rng, "v", v * 5)
    images = some_images(rng, "i", i * 6) + some_images(rng, "v", v * 6)
    overall, of_i, of_v = summarize(rows, images, BENCHMARK)
    assert [row["split"] for row in (overall, of_i, of_v)] == ["overall", "i", "v"]
    assert [row["pairs"] for row in (overall, of_i, of_v)] == [(i + v) * 5, i * 5, v * 5]
    assert [row["images"] for row in (overall, of_i, of_v)] == [(i + v) * 6, i * 6, v * 6]
    means = {f"mma_{t}px": f"mma_{t}px" for t in THRESHOLDS}
    means |= {f"h_accuracy_{t}px": f"h_accuracy_{t}px" for t in (1, 3, 5)}
    means |= {"mean_matches": "matches", "mean_correct_matches": "correct_matches"}
    means |= {"matching_score": "matching_score", "repeatability": "repeatability"}
    for column, source in means.items():
        sum_i = sum(row[source] for row in rows[: i * 5])
        sum_v = sum(row[source] for row in rows[i * 5 :])
        assert of_i[column] == pytest.approx(sum_i / (i * 5), rel=1e-12)
        assert of_v[column] == pytest.approx(sum_v / (v * 5), rel=1e-12)
        assert overall[column] == pytest.approx((sum_i + sum_v) / ((i + v) * 5), rel=1e-12)
    counts = [image["features"] for image in images]
    assert overall["mean_features"] == pytest.approx(sum(counts) / len(counts), rel=1e-12)
    assert of_i["mean_features"] == pytest.approx(sum(counts[: i * 6]) / (i * 6), rel=1e-12)
    assert of_v["peak_memory_mib"] == max(image["peak_memory_mib"] for image in images[i * 6 :])
    seconds = [image["seconds"] for image in images]
    assert overall["seconds_per_image"] == pytest.approx(sum(seconds) / len(seconds), rel=1e-12)


def test_overall_is_not_the_mean_of_the_splits():
    rng = np.random.default_rng(0)
    rows = some_rows(rng, "i", 1) + some_rows(rng, "v", 3)
    for row, value in zip(rows, (1.0, 0.0, 0.5, 0.1), strict=True):
        row["mma_3px"] = value
    overall, of_i, of_v = summarize(rows, some_images(rng, "i", 2), BENCHMARK)
    assert (of_i["mma_3px"], of_v["mma_3px"]) == (1.0, pytest.approx(0.2))
    assert overall["mma_3px"] == pytest.approx(1.6 / 4)  # the mean of the splits is 0.6


def test_features_are_counted_once_for_each_image():
    # Image 1 takes part in five pairs; counting it with each of them would give 55.
    images = [
        {"split": "v", "features": n, "seconds": 1.0, "peak_memory_mib": 1.0}
        for n in (100, 10, 10, 10, 10, 10)
    ]
    rows = some_rows(np.random.default_rng(1), "v", 5)
    assert summarize(rows, images, BENCHMARK)[0]["mean_features"] == 25


def test_the_auc_of_the_corner_errors_by_hand():
    rng = np.random.default_rng(2)
    rows = some_rows(rng, "v", 2)
    rows[0]["corner_error_px"], rows[1]["corner_error_px"] = 1.0, math.inf
    overall, of_i, _ = summarize(rows, some_images(rng, "v", 3), BENCHMARK)
    # Up to t px: a triangle of 1 x 1/2, then 1/2 as far as t.
    assert overall["h_auc_1px"] == 0  # as in SuperGlue's, an error of t px is not below t
    assert overall["h_auc_3px"] == pytest.approx((0.25 + 0.5 * 2) / 3)
    assert overall["h_auc_5px"] == pytest.approx((0.25 + 0.5 * 4) / 5)
    assert math.isnan(of_i["h_auc_3px"])


def test_a_split_without_pairs_is_not_known():
    rng = np.random.default_rng(3)
    _, of_i, of_v = summarize(some_rows(rng, "v", 5), some_images(rng, "v", 6), BENCHMARK)
    assert (of_i["images"], of_i["pairs"]) == (0, 0)
    numbers = {name: of_i[name] for name in of_i if name not in ("split", "images", "pairs")}
    assert all(math.isnan(value) for value in numbers.values())
    assert not any(math.isnan(value) for name, value in of_v.items() if name != "split")


def test_costs_that_are_not_known_are_left_out():
    rng = np.random.default_rng(4)
    images = some_images(rng, "i", 3)
    images[1] |= {"seconds": math.nan, "peak_memory_mib": math.nan}
    overall = summarize(some_rows(rng, "i", 2), images, BENCHMARK)[0]
    assert overall["seconds_per_image"] == (images[0]["seconds"] + images[2]["seconds"]) / 2
    assert overall["peak_memory_mib"] == max(images[k]["peak_memory_mib"] for k in (0, 2))


def test_an_image_without_features_takes_part_with_zeros():
    first, other = no_features(4, SIZE_1), no_features(4, SIZE_K)
    matches = mutual_nearest_neighbors(first.descriptors, other.descriptors)
    row = evaluate_pair(first, other, matches, PERSPECTIVE, BENCHMARK) | {"split": "v"}
    images = [{"split": "v", "features": 0, "seconds": 1.0, "peak_memory_mib": 1.0}] * 2
    overall = summarize([row], images, BENCHMARK)[0]
    zeros = ["mean_features", "mean_matches", *(f"mma_{t}px" for t in THRESHOLDS)]
    assert [overall[name] for name in zeros] == [0.0] * 17


# Real images: what the command stored is scored again with OpenCV and plain numpy.

SHOWN = ("i_mexico", "v_dogman")


def stored_features(cache: Path, image: Path) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    (path,) = (cache / "features").glob(f"*/{digest}.h5")
    with h5py.File(path) as file:
        return {name: file[name][()] for name in ("keypoints", "scores", "descriptors")}


def best(features: dict[str, np.ndarray], k: int | None) -> dict[str, np.ndarray]:
    order = sorted(range(len(features["scores"])), key=lambda n: -features["scores"][n])[:k]
    return {name: array[order] for name, array in features.items()} if k else features


def scored_again(folder: Path, cache: Path, k: int, top_k: int | None) -> dict[str, float]:
    """Features, matches and MMA of images 1 and k, with OpenCV."""
    suffix = ".ppm" if (folder / "1.ppm").is_file() else ".png"
    one, other = (best(stored_features(cache, folder / f"{n}{suffix}"), top_k) for n in (1, k))
    # Of vectors of unit length the nearest has the largest dot product.
    matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    matches = matcher.match(one["descriptors"], other["descriptors"])
    pairs = np.array([(m.queryIdx, m.trainIdx) for m in matches])
    homography = np.loadtxt(folder / f"H_1_{k}")
    moved = cv2.perspectiveTransform(
        one["keypoints"][pairs[:, 0]].astype(np.float64)[:, None], homography
    )[:, 0]
    errors = np.hypot(*(moved - other["keypoints"][pairs[:, 1]]).T)
    row = {"features_1": len(one["scores"]), "features_k": len(other["scores"])}
    row |= {"matches": len(pairs), "correct_matches": int((errors <= 3).sum())}
    return row | {f"mma_{t}px": float(np.mean(errors <= t)) for t in THRESHOLDS}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory):
    """Runs on two real sequences with all features, then with the best 300."""
    if not all((SEQUENCES / name).is_dir() for name in SHOWN):
        pytest.skip(f"needs the HPatches sequences {' and '.join(SHOWN)} in {SEQUENCES}")
    root = tmp_path_factory.mktemp("real")

    def run(label: str, *arguments: str) -> Path:
        command = [
            "hpatches", "--method", "rootsift",
            "--data", str(SEQUENCES), "--sequences", ",".join(SHOWN), "--name", label,
            "--cache", str(root / "cache"), "--output", str(root / "runs"), *arguments,
        ]  # fmt: skip
        assert main(command) == 0
        return root / "runs" / "hpatches" / label

    folders = {None: run("all"), 300: run("best", "--top-k", "300")}
    return root / "cache", folders


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, 300])
def test_real_sequences_scored_again_with_opencv(real_runs, top_k):
    cache, folders = real_runs
    rows = read_csv(folders[top_k] / "pairs.csv")
    assert [(row["sequence"], row["image"]) for row in rows] == [
        (name, str(k)) for name in SHOWN for k in range(2, 7)
    ]
    again = []
    for row in rows:
        expected = scored_again(SEQUENCES / row["sequence"], cache, int(row["image"]), top_k)
        again.append(expected)
        # Neighbours closer to each other than float32 resolves may be taken either way.
        slack = 1 / expected["matches"]
        assert int(row["features_1"]) == expected["features_1"]
        assert int(row["features_k"]) == expected["features_k"]
        assert int(row["matches"]) == pytest.approx(expected["matches"], abs=1)
        assert int(row["correct_matches"]) == pytest.approx(expected["correct_matches"], abs=1)
        for threshold in THRESHOLDS:
            column = f"mma_{threshold}px"
            assert float(row[column]) == pytest.approx(expected[column], abs=slack)
    for line, part in zip(
        read_csv(folders[top_k] / "summary.csv"), (again, again[:5], again[5:]), strict=True
    ):
        assert float(line["mean_matches"]) == pytest.approx(
            np.mean([row["matches"] for row in part]), abs=1
        )
        for threshold in THRESHOLDS:
            column = f"mma_{threshold}px"
            assert float(line[column]) == pytest.approx(
                np.mean([row[column] for row in part]), abs=5e-4
            )


@pytest.mark.slow
def test_real_features_are_counted_once_for_each_image(real_runs):
    cache, folders = real_runs
    counts = [
        len(stored_features(cache, image)["scores"])
        for name in SHOWN
        for image in sorted((SEQUENCES / name).glob("[1-6].p*"))
    ]
    assert len(counts) == 12
    line = read_csv(folders[None] / "summary.csv")[0]
    assert float(line["mean_features"]) == pytest.approx(np.mean(counts), rel=1e-8)
    manifest = json.loads((folders[300] / "manifest.json").read_text())
    assert manifest["extracted_now"] == 0  # the best are a choice among those of the first run
