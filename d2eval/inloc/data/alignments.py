"""Alignments of scans: text files with a transformation from the scan's frame to its floor's."""

from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_lines
from d2eval.foundation.text.words import MOST_COORDINATE, reals

Matrix = npt.NDArray[np.float64]
FIRST_LINE = 8  # lines 2 to 5 hold the alignment before ICP, lines 8 to 11 the one after it
MIN_DETERMINANT = 1e-6  # of the rotation, whose determinant is 1


def read_alignment(path: Path) -> Matrix:
    """(4, 4) from scan to floor, metres: the alignment after ICP, lines 8 to 11.

    Blank lines count, and lines may begin with blanks.
    Source: `load_WUSTL_transformation` of InLoc_demo.

    Raises:
        D2EvalError: a file that can't be read, too few lines, or no invertible matrix of numbers.
    """
    lines = [line for _, line in islice(read_lines(path), FIRST_LINE + 3)]
    rows = lines[FIRST_LINE - 1 : FIRST_LINE + 3]
    if len(rows) < 4:
        raise D2EvalError(
            f"{path}: {len(lines)} lines, but the alignment stands in lines 8 to 11; replace it"
        )
    values = [reals(row.split(), 4) for row in rows]
    if None in values or not (np.abs(np.array(values)) <= MOST_COORDINATE).all():
        raise D2EvalError(f"{path}: lines 8 to 11 are no 4x4 matrix of numbers; replace it")
    matrix = np.array(values)
    if (matrix[3] != (0, 0, 0, 1)).any():
        raise D2EvalError(f"{path}: line 11 isn't `0 0 0 1`; replace it")
    if abs(np.linalg.det(matrix[:3, :3])) < MIN_DETERMINANT:
        raise D2EvalError(f"{path}: the matrix of lines 8 to 11 is singular; replace it")
    return matrix


def to_floor(points: npt.NDArray[np.floating], alignment: Matrix) -> npt.NDArray[np.float64]:
    """(..., 3) ``points`` of a scan in the frame of its floor."""
    moved = points.astype(np.float64) @ alignment[:3, :3].T
    moved += alignment[:3, 3]
    return np.asarray(moved, np.float64)
