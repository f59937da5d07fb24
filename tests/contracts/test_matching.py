from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2eval.contracts.matching import mutual_nearest_neighbors, mutual_pairs
from d2eval.foundation.arrays import nearest
from d2eval.foundation.arrays.nearest import nearest_in_blocks, similarity_blocks


def held_at_most(block_bytes: int):
    """Within it, a block of similarities has no more bytes than that."""
    return mock.patch.object(nearest, "CPU_BLOCK_BYTES", block_bytes)


def brute_force(first: np.ndarray, second: np.ndarray) -> list[list[int]]:
    """Both ways by loops, in double precision; of equal neighbours the first one seen stays."""

    def closest(one: np.ndarray, others: np.ndarray) -> int:
        best, found = -np.inf, -1
        for index, other in enumerate(others):
            similarity = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
            if similarity > best:
                best, found = similarity, index
        return found

    there = [closest(one, second) for one in first] if len(second) else []
    back = [closest(other, first) for other in second] if len(first) else []
    return [[i, j] for i, j in enumerate(there) if back[j] == i]


# Products of whole numbers this small are exact in any order of summation, so ties are true ties.
def whole_numbers(dim: int):
    return st.integers(0, 9).flatmap(
        lambda n: arrays(np.float32, (n, dim), elements=st.integers(-2, 2).map(float))
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3).flatmap(lambda d: st.tuples(whole_numbers(d), whole_numbers(d))))
def test_equals_a_double_loop_ties_included(pair):
    first, second = pair
    assert mutual_nearest_neighbors(first, second).tolist() == brute_force(first, second)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3).flatmap(lambda d: st.tuples(whole_numbers(d), whole_numbers(d))),
    st.integers(1, 200),
)
def test_the_size_of_a_block_does_not_matter(pair, block_bytes):
    first, second = pair
    with held_at_most(block_bytes):
        found = mutual_nearest_neighbors(first, second)
    assert found.tolist() == brute_force(first, second)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3).flatmap(lambda d: st.tuples(whole_numbers(d), whole_numbers(d))),
    st.integers(1, 200),
)
def test_the_operations_for_a_gpu_find_the_same(pair, block_bytes):
    first, second = pair
    if not (len(first) and len(second)):
        return
    with held_at_most(block_bytes):
        blocks = similarity_blocks(first, second)
        found = mutual_pairs(*nearest_in_blocks(blocks, len(first), len(second)))
    assert found.tolist() == brute_force(first, second)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
def test_threads_are_as_before_and_their_number_does_not_matter(threads, set_threads):
    set_threads(threads)
    # Lines that are all equal are spread over the threads; the first of all must win every time.
    equal = np.ones((300, 2), np.float32)
    with held_at_most(100):
        for _ in range(6):
            assert mutual_nearest_neighbors(equal, equal).tolist() == [[0, 0]]
    assert torch.get_num_threads() == threads
    first, second = normalised(301, 64, 5), normalised(203, 64, 6)
    with held_at_most(16 * 1024):
        found = mutual_nearest_neighbors(first, second)
    similarity = first.astype(np.float64) @ second.T.astype(np.float64)
    there, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    assert found.tolist() == [[i, int(j)] for i, j in enumerate(there) if back[j] == i]


def normalised(n: int, dim: int, seed: int) -> np.ndarray:
    descriptors = np.random.default_rng(seed).normal(size=(n, dim))
    return (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("block_rows", [1, 7, 100, 1000])
def test_random_descriptors_in_blocks(block_rows):
    first, second = normalised(101, 16, 1), normalised(83, 16, 2)
    with held_at_most(block_rows * 4 * len(second)):
        found = mutual_nearest_neighbors(first, second)
    assert (found.dtype, found.ndim) == (np.int32, 2)
    assert 10 < len(found) < 83
    assert found.tolist() == brute_force(first, second)


def test_a_shuffled_copy_is_matched_to_itself():
    first = normalised(60, 32, 3)
    order = np.random.default_rng(4).permutation(60)
    found = mutual_nearest_neighbors(first, first[order])
    assert found[:, 0].tolist() == list(range(60))
    assert order[found[:, 1]].tolist() == list(range(60))


def test_by_hand():
    first = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    second = np.array([[0, 1], [1, 0]], np.float32)
    # 2 is nearest to 1 of the other side, which prefers 0.
    assert mutual_nearest_neighbors(first, second).tolist() == [[0, 1], [1, 0]]


def test_no_distance_test():
    opposite = mutual_nearest_neighbors(
        np.array([[1, 0]], np.float32), np.array([[-1, 0]], np.float32)
    )
    assert opposite.tolist() == [[0, 0]]


def test_duplicates_match_once_and_by_the_lowest_index():
    first = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    second = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    for block_bytes in (1, 32, 1 << 20):
        with held_at_most(block_bytes):
            found = mutual_nearest_neighbors(first, second)
        assert found.tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize(("n1", "n2"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_matches_nothing(n1, n2):
    found = mutual_nearest_neighbors(normalised(n1, 8, 0), normalised(n2, 8, 1))
    assert (found.shape, found.dtype) == ((0, 2), np.int32)
