"""What training takes: pairs of crops with dense correspondences, whatever they are made from.

Points are (x, y) pixels with the origin at the centre of the top-left pixel. What is trained
has a stride of 8, so cell (row i, column j) of its map lies at (8 j + 3.5, 8 i + 3.5), and a
point's nearest cell is rint((p - 3.5) / 8) (D2-Net's training code, ``lib/loss.py``).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.images.decoding import RgbImage

CROP = 256  # pixels, both sides of a training crop
STRIDE = 8  # pixels from cell to cell of the training network's map
FIRST_CELL = (STRIDE - 1) / 2  # pixels, the centre of the first cell
LEAST_CORRESPONDENCES = 128  # fewer give no loss for a pair

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# (N, 2) points of image 1 to (N, 2) points of image 2 and which of them are seen there, (N,).
Warp = Callable[[FloatArray], tuple[FloatArray, BoolArray]]


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """Two crops of one scene.

    Attributes:
        name: says what it was made from, for messages and pictures.
        image_1, image_2: (H, W, 3) uint8 RGB.
        cells_1, cells_2: (N, 2) int64 (row, column) of the training network's maps; row n of both
            is one place of the scene. Cells of image 1 are distinct, those of image 2 need not be.
    """

    name: str
    image_1: RgbImage
    image_2: RgbImage
    cells_1: IntArray
    cells_2: IntArray


class PairSource(ABC):
    """Draws pairs. A draw depends on its index and random numbers alone, so any can be repeated."""

    @abstractmethod
    def __len__(self) -> int:
        """Pairs of an epoch."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it holds, as JSON, for the manifest and so that other data aren't taken for it."""

    @abstractmethod
    def draw(self, index: int, rng: np.random.Generator) -> TrainingPair | None:
        """Pair ``index`` of an epoch; None if fewer than 128 correspondences were found.

        Raises:
            D2EvalError: a file is missing or broken.
        """


def hash_of_files(paths: Iterable[Path]) -> str:
    """Tells files from others by their names and sizes, in this order.

    Raises:
        D2EvalError: one is missing.
    """
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(f"{path.name} {path.stat().st_size}\n".encode())
        except OSError as error:
            raise D2EvalError(f"{path}: can't be read ({reason_of(error)})") from error
    return found.hexdigest()[:16]


def cell_centers(cells: IntArray) -> FloatArray:
    """(N, 2) pixels (x, y) of (N, 2) cells (row, column)."""
    return np.asarray(cells[:, ::-1] * float(STRIDE) + FIRST_CELL, np.float64)


def correspondences(
    warp: Warp, size_1: tuple[int, int], size_2: tuple[int, int]
) -> tuple[IntArray, IntArray] | None:
    """Where each cell of image 1 is in image 2.

    Args:
        warp: from pixels of image 1 to pixels of image 2.
        size_1: (height, width) of image 1 in pixels.
        size_2: of image 2.

    Returns:
        (N, 2) cells (row, column) of both, or None if there are fewer than 128.
    """
    rows, columns = size_1[0] // STRIDE, size_1[1] // STRIDE
    cells_1 = np.indices((rows, columns), np.int64).reshape(2, -1).T
    points, seen = warp(cell_centers(cells_1))
    height, width = size_2
    # Written so that NaN, which a warp may give for points it can't see, is outside.
    seen = seen & (points >= 0).all(axis=1) & (points <= (width - 1, height - 1)).all(axis=1)
    if np.count_nonzero(seen) < LEAST_CORRESPONDENCES:
        return None
    nearest = np.rint((points[seen, ::-1] - FIRST_CELL) / STRIDE).astype(np.int64)
    last = (height // STRIDE - 1, width // STRIDE - 1)
    return cells_1[seen], np.clip(nearest, 0, last)
