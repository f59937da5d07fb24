"""Second nearest neighbours in blocks, against sorting whole rows."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2eval.contracts.matching import squared_distances
from d2eval.foundation.arrays import nearest
from d2eval.foundation.arrays.nearest import (
    Nearest,
    nearest_in_blocks,
    nearest_neighbors,
    similarity_blocks,
)


def held_at_most(block_bytes: int):
    """Within it, a block of similarities has no more bytes than that."""
    return mock.patch.object(nearest, "CPU_BLOCK_BYTES", block_bytes)


def plain(similarity: np.ndarray) -> tuple[list[int], list[float], list[float]]:
    """Index, score and second score of each row, by sorting it."""
    found = []
    for row in similarity.tolist():
        order = sorted(range(len(row)), key=lambda j: (-row[j], j))
        found.append((order[0], row[order[0]], row[order[1]] if len(row) > 1 else -np.inf))
    return tuple(zip(*found, strict=True))


def assert_plain(found: tuple[Nearest, Nearest], first, second) -> None:
    similarity = first.astype(np.float64) @ second.T.astype(np.float64)
    for side, matrix in zip(found, (similarity, similarity.T), strict=True):
        index, score, runner_up = plain(matrix)
        assert side.index.dtype == np.int32
        assert side.index.tolist() == list(index)
        assert side.score.tolist() == list(score)
        assert side.second.tolist() == list(runner_up)


# Products of whole numbers this small are exact in any order of summation, so ties are true ties.
def whole_numbers(dim: int):
    return st.integers(1, 9).flatmap(
        lambda n: arrays(np.float32, (n, dim), elements=st.integers(-2, 2).map(float))
    )


SETS = st.integers(1, 3).flatmap(lambda d: st.tuples(whole_numbers(d), whole_numbers(d)))


@settings(max_examples=100, deadline=None)
@given(SETS, st.integers(1, 200))
def test_equals_sorting_ties_included(pair, block_bytes):
    with held_at_most(block_bytes):
        found = nearest_neighbors(*pair, with_second=True)
    assert_plain(found, *pair)


@settings(max_examples=100, deadline=None)
@given(SETS, st.integers(1, 200))
def test_the_operations_for_a_gpu_find_the_same(pair, block_bytes):
    first, second = pair
    with held_at_most(block_bytes):
        blocks = similarity_blocks(first, second)
        found = nearest_in_blocks(blocks, len(first), len(second), with_second=True)
    assert_plain(found, *pair)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_in_many_blocks(threads):
    before = torch.get_num_threads()
    random = np.random.default_rng(threads)
    first, second = (random.integers(-9, 10, (n, 8)).astype(np.float32) for n in (301, 203))
    torch.set_num_threads(threads)
    try:
        with held_at_most(4096):
            found = nearest_neighbors(first, second, with_second=True)
    finally:
        torch.set_num_threads(before)
    assert_plain(found, first, second)


def test_the_second_is_not_made_where_nobody_asks():
    ones = np.ones((3, 1), np.float32)
    there, back = nearest_neighbors(ones, ones)
    assert (len(there.second), len(back.second)) == (0, 0)
    blocks = similarity_blocks(ones, ones)
    assert [len(side.second) for side in nearest_in_blocks(blocks, 3, 3)] == [0, 0]


def test_distances():
    # By hand: equal, at right angles, opposite; rounding doesn't make one negative.
    similarity = np.array([1, 0, -1, 1 + 1e-6], np.float32)
    assert squared_distances(similarity).tolist() == [0, 2, 4, 0]
