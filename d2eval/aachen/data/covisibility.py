"""Pairs of database images that see the same points of the dataset's own model, as hloc takes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, lil_matrix

from d2eval.aachen.data.dataset import Dataset
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_words
from d2eval.foundation.terminal.progress import Progress
from d2eval.foundation.text.words import whole

MEASUREMENT_FIELDS = 4  # of a point in NVM: image, feature, x, y


def read_tracks(path: Path, cameras: int) -> tuple[list[int], list[int]]:
    """Which image sees which point of an NVM file's first model.

    A point's line is ``x y z r g b n`` and n times ``image feature x y``; images are counted from 0
    in the order of their lines.

    Returns:
        Index of the image and index of the point, for each observation.

    Raises:
        D2EvalError: a line that doesn't parse.
    """
    images: list[int] = []
    points: list[int] = []
    lines = read_words(path)
    for _ in islice(lines, 2 + cameras):  # header, number of cameras, cameras
        pass
    head_line, head = next(lines, (0, ["0"]))
    try:
        (count,) = map(whole, head)
    except ValueError as error:
        raise D2EvalError(
            f"{path}: line {head_line}: not the number of points; replace the file"
        ) from error
    found = -1
    for found, (number, words) in enumerate(islice(lines, max(count, 0))):
        try:
            indices = [whole(index) for index in words[7::MEASUREMENT_FIELDS]]
            sound = len(words) == 7 + MEASUREMENT_FIELDS * whole(words[6])
        except (ValueError, IndexError):
            indices, sound = [], False
        if not sound or any(not 0 <= index < cameras for index in indices):
            raise D2EvalError(f"{path}: line {number}: not a point of NVM; replace the file")
        images += indices
        points += [found] * len(indices)
    if found + 1 != count:
        raise D2EvalError(f"{path}: {found + 1} points, but it says {count}; replace the file")
    return images, points


def covisible_pairs(
    images: Sequence[int], points: Sequence[int], names: Sequence[str], count: int
) -> list[tuple[str, str]]:
    """Each image with the ``count`` others that share most points with it; a pair once.

    Source: hloc at c13273b, pairs_from_covisibility. Of equal counts the earlier image is taken.
    """
    if not images:
        return []
    shape = (len(names), max(points) + 1)
    sees = csr_matrix((np.ones(len(images), np.int64), (images, points)), shape=shape)
    shared = lil_matrix(sees @ sees.T)
    shared.setdiag(0)
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for image, (others, numbers) in enumerate(zip(shared.rows, shared.data, strict=True)):
        order = sorted((-number, other) for other, number in zip(others, numbers, strict=True))
        for number, other in order[:count]:
            if number:
                pair = names[image], names[other]
                pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def with_covisible_pairs(dataset: Dataset, model: Path, count: int) -> Dataset:
    """The dataset with pairs of covisible database images in place of the list's.

    Pairs with queries stay. A model without points leaves the list as it is, with a note. ``model``
    is the dataset's NVM file; each image gets ``count`` partners.

    Raises:
        D2EvalError: a point's line doesn't parse.
    """
    names = list(dataset.poses)
    with Progress("pairs by covisibility"):
        found = covisible_pairs(*read_tracks(model, len(names)), names, count)
    if not found:
        note = f"{model}: no points, so that database images are paired as in the pair list"
        return replace(dataset, notes=(*dataset.notes, note))
    with_queries = [pair for pair in dataset.pairs if dataset.queries.keys() & set(pair)]
    note = f"{model}: {len(found)} pairs of database images by covisibility"
    return replace(dataset, pairs=(*found, *with_queries), notes=(*dataset.notes, note))
