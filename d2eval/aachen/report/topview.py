"""A run seen from above: points, database cameras, and queries where they are and should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from d2eval.aachen.report.groups import PROTOCOLS
from d2eval.aachen.report.queries import Query, load_queries
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.colmap_model import read_model_points, read_model_poses
from d2eval.foundation.formats.poses import center
from d2eval.localization.groups import LocalizedRun
from d2eval.report.figures import new_figure, write_figure
from d2eval.runs.rows import REMEDY, reading

MODEL = "model"
SHOWN_SHARE = (0.02, 0.98)  # of the points, along each axis: triangulation leaves far outliers
_MARGIN = 0.08
_WIDTH_IN = 9.0
_LEGEND_SIZE = 30.0  # of its markers, in square points
_LEAST_AGREEMENT = 0.5  # of the cameras' up vectors: the length of their mean
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """What is drawn of a COLMAP model."""

    path: Path  # its folder
    cam_from_world: Mapping[str, pycolmap.Rigid3d]  # of its images, by name
    points: Points  # (P, 3) in the world


@dataclass(frozen=True)
class TopView:
    """What the picture shows, in metres on the ground plane."""

    points: Points  # (P, 2) the model's points
    database: Points  # (D, 2) database cameras
    references: Points  # (R, 2) where queries should be
    estimates: Points  # (E, 2) where registered queries were found
    errors: Points  # (L, 2, 2) estimate and reference of the queries that have both
    queries: int  # how many there are

    def limits(self) -> Points:
        """(2, 2) lower and upper end of x and y.

        All cameras that must be somewhere are within; estimates can be anywhere.
        """
        sure = np.concatenate([self.database, self.references])
        if len(self.points):
            sure = np.concatenate([sure, np.quantile(self.points, SHOWN_SHARE, axis=0)])
        if not len(sure):
            sure = self.estimates
        low, high = sure.min(axis=0), sure.max(axis=0)
        margin = max(float((high - low).max()), 1e-3) * _MARGIN
        return np.stack([low - margin, high + margin])


def plot_topview(run: LocalizedRun, output: Path) -> list[Path]:
    """Draws ``topview.png``, if the run left its model.

    Raises:
        D2EvalError: a file of the run is missing or broken.
    """
    model = load_model(run.folder)
    if model is None:
        return []
    figure = draw(top_view(model, load_queries(run.folder)), run)
    return write_figure(figure, output, "topview", ["png"])


def load_model(folder: Path) -> Model | None:
    """The model of the run in ``folder``, or None if it left none.

    Raises:
        D2EvalError: it is broken.
    """
    path = folder / MODEL
    if not path.is_dir():
        return None
    with reading(path, REMEDY):
        return Model(path, read_model_poses(path), read_model_points(path))


def ground_plane(cam_from_world: Sequence[pycolmap.Rigid3d]) -> Points:
    """(2, 3) axes of the ground: x along the cameras' longest extent, seen from above.

    World axes are arbitrary, but photographs are taken upright: up is the mean of the cameras' up
    vectors (-y). Where these don't agree, it is the direction in which the cameras' centres vary
    least.
    """
    centers = np.array([center(pose) for pose in cam_from_world])
    offsets = centers - centers.mean(axis=0)
    ups = np.array([-pose.rotation.matrix()[1] for pose in cam_from_world])
    up = ups.mean(axis=0)
    if np.linalg.norm(up) < _LEAST_AGREEMENT:
        up = np.linalg.svd(offsets, full_matrices=True)[2][2]
        up = up if up @ ups.mean(axis=0) >= 0 else -up
    up = up / np.linalg.norm(up)
    # Of the flattened offsets the last right singular vector is the up vector, or as good as it.
    flat = offsets - np.outer(offsets @ up, up)
    first = np.linalg.svd(flat, full_matrices=True)[2][0]
    first = first - (first @ up) * up
    if np.linalg.norm(first) < 1e-6:  # a single place: any direction will do
        first = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(up, first)])


def top_view(model: Model, queries: Sequence[Query]) -> TopView:
    """Projects the model and the queries on the ground.

    Raises:
        D2EvalError: the model has no database image.
    """
    names = {query.name for query in queries}
    database = [pose for name, pose in model.cam_from_world.items() if name not in names]
    if not database:
        raise D2EvalError(f"{model.path}: no database image has a pose; {REMEDY}")
    axes = ground_plane(database)
    origin = np.mean([center(pose) for pose in database], axis=0)

    def project(world: Sequence[Points] | Points) -> Points:
        return (np.asarray(world, np.float64).reshape(-1, 3) - origin) @ axes.T

    pairs = [
        (center(q.estimate), center(q.reference)) for q in queries if q.estimate and q.reference
    ]
    return TopView(
        project(model.points),
        project([center(pose) for pose in database]),
        project([center(query.reference) for query in queries if query.reference]),
        project([center(query.estimate) for query in queries if query.estimate]),
        project([place for pair in pairs for place in pair]).reshape(-1, 2, 2),
        len(queries),
    )


def draw(view: TopView, run: LocalizedRun) -> Figure:
    """Draws the picture, metres to the same scale along both axes."""
    low, high = view.limits()
    extent = high - low
    height = float(np.clip(_WIDTH_IN * extent[1] / extent[0], 2.5, 12))
    figure = new_figure(_WIDTH_IN, height + 1.4)
    axes = figure.add_subplot()
    _draw_places(axes, view)
    axes.set(
        xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal",
        xlabel="along the cameras' longest extent [m]", ylabel="across [m]",
    )  # fmt: skip
    outside = int(((view.estimates < low) | (view.estimates > high)).any(axis=1).sum())
    note = f", {outside} estimated outside of this view" if outside else ""
    axes.set_title(
        f"{run.label}: {len(view.estimates)} of {view.queries} queries registered{note}\n"
        f"{PROTOCOLS[run.protocol]}, {run.dataset}",
        fontsize=10,
        parse_math=False,
    )
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.7 / height), ncols=3)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([_LEGEND_SIZE])
    return figure


def _draw_places(axes: Axes, view: TopView) -> None:
    size = float(np.clip(2e4 / max(len(view.points), 1), 0.2, 4))
    axes.scatter(
        view.points[:, 0],
        view.points[:, 1], s=size, c="0.7", linewidths=0, rasterized=True,
        label=f"{len(view.points)} points",
    )  # fmt: skip
    axes.scatter(
        view.database[:, 0],
        view.database[:, 1], s=14, c="tab:blue", marker="^",
        label=f"{len(view.database)} database cameras",
    )  # fmt: skip
    if len(view.errors):
        axes.add_collection(
            LineCollection(list(view.errors), colors="tab:red", linewidths=1, label="error")
        )
    if len(view.references):
        axes.scatter(
            view.references[:, 0],
        view.references[:, 1], s=60, facecolors="none", edgecolors="tab:green", linewidths=1.3,
            label=f"{len(view.references)} reference poses of queries", zorder=3,
        )  # fmt: skip
    if len(view.estimates):
        axes.scatter(
            view.estimates[:, 0],
        view.estimates[:, 1], s=35, c="tab:red", marker="x", linewidths=1.2,
            label=f"{len(view.estimates)} estimated poses", zorder=4,
        )  # fmt: skip
