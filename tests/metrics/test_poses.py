import math

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import (
    center,
    pose_cells,
    pose_from_wxyz,
    pose_line,
    read_poses,
    wxyz,
)
from d2eval.localization.reasons import shortage
from d2eval.metrics.intervals import wilson_interval
from d2eval.metrics.poses import Threshold, count_within, pose_error

HALF = math.sqrt(0.5)
UNIT = "1 0 0 0 0 0 0"


def pose(matrix, translation):
    return pycolmap.Rigid3d(pycolmap.Rotation3d(np.array(matrix, float)), translation)


QUARTER_Z = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # turns x to y
poses = st.builds(
    lambda turn, move: pycolmap.Rigid3d(pycolmap.Rotation3d(np.array(turn)), np.array(move)),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-1e4, 1e4)] * 3),
)


def test_pose_error_by_hand():
    # Centres -R^T t: of the reference (0, 0, 0); of the estimate R^T (3, 4, 0) = (4, -3, 0).
    estimate = pose(QUARTER_Z, [-3, -4, 0])
    assert center(estimate) == pytest.approx([4, -3, 0])
    position, rotation = pose_error(estimate, pycolmap.Rigid3d())
    assert position == pytest.approx(5)
    assert rotation == pytest.approx(90)


def test_translations_are_not_centres():
    # Same centre (1, 2, 3), other rotation: translations differ, the position error doesn't.
    turned = pose(QUARTER_Z, -np.array(QUARTER_Z) @ [1, 2, 3])
    position, rotation = pose_error(turned, pose(np.eye(3), [-1, -2, -3]))
    assert position == pytest.approx(0, abs=1e-12)
    assert rotation == pytest.approx(90)


@pytest.mark.parametrize("degrees", [0, 1e-7, 0.02, 1, 90, 179.99, 180])
def test_rotation_errors_of_all_sizes(degrees):
    turn = pycolmap.Rotation3d(np.deg2rad(degrees) * np.array([2, -1, 2]) / 3)
    turned = pycolmap.Rigid3d(turn, np.zeros(3))
    assert pose_error(turned, pycolmap.Rigid3d())[1] == pytest.approx(degrees, abs=1e-12, rel=1e-9)


@settings(max_examples=50)
@given(poses, poses)
def test_pose_error_agrees_with_matrices(one, other):
    A, B = one.matrix(), other.matrix()
    centers = [-M[:, :3].T @ M[:, 3] for M in (A, B)]
    cosine = (np.trace(B[:, :3].T @ A[:, :3]) - 1) / 2
    position, rotation = pose_error(one, other)
    assert position == pytest.approx(np.linalg.norm(centers[0] - centers[1]), abs=1e-8)
    assert math.cos(math.radians(rotation)) == pytest.approx(np.clip(cosine, -1, 1), abs=1e-12)
    assert pose_error(other, one) == pytest.approx((position, rotation), abs=1e-8)
    assert 0 <= rotation <= 180


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [
        (0, 10, 0.0, 27.75),  # 0/n: z^2 / (n + z^2)
        (10, 10, 72.25, 100.0),
        (5, 10, 23.66, 76.34),  # textbook values
        (1, 10, 1.79, 40.42),
        (81, 263, 25.53, 36.62),  # Newcombe 1998, table I
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
        (71, 98, 62.88, 80.32),
        (98, 98, 96.23, 100.0),
    ],
)
def test_wilson_interval_by_hand(count, trials, low, high):
    found = wilson_interval(count, trials)
    assert [100 * share for share in found] == pytest.approx([low, high], abs=0.006)
    assert 0 <= found[0] <= found[1] <= 1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_equation(case):
    # Its ends are the shares p for which |observed - p| is 1.96 standard errors of p.
    count, trials = case
    for share in wilson_interval(count, trials):
        variance = share * (1 - share) / trials
        squared = (count / trials - share) ** 2
        assert squared == pytest.approx(1.959963985**2 * variance, rel=1e-6, abs=1e-12)


def test_wilson_interval_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_count_within_takes_limits_in():
    errors = [
        (0.5, 2.0), (0.5, 1.9), (0.4, 2.0), (0.4, 1.9), (0.6, 1.0), (0.1, 2.1),
        (math.nan, math.nan), (0.1, math.nan), (math.nan, 1.0), (math.inf, 0.0), (0.0, math.inf),
    ]  # fmt: skip
    threshold = Threshold(0.5, 2.0)
    assert count_within(errors, threshold) == 4
    assert count_within([], threshold) == 0


def test_read_poses(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text(
        "# name qw qx qy qz tx ty tz\n"
        "\n"
        f"a/b.jpg {HALF} 0 0 {HALF} 1 -2.5 3e2\n"
        "   # indented\n"
        "c.jpg\t1 0  0 0 0 0 0\r\n"
    )
    found = read_poses(path)
    assert list(found) == ["a/b.jpg", "c.jpg"]
    np.testing.assert_allclose(
        found["a/b.jpg"].matrix(), np.column_stack([QUARTER_Z, [1, -2.5, 300]]), atol=1e-15
    )
    assert found["c.jpg"].matrix().tolist() == np.eye(3, 4).tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.jpg 1 0 0 0 0 0", "not `name qw qx qy qz tx ty tz`"),
        ("b.jpg 1 0 0 0 0 0 0 0", "not `name qw qx qy qz tx ty tz`"),
        ("b.jpg", "not `name qw qx qy qz tx ty tz`"),
        ("b.jpg 1 0 0 x 0 0 0", "not `name qw qx qy qz tx ty tz`"),
        ("my photo.jpg 1 0 0 0 0 0 0", "not `name qw qx qy qz tx ty tz`"),
        ("a.jpg 1 0 0 0 0 0 0", "a.jpg stands twice"),
        ("b.jpg 0 0 0 0 0 0 0", "no pose"),
        ("b.jpg nan 0 0 0 0 0 0", "no pose"),
        ("b.jpg 1 0 0 0 0 nan 0", "no pose"),
        ("b.jpg 1 0 0 0 0 0 inf", "no pose"),
        ("b.jpg inf 0 0 0 0 0 0", "no pose"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "poses.txt"
    path.write_text(f"# poses\n\na.jpg {UNIT}\n{line}\n")
    with pytest.raises(D2EvalError) as caught:
        read_poses(path)
    assert str(caught.value).startswith(f"{path}: line 4: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "is missing; add it"), (b"a.jpg \xff\xfe 0", "line 1 is no UTF-8 text")],
)
def test_a_file_that_can_t_be_read(tmp_path, content, expected):
    path = tmp_path / "poses.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(D2EvalError, match=rf"poses\.txt: {expected}"):
        read_poses(path)


@pytest.mark.parametrize(
    ("length", "noted"), [(1.0009, False), (0.9991, False), (1.0011, True), (0.5, True), (3, True)]
)
def test_quaternions_are_normalised_with_a_note(tmp_path, capsys, length, noted):
    path = tmp_path / "poses.txt"
    path.write_text(f"a.jpg {0.6 * length} 0 {0.8 * length} 0 1 2 3\n")
    found = read_poses(path)["a.jpg"]
    assert wxyz(found) == pytest.approx([0.6, 0, 0.8, 0], abs=1e-14)
    assert found.translation.tolist() == [1, 2, 3]
    told = capsys.readouterr().err
    assert (
        told == f"note: {path}: line 1: quaternion of length {length:.6g} normalised\n"
    ) == noted
    assert bool(told) == noted


def test_w_is_written_first_and_not_negative():
    assert wxyz(pose_from_wxyz([-0.6, 0.8, 0, 0], [0, 0, 0], "x")) == pytest.approx(
        [0.6, -0.8, 0, 0]
    )
    turned = pose_from_wxyz([-0.6, 0.8, 0, 0], [1, -2.25, 1e-7], "x")
    name, *values = pose_line("a.jpg", turned).split(" ")
    assert name == "a.jpg"
    assert list(map(float, values)) == [0.6, -0.8, 0, 0, 1, -2.25, 1e-7]


def test_cells_of_a_row():
    turned = pose_from_wxyz([-0.6, 0.8, 0, 0], [1, -2.25, 1e-7], "x")
    cells = pose_cells(turned, "ref_")
    assert list(cells) == [f"ref_{name}" for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")]
    assert [float(cell) for cell in cells.values()] == [0.6, -0.8, 0, 0, 1, -2.25, 1e-7]
    none = pose_cells(None)
    assert none == dict.fromkeys(("qw", "qx", "qy", "qz", "tx", "ty", "tz"))


@settings(max_examples=50)
@given(poses)
def test_a_line_comes_back(tmp_path_factory, pose):
    path = tmp_path_factory.mktemp("line") / "poses.txt"
    path.write_text(pose_line("a.jpg", pose) + "\n")
    position, rotation = pose_error(read_poses(path)["a.jpg"], pose)
    assert position < 1e-6
    assert rotation < 1e-6


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([("features", 3, 30), ("matches", 0, 30)], "too few features: 3, 30 are needed"),
        (
            [("features", 500, 30), ("matches", 30, 30), ("inliers", 29, 30)],
            "too few inliers: 29 of 30 matches, 30 are needed",
        ),
        ([("features", 500, 30)], "no pose: what was found agrees with none"),
    ],
)
def test_what_there_is_too_little_of(steps, words):
    assert shortage(steps) == words
