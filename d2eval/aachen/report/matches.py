"""Pictures of a query's matches with its best database images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from d2eval.foundation.files.limits import Budget
from d2eval.foundation.formats.hdf5 import member, open_own_hdf5, read_dataset, text_attribute
from d2eval.foundation.images.decoding import RgbImage, read_image
from d2eval.foundation.text.words import check_name, whole
from d2eval.report.figures import new_figure, write_figure
from d2eval.runs.rows import REMEDY

FILE, WHAT = "matches.h5", "file of matches"
_GAP_PX = 20
_WIDTH_IN = 14.0
_OPAQUE_LINES, _LEAST_OPACITY = 150, 0.25  # more lines let the images shine through
# kind in the file -> its name, colour, line width and most opacity; drawn in this order
KINDS = {
    0: ("rejected by verification", "red", 0.4, 0.7),
    1: ("verified, no inlier of the pose", "orange", 0.6, 0.8),
    2: ("inlier of the pose", "limegreen", 0.8, 0.9),
}


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
    kind: npt.NDArray[np.int64]  # (M,) a key of `KINDS` each


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
    if not set(np.unique(kind)) <= set(KINDS):
        raise ValueError(f"{unit.name}: a kind is none of {', '.join(map(str, KINDS))}")
    name = check_name(text_attribute(unit, "name"), str(unit.name))
    return MatchedPair(query, name, whole(rank), images, first, second, kind)


def plot_matches(path: Path, queries: Sequence[str], output: Path) -> Iterator[Path]:
    """Draws a picture for each of the database images of each query, into ``output``.

    Raises:
        D2EvalError: the file or an image is missing or broken.
    """
    for query in queries:
        for pair in load_pairs(path, query):
            yield from write_figure(draw(pair), output, f"{query}__{pair.rank}", ["png"])


def draw(pair: MatchedPair) -> Figure:
    """Both images side by side, matches as lines by their kind.

    Raises:
        D2EvalError: an image is missing or broken.
    """
    left, right = (read_image(pair.images / name) for name in (pair.query, pair.database))
    canvas, shift = side_by_side(left, right)
    height, width = canvas.shape[:2]
    figure = new_figure(_WIDTH_IN, _WIDTH_IN * height / width + 0.6)
    axes = figure.add_axes((0, 0, 1, _WIDTH_IN * height / width / figure.get_figheight()))
    axes.imshow(canvas)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    _draw_lines(axes, pair, shift)
    counts = {kind: int((pair.kind == kind).sum()) for kind in KINDS}
    figure.suptitle(
        f"{pair.query}  -  {pair.database} (rank {pair.rank})\n{len(pair.kind)} matches: "
        f"{counts[2]} inliers of the pose (green), {counts[1]} verified but no inliers (orange), "
        f"{counts[0]} rejected (red)",
        fontsize=11, y=0.995, parse_math=False,
    )  # fmt: skip
    return figure


def side_by_side(left: RgbImage, right: RgbImage) -> tuple[RgbImage, int]:
    """Both images on one white canvas, top edges level.

    Returns:
        The canvas, and what is added to x in the right image.
    """
    shift = left.shape[1] + _GAP_PX
    shape = (max(left.shape[0], right.shape[0]), shift + right.shape[1], 3)
    canvas = np.full(shape, 255, np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], shift:] = right
    return canvas, shift


def _draw_lines(axes: Axes, pair: MatchedPair, shift: int) -> None:
    shifted = pair.points_database + np.array([shift, 0])
    segments = np.stack([pair.points_query, shifted], axis=1)
    for order, (kind, (name, color, width, opacity)) in enumerate(KINDS.items()):
        own = segments[pair.kind == kind]
        opacity *= max(min(_OPAQUE_LINES / max(len(own), 1), 1.0), _LEAST_OPACITY)
        axes.add_collection(
            LineCollection(
                list(own), colors=color, linewidths=width, alpha=opacity, label=name,
                zorder=2 + order,
            )
        )  # fmt: skip
        if kind:
            ends = own.reshape(-1, 2)
            axes.scatter(ends[:, 0], ends[:, 1], s=5, c=color, linewidths=0, zorder=2 + order)
