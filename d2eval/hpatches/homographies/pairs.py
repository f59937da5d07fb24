"""Pairs of one's own with homographies: a folder with images and ``pairs.csv``."""

from pathlib import Path

import numpy as np

from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.evaluation.pair_list import OWN, PAIR, read_pair_list
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import check_name, reals
from d2eval.metrics.homography import check_homography

MATRIX = tuple(f"h{row}{column}" for row in "123" for column in "123")
COLUMNS = (*PAIR, *MATRIX)


def read_pairs(root: Path) -> list[ImagePair]:
    """The pairs of ``root/pairs.csv``, with the columns `COLUMNS`.

    Raises:
        D2EvalError: as `read_pair_list`, or an image is missing.
    """
    return read_pair_list(root / OWN, COLUMNS, lambda row, where: _pair(root, row, where))


def _pair(root: Path, row: dict[str, str], where: str) -> ImagePair:
    numbers = reals([row[name] for name in MATRIX], len(MATRIX))
    if numbers is None:
        raise D2EvalError(f"{where}: h11 to h33 must be numbers; mend it")
    homography = np.array(numbers).reshape(3, 3)
    if problem := check_homography(homography):
        raise D2EvalError(f"{where}: the homography {problem}; mend it")
    paths = [root / check_name(row[name], where) for name in ("image0", "image1")]
    for image in paths:
        if not image.is_file():
            raise D2EvalError(f"{image}: no such image; add it, or mend {root / OWN}")
    columns = {"sequence": row["scene"], "image0": row["image0"], "image1": row["image1"]}
    return ImagePair(paths[0], paths[1], "pairs", columns, homography)


def load_own(root: Path) -> PairDataset:
    """The pairs in a folder of the user's.

    Raises:
        D2EvalError: as `read_pairs`.
    """
    pairs = read_pairs(root)
    scenes = len({pair.columns["sequence"] for pair in pairs})
    counts = {"sequences": scenes, "own_pairs": True}
    lines = [f"own pairs: {len(pairs)} of {scenes} scenes"]
    return PairDataset(root, pairs, "complete", counts, lines)
