"""Pictures of a query's matches with its best database images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from d2eval.aachen.protocol import load_benchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import Budget
from d2eval.foundation.formats.hdf5 import member, open_own_hdf5, read_dataset, text_attribute
from d2eval.foundation.images.decoding import read_image
from d2eval.foundation.text.words import check_name, whole
from d2eval.localization.description import PicturedRun
from d2eval.report.figures import Sources
from d2eval.report.matches import COLORS, MatchedImages, MatchKind, draw_matches
from d2eval.runs.rows import REMEDY

FILE, WHAT = "matches.h5", "file of matches"
KINDS = (  # the one of 2 in the file first, that of 0 last
    MatchKind("inlier of the pose", COLORS[0]),
    MatchKind("verified, no inlier", COLORS[2]),
    MatchKind("rejected by verification", COLORS[4]),
)


@dataclass(frozen=True)
class MatchedPair:
    """The matches of a query with one database image."""

    query: str  # name of the query image
    database: str  # name of the database image
    rank: int  # 1 for the database image with most inliers
    images: Path  # folder that the names are relative to
    # (M, 2) pixels, origin at the centre of the top-left pixel
    points_query: npt.NDArray[np.float64]
    points_database: npt.NDArray[np.float64]  # (M, 2) likewise
    kind: npt.NDArray[np.int64]  # (M,) 2 of an inlier, 1 of a verified match, 0 of a rejected one


def load_pairs(path: Path, query: str) -> list[MatchedPair]:
    """The matches of ``query``, best database image first.

    A query is a group with the attribute ``name``; in it each database image is a group of that
    kind, called by its rank.

    Raises:
        D2EvalError: the file is broken.
    """
    with open_own_hdf5(path, WHAT, REMEDY) as (file, budget):
        images = Path(text_attribute(file, "images"))
        pairs = []
        for group in (member(file, name) for name in file):
            if text_attribute(group, "name") == query:
                check_name(query, str(path))
                pairs += [_pair(group, rank, query, images, budget) for rank in group]
        return sorted(pairs, key=lambda pair: pair.rank)


def _pair(group: h5py.Group, rank: str, query: str, images: Path, budget: Budget) -> MatchedPair:
    unit = member(group, rank)
    missing = [n for n in ("points_query", "points_database", "kind") if n not in unit]
    if missing:
        raise ValueError(f"{unit.name} lacks {', '.join(missing)}")
    first, second = (
        np.asarray(read_dataset(member(unit, name), budget), np.float64)
        for name in ("points_query", "points_database")
    )
    kind = np.asarray(read_dataset(member(unit, "kind"), budget), np.int64)
    if kind.ndim != 1 or first.shape != (len(kind), 2) or second.shape != first.shape:
        raise ValueError(
            f"{unit.name}: points and kinds of {first.shape}, {second.shape}, "
            f"{kind.shape} don't go together"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(f"{unit.name}: points that aren't finite")
    if not set(np.unique(kind)) <= set(range(len(KINDS))):
        raise ValueError(f"{unit.name}: a kind is none of 0, 1, 2")
    name = check_name(text_attribute(unit, "name"), str(unit.name))
    return MatchedPair(query, name, whole(rank), images, first, second, kind)


def draw(runs: Sequence[PicturedRun], query: str, sources: Sources) -> Figure:
    """The query beside its best database images: all that were left, of several runs the best.

    Raises:
        D2EvalError: the file or an image is missing or broken.
    """
    rows = []
    for run in runs:
        pairs = load_pairs(run.path, query)
        if not pairs:
            raise D2EvalError(f"{run.path}: has no matches of {query}; {REMEDY}")
        for pair in pairs if len(runs) == 1 and not sources.brief else pairs[:1]:
            images = pair.images
            if sources.data is not None:
                images = sources.data / load_benchmark("aachen").layout.images
            title = f"{run.title}, rank {pair.rank}: {pair.database}\n{len(pair.kind):,} matches"
            left, right = (read_image(images / name) for name in (query, pair.database))
            rows.append(
                MatchedImages(
                    title, left, right, pair.points_query, pair.points_database,
                    len(KINDS) - 1 - pair.kind, KINDS,
                )
            )  # fmt: skip
    return draw_matches(rows, query, sources.lines)
