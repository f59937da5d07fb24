"""Covisible pairs against counts by hand and by loops."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2eval.aachen.data.covisibility import covisible_pairs, read_tracks
from d2eval.foundation.errors import D2EvalError

NVM = """NVM_V3

3
a.jpg 100 1 0 0 0 0 0 0 0 0
b.jpg 100 1 0 0 0 1 0 0 0 0
c.jpg 100 1 0 0 0 2 0 0 0 0

2
0 0 5 10 20 30 2 0 17 1.5 2.5 2 4 3.5 4.5
1 0 5 10 20 30 3 0 18 1 2 1 3 3 4 2 5 5 6
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "model.nvm"
    path.write_text(text)
    return path


def test_tracks_by_hand(tmp_path):
    assert read_tracks(write(tmp_path, NVM), 3) == ([0, 2, 0, 1, 2], [0, 0, 1, 1, 1])


def test_a_model_without_points(tmp_path):
    for text in (NVM.split("\n2\n")[0], NVM.split("2\n0 0 5")[0] + "0\n"):
        assert read_tracks(write(tmp_path, text), 3) == ([], [])


@pytest.mark.parametrize(
    "line", ["0 0 5 1 2 3 2 0 17 1 2", "0 0 5 1 2 3 1 7 17 1 2", "0 0 5 1 2 3 1 x 17 1 2", "0 0"]
)
def test_broken_points_are_named(tmp_path, line):
    path = write(tmp_path, NVM.replace("0 0 5 10 20 30 2 0 17 1.5 2.5 2 4 3.5 4.5", line))
    with pytest.raises(D2EvalError, match=r"model\.nvm: line 9: not a point"):
        read_tracks(path, 3)


def test_the_most_covisible_come_first():
    images = [0, 1, 0, 1, 0, 2, 1, 2, 3]
    points = [0, 0, 1, 1, 2, 2, 3, 3, 9]  # a-b share two points, a-c and b-c one, d none
    names = ["a", "b", "c", "d"]
    assert covisible_pairs(images, points, names, 1) == [("a", "b"), ("c", "a")]
    pairs = {frozenset(pair) for pair in covisible_pairs(images, points, names, 2)}
    assert pairs == {frozenset("ab"), frozenset("ac"), frozenset("bc")}


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_like_hloc_counts(seed, count):
    rng = np.random.default_rng(seed)
    seen = sorted({(int(i), int(p)) for i, p in rng.integers(0, (6, 8), (25, 2))})
    names = [f"{i}.jpg" for i in range(6)]
    expected = set()
    for image in range(6):
        others = Counter(j for i, p in seen if i == image for j, q in seen if q == p and j != image)
        best = sorted(others, key=lambda j, others=others: (-others[j], j))[:count]
        expected |= {frozenset((names[image], names[j])) for j in best}
    found = covisible_pairs([i for i, _ in seen], [p for _, p in seen], names, count)
    assert {frozenset(pair) for pair in found} == expected
    assert len(found) == len(expected)
