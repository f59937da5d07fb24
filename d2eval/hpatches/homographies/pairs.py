"""Pairs of one's own with homographies: a folder with images and ``pairs.csv``."""

import csv
import io
from pathlib import Path

import numpy as np

from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_text
from d2eval.foundation.text.words import check_name, reals
from d2eval.metrics.homography import check_homography

OWN = "pairs.csv"
MATRIX = tuple(f"h{row}{column}" for row in "123" for column in "123")
COLUMNS = ("scene", "image0", "image1", *MATRIX)


def read_pairs(root: Path) -> list[ImagePair]:
    """The pairs of ``root/pairs.csv``, whose header has `COLUMNS` in any order.

    Raises:
        D2EvalError: a column or an image is missing, a line is broken, or a pair stands twice.
    """
    path = root / OWN
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise D2EvalError(f"{path}: the header lacks {', '.join(missing)}; add them")
    found: dict[tuple[str, ...], ImagePair] = {}
    try:
        for row in reader:
            where = f"{path}: line {reader.line_num}"
            if None in row or None in row.values():
                raise D2EvalError(f"{where}: doesn't have the header's columns; mend it")
            pair = _pair(root, row, where)
            if found.setdefault((row["scene"], row["image0"], row["image1"]), pair) is not pair:
                raise D2EvalError(f"{where}: the pair stands twice; leave it out")
    except csv.Error as error:
        raise D2EvalError(f"{path}: line {reader.line_num}: {error}; mend it") from error
    return list(found.values())


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
