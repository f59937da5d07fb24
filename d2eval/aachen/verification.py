"""Geometric verification of the matches: two-view geometries in the database, kept in the store.

Two kinds, as the benchmark file chooses. COLMAP's own (the challenge) estimates a fundamental or
essential matrix and a homography of every pair; the other (hloc) measures the distance to the
epipolar lines of known poses and takes the pairs of posed database images alone.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.protocol import AachenBenchmark, KnownPoseVerification, TwoViewVerification
from d2eval.aachen.workspace import Pair, create_part, open_database, part_of
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.leftovers import local_folder
from d2eval.foundation.terminal.progress import Progress
from d2eval.pipeline.planning import Keyed
from d2eval.pipeline.store import Store

VERSION = 2  # raise it when a change of the code changes the verified matches
CHUNK = 64  # pairs that COLMAP verifies at a time; a killed run loses no more

FloatArray = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Verified:
    """What verification left."""

    # number of verified matches of every verified pair, lower image id first
    inliers: dict[Pair, int]
    # of the stored geometries of all pairs, in order: what decides the triangulation
    keys: tuple[str, ...]
    restored: int  # pairs that were in the store already


def epipolar_distances(
    cam2_from_cam1: pycolmap.Rigid3d, points_1: FloatArray, points_2: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Distances of points (N, 2) on the plane z = 1 to the epipolar lines of their partners.

    Source: hloc at c13273b, compute_epipolar_errors.

    Returns:
        In image 1 and in image 2, (N,) each.
    """
    x, y, z = cam2_from_cam1.translation
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    essential = cross @ cam2_from_cam1.rotation.matrix()
    ones = np.ones((len(points_1), 1))
    rays_1, rays_2 = np.hstack([points_1, ones]), np.hstack([points_2, ones])
    lines_2, lines_1 = rays_1 @ essential.T, rays_2 @ essential
    residual = np.abs(np.sum(rays_2 * lines_2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            residual / np.linalg.norm(lines_1[:, :2], axis=1),
            residual / np.linalg.norm(lines_2[:, :2], axis=1),
        )


def _camera_text(camera: pycolmap.Camera) -> list[Any]:
    return [
        camera.model.name, camera.width, camera.height,
        [float(p) for p in camera.params], bool(camera.has_prior_focal_length),
    ]  # fmt: skip


def geometry_units(
    dataset: Dataset,
    keypoints: Mapping[str, ImageKeypoints] | Mapping[str, Keyed],
    benchmark: AachenBenchmark,
    matcher: Mapping[str, Any],
    store: Store,
    seed: int,
) -> dict[Pair, Path]:
    """Where the geometries lie, or would, of all pairs that are verified."""
    settings = benchmark.verification
    shared = [
        VERSION, pycolmap.__version__, type(settings).__name__, asdict(settings), dict(matcher),
        benchmark.keypoint_origin,
    ]  # fmt: skip
    group = [dict(matcher), asdict(settings), seed]
    cameras = {name: _camera_text(dataset.cameras[name]) for name in dataset.images}

    def content(pair: Pair) -> list[Any]:
        content: list[Any] = [
            *shared,
            *([keypoints[name].key, keypoints[name].origin] for name in pair),
            *(cameras[name] for name in pair),
        ]
        if isinstance(settings, KnownPoseVerification):
            poses = (dataset.poses[name] for name in pair)
            return [*content, *([float(v) for v in pose.matrix().ravel()] for pose in poses)]
        return [*content, seed]

    pairs = pairs_to_verify(dataset, benchmark)
    return {pair: store.unit_path("verified", content(pair), group) for pair in pairs}


class _Verifier:
    """One kind of verification over the pairs of one database."""

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        keypoints: Mapping[str, ImageKeypoints],
        benchmark: AachenBenchmark,
        seed: int,
        threads: int | None,
    ) -> None:
        self.path, self.dataset, self.keypoints = path, dataset, keypoints
        self.benchmark, self.seed, self.threads = benchmark, seed, threads

    def verify(self, pairs: Sequence[Pair]) -> None:
        """Writes the geometries of ``pairs`` into the database."""
        settings = self.benchmark.verification
        if isinstance(settings, TwoViewVerification):
            self._verify_two_view(pairs, settings)
        else:
            self._verify_known_poses(pairs, settings)

    def _verify_two_view(self, pairs: Sequence[Pair], settings: TwoViewVerification) -> None:
        # COLMAP's function for a single pair gives other results than its pipeline for pairs
        # without a prior focal length, so the pipeline it is.
        options = pycolmap.TwoViewGeometryOptions(
            min_num_inliers=settings.min_inliers,
            ransac={
                "max_error": settings.max_error_px,
                "confidence": settings.confidence,
                "min_num_trials": settings.min_iterations,
                "max_num_trials": settings.max_iterations,
                "min_inlier_ratio": settings.min_inlier_ratio,
                "random_seed": self.seed,
            },
        )
        # The function for a list of pairs goes through all of the database, however few they are
        threads = -1 if self.threads is None else self.threads
        verifier = pycolmap.GeometricVerifierOptions(num_threads=threads)
        with self._database_of(pairs) as path:
            pycolmap.geometric_verification(path, verifier, two_view_geometry_options=options)

    @contextlib.contextmanager
    def _database_of(self, pairs: Sequence[Pair]) -> Iterator[Path]:
        """A database of some pairs alone, whose geometries go into the whole one at the end."""
        if len(pairs) == len(self.dataset.pairs):
            yield self.path
            return
        part, ids = part_of(self.dataset, pairs), self.dataset.image_ids
        origin = self.benchmark.keypoint_origin
        seen = {name: self.keypoints[name].seen_by_colmap(origin) for name in part.images}
        with local_folder() as folder:
            path = folder / "database.db"
            with open_database(self.path) as whole:
                found = [
                    (pair, whole.read_matches(*(ids[name] for name in pair)).astype(np.int32))
                    for pair in pairs
                ]
            create_part(path, part, seen, found)
            yield path
            with open_database(path) as own, open_database(self.path) as whole:
                for first, other in ((ids[a], ids[b]) for a, b in pairs):
                    geometry = own.read_two_view_geometry(first, other)
                    whole.write_two_view_geometry(first, other, geometry)

    def _normalised(self, name: str, used: npt.NDArray[np.integer]) -> FloatArray:
        seen = self.keypoints[name].seen_by_colmap(self.benchmark.keypoint_origin)[used]
        camera = self.dataset.cameras[name]
        return np.asarray(camera.cam_from_img(seen.astype(np.float64)), np.float64)

    def _verify_known_poses(self, pairs: Sequence[Pair], settings: KnownPoseVerification) -> None:
        ids, poses = self.dataset.image_ids, self.dataset.poses
        with open_database(self.path) as database:
            for first, other in pairs:
                matches = database.read_matches(ids[first], ids[other])
                sides = ((first, matches[:, 0]), (other, matches[:, 1]))
                normalised = [self._normalised(name, used) for name, used in sides]
                errors = epipolar_distances(poses[other] * poses[first].inverse(), *normalised)
                near = [
                    error
                    <= self.dataset.cameras[name].cam_from_img_threshold(settings.max_error_px)
                    for (name, _), error in zip(sides, errors, strict=True)
                ]
                geometry = pycolmap.TwoViewGeometry(
                    config=pycolmap.TwoViewGeometryConfiguration.CALIBRATED,
                    inlier_matches=matches[near[0] & near[1]],
                )
                database.write_two_view_geometry(ids[first], ids[other], geometry)


def _to_arrays(geometry: pycolmap.TwoViewGeometry) -> Arrays:
    arrays: Arrays = {
        "config": np.array([int(geometry.config)]),
        "inliers": np.asarray(geometry.inlier_matches, np.int32).reshape(-1, 2),
    }
    matrices = {name: getattr(geometry, name) for name in ("E", "F", "H")}
    return arrays | {name: matrix for name, matrix in matrices.items() if matrix is not None}


def _to_geometry(arrays: Arrays) -> pycolmap.TwoViewGeometry:
    return pycolmap.TwoViewGeometry(
        config=pycolmap.TwoViewGeometryConfiguration(int(arrays["config"][0])),
        inlier_matches=arrays["inliers"].astype(np.uint32),
        **{name: arrays[name] for name in ("E", "F", "H") if name in arrays},
    )


def verify_pairs(
    path: Path,
    dataset: Dataset,
    keypoints: Mapping[str, ImageKeypoints],
    benchmark: AachenBenchmark,
    matcher: Mapping[str, Any],
    store: Store,
    seed: int,
    threads: int | None = None,
) -> Verified:
    """Verifies the matches in the database at ``path`` and writes their two-view geometries there.

    Raises:
        D2EvalError: no pair is verified; the disk is full.
    """
    found = verify_some(path, dataset, keypoints, benchmark, matcher, store, seed, threads)
    if not found.inliers:
        raise D2EvalError(
            f"no pair of {len(found.keys)} was verified: the matches agree with no geometry; see "
            "the counts of the stages before, and check that features and images belong together"
        )
    return found


def verify_some(
    path: Path,
    dataset: Dataset,
    keypoints: Mapping[str, ImageKeypoints],
    benchmark: AachenBenchmark,
    matcher: Mapping[str, Any],
    store: Store,
    seed: int,
    threads: int | None,
) -> Verified:
    """`verify_pairs`, of which none need be verified."""
    verifier = _Verifier(path, dataset, keypoints, benchmark, seed, threads)
    ids = dataset.image_ids
    units = geometry_units(dataset, keypoints, benchmark, matcher, store, seed)
    pairs = list(units)
    found: dict[Pair, Arrays] = {}
    for pair, unit in units.items():
        arrays = store.read_arrays(unit)
        if arrays is not None:
            found[pair] = arrays
    restored = len(found)
    with open_database(path) as database:
        for (a, b), arrays in found.items():
            database.write_two_view_geometry(ids[a], ids[b], _to_geometry(arrays))
    inliers = {pair: len(arrays["inliers"]) for pair, arrays in found.items()}
    waiting = iter([pair for pair in pairs if pair not in found])
    del found
    with Progress("verification", len(pairs), done=restored) as under_way:
        while chunk := list(islice(waiting, CHUNK)):
            begin = time.perf_counter()
            verifier.verify(chunk)
            seconds = (time.perf_counter() - begin) / len(chunk)
            with open_database(path) as database:
                for a, b in chunk:
                    geometry = database.read_two_view_geometry(ids[a], ids[b])
                    arrays = _to_arrays(geometry)
                    store.write_arrays(units[a, b], arrays, seconds)
                    inliers[a, b] = len(arrays["inliers"])
            under_way.advance(len(chunk))
    store.flush()
    return Verified(
        {pair: inliers[pair] for pair in pairs if inliers[pair]},
        tuple(units[pair].name for pair in pairs),
        restored,
    )


def pairs_to_verify(dataset: Dataset, benchmark: AachenBenchmark) -> list[Pair]:
    """Those of the list, the image of lower id first, as COLMAP has them whatever the list does."""
    ids = dataset.image_ids
    pairs = [min(p, p[::-1], key=lambda pair: ids[pair[0]]) for p in sorted(dataset.pairs)]
    if isinstance(benchmark.verification, KnownPoseVerification):
        pairs = [pair for pair in pairs if all(name in dataset.poses for name in pair)]
    return pairs
