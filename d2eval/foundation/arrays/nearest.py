"""Nearest neighbours by dot product, in blocks of the similarity matrix."""

import itertools
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt
import torch

from d2eval.foundation.arrays.compiled import compiled
from d2eval.foundation.arrays.gemm import multiply_transposed

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Block = tuple[slice, slice, torch.Tensor]  # rows, columns, and the matrix there

# A block stays in the caches between its product and its maxima.
CPU_BLOCK_BYTES = 2 * 1024 * 1024
CPU_BLOCK_COLUMNS = 1024
GPU_BLOCK_BYTES = 32 * 1024 * 1024
GPU_BLOCK_COLUMNS = 4096


@dataclass(frozen=True)
class Nearest:
    """The nearest neighbour of each of N features among those of another image."""

    index: IntArray  # (N,) int32, the lowest of equal ones
    # (N,) float32, how near it is, more being nearer: the dot product, or whatever else was
    # compared
    score: FloatArray
    # (N,) float32, how near the second nearest is, -inf where there is one feature only; empty
    # where it wasn't asked for
    second: FloatArray


@compiled(nogil=True, fastmath=True)
def _update(similarity, row, column, best_12, nearest_12, best_21, nearest_21):  # type: ignore[no-untyped-def]
    """Takes in one block, whose first element is [row, column] of the whole matrix.

    One pass over two lines that lie in the cache serves both directions. Of equal values the first
    counts, as blocks come in order. The loop is written so that it becomes vector code; a trial
    with four lines and `max` did not.
    """
    rows, columns = similarity.shape
    best_there = best_21[column : column + columns]
    nearest_there = nearest_21[column : column + columns]
    for top in range(0, rows, 2):
        upper, lower = similarity[top], similarity[min(top + 1, rows - 1)]  # the last may be alone
        upper_best, lower_best = upper[0], lower[0]
        upper_index, lower_index = np.int32(row + top), np.int32(row + top + 1)
        for j in range(columns):
            a, b = upper[j], lower[j]
            upper_best = a if a > upper_best else upper_best
            lower_best = b if b > lower_best else lower_best
            before, nearest_before = best_there[j], nearest_there[j]
            value = b if b > a else a
            index = lower_index if b > a else upper_index
            nearest_there[j] = index if value > before else nearest_before
            best_there[j] = value if value > before else before
        for i in range(top, min(top + 2, rows)):
            best = upper_best if i == top else lower_best
            if best > best_12[row + i]:
                best_12[row + i] = best
                line = similarity[i]
                for j in range(columns):
                    if line[j] == best:
                        nearest_12[row + i] = column + j
                        break


@compiled(nogil=True, fastmath=True)
def _update_second(similarity, row, column, nearest_12, second_12, nearest_21, second_21):  # type: ignore[no-untyped-def]
    """Takes in one block, after `_update`, of what is nobody's nearest neighbour."""
    rows, columns = similarity.shape
    nearest_there = nearest_21[column : column + columns]
    second_there = second_21[column : column + columns]
    for i in range(rows):
        line, index = similarity[i], np.int32(row + i)
        own, best = nearest_12[row + i] - column, second_12[row + i]
        for j in range(columns):
            before = second_there[j]
            there = before if nearest_there[j] == index else line[j]
            second_there[j] = there if there > before else before
            here = best if j == own else line[j]
            best = here if here > best else best
        second_12[row + i] = best


@dataclass(frozen=True)
class _Blocks:
    """A grid over the similarity matrix.

    Blocks are of like size: a small last one would take another path through the BLAS, which sums
    in another order. Their sizes don't depend on the number of threads, so neither do the matches.
    """

    rows: list[tuple[int, int]]
    columns: list[tuple[int, int]]
    elements: int  # of the largest block

    @classmethod
    def of(cls, n1: int, n2: int, columns: int, block_bytes: int) -> "_Blocks":
        """Blocks of at most so many columns and bytes of float32."""
        columns = max(1, min(n2, columns, block_bytes // 4))
        rows = max(1, min(n1, block_bytes // (4 * columns)))

        def even(n: int, size: int) -> list[tuple[int, int]]:
            count = math.ceil(n / size)
            return list(itertools.pairwise(n * i // count for i in range(count + 1)))

        return cls(even(n1, rows), even(n2, columns), rows * columns)


class _Maxima:
    """Running maxima of one direction, in NumPy."""

    def __init__(self, n: int) -> None:
        self.best = np.full(n, -np.inf, np.float32)
        self.nearest = np.zeros(n, np.int32)
        self.second = np.full(n, -np.inf, np.float32)

    def displaced(self, start: int, before: FloatArray) -> None:
        """What was nearest until a block's nearer ones came is the second nearest now."""
        here = slice(start, start + len(before))
        lost = np.where(before < self.best[here], before, np.float32(-np.inf))
        np.maximum(self.second[here], lost, out=self.second[here])


def _nearest_on_cpu(
    first: FloatArray, second: FloatArray, with_second: bool
) -> tuple[Nearest, Nearest]:
    """Nearest neighbours of both sets.

    Threads take whole lines of blocks, products and maxima both, so that none waits for another;
    each has its own maxima of the columns, which are merged at the end.
    """
    n1, n2 = len(first), len(second)
    blocks = _Blocks.of(n1, n2, CPU_BLOCK_COLUMNS, CPU_BLOCK_BYTES)
    one, other = (torch.from_numpy(np.ascontiguousarray(side)) for side in (first, second))
    there = _Maxima(n1)
    lines: SimpleQueue[tuple[int, int]] = SimpleQueue()
    for line in blocks.rows:
        lines.put(line)

    def take_lines(_: int) -> _Maxima:
        torch.set_num_threads(1)  # of this thread's products
        back = _Maxima(n2)
        while True:
            try:
                top, bottom = lines.get_nowait()
            except Empty:
                return back
            for left, right in blocks.columns:
                similarity = multiply_transposed(one[top:bottom], other[left:right]).numpy()
                if with_second:
                    before = there.best[top:bottom].copy(), back.best[left:right].copy()
                _update(
                    similarity, top, left, there.best, there.nearest, back.best, back.nearest
                )  # fmt: skip
                if with_second:
                    there.displaced(top, before[0])
                    back.displaced(left, before[1])
                    _update_second(
                        similarity, top, left,
                        there.nearest, there.second, back.nearest, back.second,
                    )  # fmt: skip

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "matching") as pool:
            found = list(pool.map(take_lines, range(min(threads, len(blocks.rows)))))
    finally:
        torch.set_num_threads(threads)  # threads that start later take what was set last
    values = np.stack([back.best for back in found])
    best = values.max(axis=0)
    indices = np.stack([back.nearest for back in found])
    index = np.where(values == best, indices, n1).min(axis=0).astype(np.int32)
    if not with_second:
        there.second = second_21 = np.zeros(0, np.float32)
    else:
        seconds = [back.second for back in found]
        second_21 = np.sort(np.concatenate([values, seconds]), axis=0)[-2]
    return Nearest(there.nearest, there.best, there.second), Nearest(index, best, second_21)


def similarity_blocks(
    first: FloatArray, second: FloatArray, device: str = "cpu"
) -> Iterator[Block]:
    """Dot products of all descriptors of two sets, block by block.

    Args:
        first: (N1, D) descriptors.
        second: (N2, D) descriptors.
        device: a torch device, which the blocks are on.

    Yields:
        Rows, columns, and the (rows, columns) float32 block, which is to be read only, before the
        next one comes.
    """
    on_cpu = torch.device(device).type == "cpu"
    size = CPU_BLOCK_BYTES if on_cpu else GPU_BLOCK_BYTES
    columns = CPU_BLOCK_COLUMNS if on_cpu else GPU_BLOCK_COLUMNS
    blocks = _Blocks.of(len(first), len(second), columns, size)
    one, other = (
        torch.from_numpy(np.ascontiguousarray(side)).to(device) for side in (first, second)
    )
    buffer = torch.empty(0 if on_cpu else blocks.elements, device=device)
    for (top, bottom), (left, right) in itertools.product(blocks.rows, blocks.columns):
        if on_cpu:
            similarity = multiply_transposed(one[top:bottom], other[left:right])
        else:
            shape = (bottom - top, right - left)
            similarity = buffer[: math.prod(shape)].view(shape)
            torch.mm(one[top:bottom], other[left:right].T, out=similarity)
        yield slice(top, bottom), slice(left, right), similarity


def nearest_in_blocks(
    blocks: Iterable[Block], n1: int, n2: int, device: str = "cpu", with_second: bool = False
) -> tuple[Nearest, Nearest]:
    """Nearest neighbours by any score, from blocks of its matrix, through PyTorch's operations.

    Args:
        blocks: of the (n1, n2) matrix, line by line, on ``device``; more is nearer.
        n1: features of the first set, 1 or more.
        n2: of the second.
        device: a torch device.
        with_second: whether the second nearest are asked for, too.

    Returns:
        Of each of the first set in the second, and the other way round.
    """
    best = [torch.full((n,), -torch.inf, device=device) for n in (n1, n2)]
    second = [one.clone() if with_second else one[:0] for one in best]
    nearest = [torch.zeros(n, dtype=torch.int32, device=device) for n in (n1, n2)]
    for rows, columns, block in blocks:
        for side, own, start in ((0, rows, columns.start), (1, columns, rows.start)):
            values, indices = block.max(dim=1 - side)
            before = best[side][own]
            if with_second:
                lost = torch.minimum(before, values)
                if block.shape[1 - side] > 1:
                    lost = lost.maximum(block.topk(2, dim=1 - side).values.select(1 - side, 1))
                second[side][own] = second[side][own].maximum(lost)
            better = values > before
            nearest[side][own] = torch.where(better, indices.int() + start, nearest[side][own])
            best[side][own] = torch.where(better, values, before)
    there, back = (
        Nearest(*(part[side].cpu().numpy() for part in (nearest, best, second))) for side in (0, 1)
    )
    return there, back


def nearest_neighbors(
    descriptors_1: FloatArray,
    descriptors_2: FloatArray,
    device: str = "cpu",
    with_second: bool = False,
) -> tuple[Nearest, Nearest]:
    """Nearest neighbours of both sets by dot product, which orders as the Euclidean distance does.

    Products are computed once, block by block, and serve both directions, so memory beside the
    descriptors grows by a few bytes for each.

    Args:
        descriptors_1: (N1, D), L2-normalised, N1 > 0.
        descriptors_2: (N2, D), L2-normalised, N2 > 0.
        device: a torch device.
        with_second: whether the second nearest are asked for, too.

    Returns:
        Of each of the first set in the second, and the other way round.
    """
    if torch.device(device).type == "cpu":
        return _nearest_on_cpu(descriptors_1, descriptors_2, with_second)
    blocks = similarity_blocks(descriptors_1, descriptors_2, device)
    return nearest_in_blocks(blocks, len(descriptors_1), len(descriptors_2), device, with_second)
