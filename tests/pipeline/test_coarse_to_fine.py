"""Coarse to fine, against the demo's way, cell by cell."""

import numpy as np
import pytest
from dense_maps import random_maps

from d2eval.contracts.maps import Maps
from d2eval.pipeline import coarse_to_fine
from d2eval.pipeline.coarse_to_fine import coarse_matches, fine_matches


def slow_owner(coarse: int, fine: int) -> list[int]:
    """MATLAB's imresize(1:coarse, [1 fine], 'nearest'), less 1."""
    scale = fine / coarse
    owners = []
    for i in range(1, fine + 1):
        u = i / scale + 0.5 * (1 - 1 / scale)
        owners.append(next(c for c in range(1, coarse + 1) if -0.5 <= u - c < 0.5) - 1)
    return owners


def slow_mutual(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    similarity = first @ second.T
    return [
        (i, j)
        for i, row in enumerate(similarity)
        for j in [int(row.argmax())]
        if int(similarity[:, j].argmax()) == i
    ]


def slow_near(maps: Maps, cell: int) -> list[int]:
    (rows, columns), (fine_rows, fine_columns) = maps.coarse.shape[:2], maps.fine.shape[:2]
    y, x = divmod(cell, columns)
    owner_y, owner_x = slow_owner(rows, fine_rows), slow_owner(columns, fine_columns)
    return [
        r * fine_columns + c
        for r in range(fine_rows)
        for c in range(fine_columns)
        if abs(owner_y[r] - y) <= 1 and abs(owner_x[c] - x) <= 1
    ]


def slow_fine_matches(query: Maps, cutout: Maps, coarse) -> list[list[int]]:
    found = set()
    fine = [maps.fine.reshape(-1, 4) for maps in (query, cutout)]
    for a, b in coarse:
        near_a, near_b = slow_near(query, a), slow_near(cutout, b)
        for i, j in slow_mutual(fine[0][near_a], fine[1][near_b]):
            found.add((near_a[i], near_b[j]))
    return [list(pair) for pair in sorted(found)]


@pytest.mark.parametrize(
    ("sides", "block_bytes"),
    [
        ([((4, 5), (8, 10)), ((4, 5), (8, 10))], None),
        ([((4, 5), (9, 11)), ((3, 6), (7, 12))], None),  # odd sides: a cell of three
        ([((1, 1), (2, 3)), ((6, 2), (12, 5))], None),
        ([((5, 5), (11, 10)), ((4, 4), (8, 9))], 1),  # a block for every match
    ],
)
def test_coarse_to_fine_agrees_with_loops(sides, block_bytes, monkeypatch):
    if block_bytes:
        monkeypatch.setattr(coarse_to_fine, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(3)
    for _ in range(3):
        query, cutout = (random_maps(rng, *shapes) for shapes in sides)
        coarse = coarse_matches(query, cutout)
        expected = slow_mutual(query.coarse.reshape(-1, 6), cutout.coarse.reshape(-1, 6))
        assert [tuple(pair) for pair in coarse.tolist()] == expected
        assert len(coarse) > 0
        found = fine_matches(query, cutout, coarse)
        assert found.tolist() == slow_fine_matches(query, cutout, expected)


def test_a_pair_of_fine_cells_counts_once():
    # The same image: overlapping neighbourhoods give the same pairs, each cell with itself.
    maps = random_maps(np.random.default_rng(0), (6, 7), (12, 14))
    coarse = coarse_matches(maps, maps)
    assert len(coarse) == 42
    assert fine_matches(maps, maps, coarse).tolist() == [[i, i] for i in range(168)]
