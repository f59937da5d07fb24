"""Mutual nearest neighbours by dot product, in blocks of the similarity matrix."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt
import torch

from d2eval.compiled import compiled
from d2eval.gemm import multiply_transposed

Matches = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

VERSION = 2  # raise it when a change of the code changes the matches
# A block stays in the caches between its product and its maxima.
CPU_BLOCK_BYTES = 2 * 1024 * 1024
CPU_BLOCK_COLUMNS = 1024
GPU_BLOCK_BYTES = 32 * 1024 * 1024
GPU_BLOCK_COLUMNS = 4096


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


def _nearest_on_cpu(
    first: FloatArray, second: FloatArray, block_bytes: int
) -> tuple[IntArray, IntArray]:
    """Indices of the nearest neighbours of both sets.

    Threads take whole lines of blocks, products and maxima both, so that none waits for another;
    each has its own maxima of the columns, which are merged at the end.
    """
    n1, n2 = len(first), len(second)
    blocks = _Blocks.of(n1, n2, CPU_BLOCK_COLUMNS, block_bytes)
    one, other = (torch.from_numpy(np.ascontiguousarray(side)) for side in (first, second))
    best_12, nearest_12 = np.full(n1, -np.inf, np.float32), np.zeros(n1, np.int32)
    lines: SimpleQueue[tuple[int, int]] = SimpleQueue()
    for line in blocks.rows:
        lines.put(line)

    def take_lines(_: int) -> tuple[FloatArray, IntArray]:
        torch.set_num_threads(1)  # of this thread's products
        best_21, nearest_21 = np.full(n2, -np.inf, np.float32), np.zeros(n2, np.int32)
        while True:
            try:
                top, bottom = lines.get_nowait()
            except Empty:
                return best_21, nearest_21
            for left, right in blocks.columns:
                similarity = multiply_transposed(one[top:bottom], other[left:right])
                _update(
                    similarity.numpy(), top, left, best_12, nearest_12, best_21, nearest_21
                )  # fmt: skip

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "matching") as pool:
            found = list(pool.map(take_lines, range(min(threads, len(blocks.rows)))))
    finally:
        torch.set_num_threads(threads)  # threads that start later take what was set last
    values, indices = (np.stack(part) for part in zip(*found, strict=True))
    nearest_21 = np.where(values == values.max(axis=0), indices, n1).min(axis=0)
    return nearest_12, nearest_21.astype(np.int32)


def _nearest_on_gpu(
    first: FloatArray, second: FloatArray, block_bytes: int, device: str
) -> tuple[IntArray, IntArray]:
    """The same by PyTorch's operations, which a GPU runs one after the other."""
    n1, n2 = len(first), len(second)
    blocks = _Blocks.of(n1, n2, GPU_BLOCK_COLUMNS, block_bytes)
    one, other = (torch.from_numpy(side).to(device) for side in (first, second))
    best = [torch.full((n,), -torch.inf, device=device) for n in (n1, n2)]
    nearest = [torch.zeros(n, dtype=torch.int32, device=device) for n in (n1, n2)]
    buffer = torch.empty(blocks.elements, device=device)
    for (top, bottom), (left, right) in itertools.product(blocks.rows, blocks.columns):
        shape = (bottom - top, right - left)
        similarity = buffer[: math.prod(shape)].view(shape)
        torch.mm(one[top:bottom], other[left:right].T, out=similarity)
        for side, own, start in ((0, slice(top, bottom), left), (1, slice(left, right), top)):
            values, indices = similarity.max(dim=1 - side)
            better = values > best[side][own]
            nearest[side][own] = torch.where(better, indices.int() + start, nearest[side][own])
            best[side][own] = torch.where(better, values, best[side][own])
    return nearest[0].cpu().numpy(), nearest[1].cpu().numpy()


def mutual_nearest_neighbors(
    descriptors_1: FloatArray,
    descriptors_2: FloatArray,
    device: str = "cpu",
    block_bytes: int | None = None,
) -> Matches:
    """Pairs that are each other's nearest neighbour; no ratio and no distance test.

    The similarity is the dot product of L2-normalised descriptors. It is computed once, block by
    block, and serves both directions, so memory beside the descriptors grows by a few bytes for
    each. Of equal neighbours the one of lower index counts.

    Source: D2-Net's HPatches notebook (similarity matrix, argmax both ways).

    Args:
        descriptors_1: (N1, D), L2-normalised.
        descriptors_2: (N2, D), L2-normalised.
        device: a torch device.
        block_bytes: the most bytes of similarities that a thread (or the GPU) holds at a time;
            None takes what was measured best.

    Returns:
        (M, 2) int32 indices into the two sets, by rising first index.
    """
    if len(descriptors_1) == 0 or len(descriptors_2) == 0:
        return np.zeros((0, 2), np.int32)
    if torch.device(device).type == "cpu":
        nearest_12, nearest_21 = _nearest_on_cpu(
            descriptors_1, descriptors_2, block_bytes or CPU_BLOCK_BYTES
        )
    else:
        nearest_12, nearest_21 = _nearest_on_gpu(
            descriptors_1, descriptors_2, block_bytes or GPU_BLOCK_BYTES, device
        )
    ids = np.arange(len(descriptors_1), dtype=np.int32)
    mutual = nearest_21[nearest_12] == ids
    return np.stack([ids[mutual], nearest_12[mutual]], axis=1)
