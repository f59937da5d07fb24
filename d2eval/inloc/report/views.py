"""Pictures of queries beside the views from their best poses, and where these differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from d2eval.foundation.files.limits import Budget
from d2eval.foundation.formats.hdf5 import member, open_own_hdf5, read_dataset, text_attribute
from d2eval.foundation.images.decoding import ImageFile, RgbImage
from d2eval.localization.description import PicturedRun
from d2eval.report.figures import Sources, new_figure
from d2eval.runs.rows import REMEDY

FILE, WHAT = "views.h5", "file of views"
RANKS = [str(rank) for rank in range(1, 100)]
_HEIGHT_IN = 4.0
_HOLES = np.array((255, 0, 255), np.uint8)  # no scan and hardly a wall has this colour


@dataclass(frozen=True)
class View:
    """What a pose sees."""

    rank: int  # 1 for the query's answer
    cutout: str  # that the pose is from
    score: float  # of the pose's verification, 1 / the median of the distances
    image: npt.NDArray[np.uint8]  # (H, W, 3) uint8, rendered
    valid: npt.NDArray[np.bool_]  # (H, W) where the scan has points
    # (h, w) distances of descriptors, NaN where there is nothing to compare
    errors: npt.NDArray[np.float64]
    # left, right, bottom and top of ``errors`` in pixels of the image
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class QueryViews:
    """A query and the views from its best poses, best first."""

    query: str
    image: npt.NDArray[np.uint8]
    views: Sequence[View]


def load_views(path: Path, query: str) -> QueryViews:
    """The views of ``query``, as the evaluation left them.

    Raises:
        D2EvalError: the file is missing or broken, or has no such query.
    """
    with open_own_hdf5(path, WHAT, REMEDY) as (file, budget):
        for group in (member(file, name) for name in file):
            if text_attribute(group, "name") == query:
                image = _image(group, path, budget)
                ranks = sorted(int(name) for name in group if name in RANKS)
                units = ((member(group, str(rank)), rank) for rank in ranks)
                views = [_view(unit, rank, image, path, budget) for unit, rank in units]
                return QueryViews(query, image, views)
        raise ValueError(f"no query {query}")


def _values(group: h5py.Group, name: str, budget: Budget) -> npt.NDArray[Any]:
    found = member(group, name)
    if found is None:
        raise ValueError(f"{group.name} lacks {name}")
    return read_dataset(found, budget)


def _image(group: h5py.Group, path: Path, budget: Budget) -> npt.NDArray[np.uint8]:
    data = _values(group, "image", budget).tobytes()
    return ImageFile(Path(f"{path}{group.name}"), data, "").decode()


def _view(group: h5py.Group, rank: int, query: RgbImage, path: Path, budget: Budget) -> View:
    image = _image(group, path, budget)
    valid, centers, distances = (
        _values(group, name, budget).astype(kind)
        for name, kind in (("valid", bool), ("centers", np.int64), ("distances", np.float64))
    )
    fits = image.shape == query.shape and valid.shape == query.shape[:2]
    if not fits or distances.ndim != 1 or centers.shape != (len(distances), 2):
        raise ValueError(f"{group.name}: its arrays don't go together")
    if len(centers) and not ((centers >= 0) & (centers < image.shape[1::-1])).all():
        raise ValueError(f"{group.name}: centers lie outside the image")
    errors, extent = error_map(centers, distances)
    score = group.attrs["score"]
    if not isinstance(score, float):  # NumPy's is one, too
        raise ValueError(f"{group.name}: the attribute score is no number")
    return View(rank, text_attribute(group, "name"), float(score), image, valid, errors, extent)


def error_map(
    centers: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], tuple[float, float, float, float]]:
    """Distances at the points of a regular grid as an image.

    ``centers`` (N, 2) are x and y on a grid with gaps.

    Returns:
        (h, w) with NaN in the gaps, one pixel for each grid point, and its left, right, bottom and
        top edge in the coordinates of the centers.
    """
    if not len(distances):
        return np.full((1, 1), np.nan), (0.0, 1.0, 1.0, 0.0)
    least, most = centers.min(axis=0), centers.max(axis=0)
    gaps = [np.diff(np.unique(axis)) for axis in centers.T]
    step = min((int(gap.min()) for gap in gaps if len(gap)), default=1)
    columns, rows = (most - least) // step + 1
    errors = np.full((rows, columns), np.nan)
    at = (centers - least) // step
    errors[at[:, 1], at[:, 0]] = distances
    left, top = least - step / 2
    return errors, (left, left + columns * step, top + rows * step, top)


def draw(runs: Sequence[PicturedRun], query: str, sources: Sources) -> Figure:
    """A row for each view: the query, the rendered view, and the map of descriptor distances.

    Of several runs it is the view of each one's answer. The maps of a figure share their scale.

    Raises:
        D2EvalError: a file is missing or broken, or has no such query.
    """
    found = [(run, load_views(run.path, query)) for run in runs]
    most = _most([view.errors for _, own in found for view in own.views])
    rows: list[tuple[PicturedRun, QueryViews, View | None]] = []
    for run, own in found:
        shown: Sequence[View | None] = own.views[
            : None if len(runs) == 1 and not sources.brief else 1
        ]
        rows += [(run, own, view) for view in shown or [None]]
    height, width = found[0][1].image.shape[:2]
    panel = _HEIGHT_IN * width / height
    figure = new_figure(3 * panel + 1.0, len(rows) * (_HEIGHT_IN + 0.35) + 0.35)
    grid = figure.add_gridspec(
        len(rows), 4, width_ratios=(panel, panel, panel, 0.12), wspace=0.04, hspace=0.09,
        left=0.01, right=1 - 0.6 / figure.get_figwidth(), bottom=0.01,
        top=1 - 0.65 / figure.get_figheight(),
    )  # fmt: skip
    for row, (run, own, view) in enumerate(rows):
        panels = [figure.add_subplot(grid[row, column]) for column in range(3)]
        for axes in panels:
            axes.set_axis_off()
        panels[0].imshow(own.image)
        panels[0].set_title(run.title, fontsize=10, parse_math=False)
        if view is not None:
            _draw_rendered(panels[1], view)
            shown_map = _draw_errors(panels[2], view, own.image, most)
            figure.colorbar(shown_map, cax=figure.add_subplot(grid[row, 3]))
    note = "magenta where the scan has no point" if any(row[2] for row in rows) else "no pose"
    figure.suptitle(f"{query}: {note}", fontsize=11, y=0.995, parse_math=False)
    return figure


def _most(maps: Sequence[npt.NDArray[np.float64]]) -> float:
    """The largest distance of all maps."""
    known = [errors[np.isfinite(errors)] for errors in maps]
    return max((float(values.max()) for values in known if len(values)), default=1.0)


def _draw_rendered(axes: Axes, view: View) -> None:
    axes.imshow(np.where(view.valid[..., None], view.image, _HOLES))
    title = f"rank {view.rank}: {view.cutout.rpartition('/')[2]}, score {view.score:.3f}"
    axes.set_title(title, fontsize=10, parse_math=False)


def _draw_errors(axes: Axes, view: View, query: npt.NDArray[np.uint8], most: float) -> AxesImage:
    """The map on the faded query, as descriptors near the border of an image don't exist."""
    height, width = query.shape[:2]
    axes.imshow(query, alpha=0.25)
    shown = axes.imshow(view.errors, extent=view.extent, vmin=0, vmax=most, cmap="viridis")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    known = view.errors[np.isfinite(view.errors)]
    median = f", median {np.median(known):.3f}" if len(known) else ": nothing to compare"
    axes.set_title(f"distance of descriptors{median}", fontsize=10)
    return shown
