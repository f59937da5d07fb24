"""Pictures of a query's matches with its best cutouts, in the colour of what its pose explains."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap
from matplotlib.figure import Figure

from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import POSE_COLUMNS, pose_from_wxyz
from d2eval.foundation.images.decoding import read_image
from d2eval.foundation.text.words import reals
from d2eval.inloc.data.dataset import Database3D, load_dataset
from d2eval.inloc.poses.interpolation import interpolate_xyz
from d2eval.inloc.poses.p3p import P3PSettings
from d2eval.inloc.poses.pooled import PooledSettings
from d2eval.inloc.poses.sparse import placed
from d2eval.inloc.protocol import InlocBenchmark, load_benchmark
from d2eval.inloc.report.description import INLOC
from d2eval.inloc.strategies import STRATEGIES, FeaturePart
from d2eval.localization.pictures import error_text
from d2eval.pipeline.store import StoredFeatures
from d2eval.pipeline.stored import StoredWork
from d2eval.report.figures import Sources
from d2eval.report.matches import COLORS, MatchedImages, MatchKind, draw_matches
from d2eval.runs.columns import Column
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import entry, load_manifest
from d2eval.runs.measured import SAMPLE, RunPlace
from d2eval.runs.rows import REMEDY, read_rows, reading

BEST = 3  # cutouts of each query
CANDIDATES, QUERIES = "candidates.csv", "queries.csv"
KINDS = ("explained by the pose", "not explained by it", "without depth")
_COUNTS = ("matches", "points", "inliers")
Bools = npt.NDArray[np.bool_]


def draw(runs: Sequence[RunPlace], query: str, sources: Sources) -> Figure:
    """The query beside its best cutouts; of several runs, beside the best of each.

    Every match is explained by the pose that the run has from this cutout, or not, or has no depth.
    Rows count inliers among the matches that the strategy gave to P3P; here are all.

    Raises:
        D2EvalError: a run's matches aren't of local features, or something of it isn't at hand.
    """
    most = 1 if sources.brief or len(runs) > 1 else BEST
    rows = [row for run in runs for row in _rows(run, query, sources, most)]
    return draw_matches(rows, query, sources.lines)


def _rows(run: RunPlace, query: str, sources: Sources, most: int) -> Iterator[MatchedImages]:
    manifest = load_manifest(run.path, INLOC.name)
    content = manifest.content
    with reading(run.path / MANIFEST, REMEDY):
        strategy = STRATEGIES.get(INLOC.kind_of(manifest).strategy)
        benchmark = load_benchmark(entry(content, "protocol", str))
        words = entry({"command": ["d2eval", INLOC.name], **content}, "command", list)
        root = sources.data or Path(entry(content, "root", str))
        if not isinstance(strategy, FeaturePart):
            raise D2EvalError(
                f"{run.label}: maps and their matches are not kept; run it with --dense-pv, which "
                "leaves the views from its poses"
            )
        remedy = f"make them by `{shlex.join(map(str, words))}`, or give the --cache that has them"
        described = entry(entry(content, "row", dict), "features", dict)
        features = entry(described, strategy.name, dict)
        stored = StoredWork(features, entry(content, "matcher", dict), sources.cache, remedy)
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; say where the data are with --data")
    dataset = load_dataset(root, benchmark, manifest.dataset == SAMPLE)
    if query not in dataset.queries:
        raise D2EvalError(f"{root}: has no query {query}; say where the data are with --data")
    spatial = Database3D(dataset)
    path = dataset.queries[query]
    asked, image = stored.features(path, query, None), read_image(path)
    camera = dataset.query_camera(query, asked.features.image_size)
    for rank, row in enumerate(_found(run.path, query)[:most], 1):
        cutout = row["cutout"]
        if cutout not in dataset.cutouts:
            raise D2EvalError(f"{root}: has no cutout {cutout}; say where the data are with --data")
        other = stored.features(dataset.cutouts[cutout], cutout, None)
        matches = stored.matches(asked, other, None)
        explained, deep = _explained(
            asked, other, matches, spatial.xyz(cutout), camera, _pose(row, run.path), benchmark,
            strategy.name == "pooled",
        )  # fmt: skip
        counts = ", ".join(f"{name} {row[name]}" for name in _COUNTS)
        counts += " with all cutouts" if strategy.name == "pooled" else ""
        yield MatchedImages(
            f"{run.label}{error_text(INLOC, run.path, query)}, rank {rank}: {cutout}\n{counts}",
            image, read_image(dataset.cutouts[cutout]),
            asked.features.keypoints[matches[:, 0]], other.features.keypoints[matches[:, 1]],
            np.where(explained, 0, np.where(deep, 1, 2)),
            [MatchKind(name, COLORS[2 * k]) for k, name in enumerate(KINDS)],
        )  # fmt: skip


def _found(folder: Path, query: str) -> Sequence[Mapping[str, str]]:
    """The query's candidates, best first; where a run ships without them, its answer alone."""
    path = folder / (CANDIDATES if (folder / CANDIDATES).is_file() else QUERIES)
    name = "query" if path.name == CANDIDATES else "name"
    columns = map(Column, (name, "cutout", *_COUNTS, *POSE_COLUMNS))
    with reading(path, REMEDY):
        found = [row for row in read_rows(path, columns) if row[name] == query and row["cutout"]]
    if not found:
        raise D2EvalError(f"{path}: has no cutout for {query}, so there is no picture of it")
    return found


def _pose(row: Mapping[str, str], folder: Path) -> pycolmap.Rigid3d | None:
    if not row["qw"]:
        return None
    values = reals([row[name] for name in POSE_COLUMNS], len(POSE_COLUMNS))
    if values is None:
        raise D2EvalError(f"{folder}: a pose is no numbers; {REMEDY}")
    return pose_from_wxyz(values[:4], values[4:], str(folder))


def _explained(
    asked: StoredFeatures,
    other: StoredFeatures,
    matches: Matches,
    xyz: npt.NDArray[np.floating],
    camera: pycolmap.Camera,
    pose: pycolmap.Rigid3d | None,
    benchmark: InlocBenchmark,
    is_pooled: bool,
) -> tuple[Bools, Bools]:
    """(M,) which matches agree with the pose, by the protocol's rule, and which have depth."""
    p3p = P3PSettings(**benchmark.strategy("p3p")) if not is_pooled else None
    if p3p is None:
        sides = asked.features.keypoints[matches[:, 0]], other.features.keypoints[matches[:, 1]]
        pixels, points = sides[0], interpolate_xyz(xyz, sides[1], "hloc")
    else:
        pixels, points = placed(asked.features, other.features, matches, xyz, p3p.keypoints)
    deep = np.asarray(np.isfinite(points).all(axis=1))
    explained = np.zeros(len(matches), np.bool_)
    if pose is None or not deep.any():
        return explained, deep
    seen = points[deep] @ pose.rotation.matrix().T + pose.translation
    if p3p is None:
        limit = PooledSettings(**benchmark.strategy("pooled")).options(camera, 0).ransac.max_error
        ahead = seen[:, 2] > 0
        off = np.full(len(seen), math.inf)
        projected = np.asarray(camera.img_from_cam(seen[ahead]), np.float64)
        off[ahead] = np.linalg.norm(projected - pixels[deep][ahead], axis=1)
        explained[deep] = off <= limit
        return explained, deep
    rays = np.ones((len(seen), 3))
    rays[:, :2] = camera.cam_from_img(pixels[deep].astype(np.float64))
    lengths = np.linalg.norm(rays, axis=1) * np.linalg.norm(seen, axis=1)
    cosine = math.cos(math.radians(p3p.threshold_deg))
    explained[deep] = (rays * seen).sum(axis=1) >= cosine * lengths
    return explained, deep
