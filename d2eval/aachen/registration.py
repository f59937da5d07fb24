"""Poses of the queries, as COLMAP's image registrator finds them, intrinsics fixed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.protocol import AachenBenchmark, ImageRegistration
from d2eval.aachen.triangulation import pipeline_options
from d2eval.foundation.terminal.progress import progress
from d2eval.localization.reasons import shortage


@dataclass(frozen=True)
class Registered:
    """What is known of one query."""

    pose: pycolmap.Rigid3d | None  # cam_from_world, or None if the query could not be registered
    visible_points: int  # keypoints of the query with a verified match to a triangulated keypoint
    inliers: int  # keypoints that the pose explains; without one, those of the best one tried
    mean_reprojection_px: float  # of the inliers; NaN without a pose
    points: dict[int, int]  # point of the model by index of the keypoint, for the inliers
    matches: int = 0  # with the database images that it is paired with
    # those that a two-view geometry explains; None where none was asked for
    verified: int | None = None
    reason: str = ""  # why there is no pose; empty with one


def failure(visible_points: int, inliers: int = 0) -> Registered:
    """A query without a pose; ``inliers`` are those of the best one tried."""
    return Registered(None, visible_points, inliers, math.nan, {})


def explained(
    found: Registered, features: int, matches: int, verified: int | None, needed: int
) -> Registered:
    """What is known of a query, with the counts that it rests on and why it has no pose.

    ``verified`` is None where matches aren't verified; a pose has ``needed`` inliers.
    """
    reason = ""
    if found.pose is None:
        steps = [("features", features), ("matches", matches)]
        if verified is not None:
            steps.append(("verified matches", verified))
        steps += [("keypoints with a 3D point", found.visible_points), ("inliers", found.inliers)]
        reason = shortage([(*step, needed) for step in steps])
    return replace(found, matches=matches, verified=verified, reason=reason)


def estimate_pose(
    model: pycolmap.Reconstruction,
    camera: pycolmap.Camera,
    keypoints: npt.NDArray[np.floating],
    pairs: Sequence[tuple[int, int]],
    ransac: Mapping[str, Any],
) -> dict[str, Any] | None:
    """COLMAP's absolute pose from pairs of a query's keypoint and a point of the model, or None.

    Keypoints are (N, 2), as COLMAP sees them; pairs (index of the keypoint, id of the point).
    """
    if not pairs:
        return None
    indices, points = zip(*pairs, strict=True)
    return pycolmap.estimate_and_refine_absolute_pose(
        keypoints[list(indices)].astype(np.float64),
        np.array([model.points3D[point].xyz for point in points]),
        camera,
        pycolmap.AbsolutePoseEstimationOptions(ransac=dict(ransac)),
    )


def mean_reprojection(
    model: pycolmap.Reconstruction,
    camera: pycolmap.Camera,
    pose: pycolmap.Rigid3d,
    points: dict[int, int],
    keypoints: npt.NDArray[np.floating],
) -> float:
    """Mean distance in pixels of keypoints to their projected points; NaN without any.

    ``pose`` is cam_from_world; ``points`` are the model's by index of the keypoint; keypoints are
    (N, 2), as COLMAP sees them.
    """
    if not points:
        return math.nan
    world = np.array([model.points3D[point].xyz for point in points.values()])
    projected = np.asarray(camera.img_from_cam(pose * world), np.float64)
    return float(np.linalg.norm(projected - keypoints[list(points)], axis=1).mean())


class ModelPoints:
    """Which keypoints of the database images have a point."""

    def __init__(self, model: pycolmap.Reconstruction) -> None:
        self.model = model
        self._of_image: dict[int, npt.NDArray[np.int64]] = {}

    def of_image(self, image_id: int) -> npt.NDArray[np.int64]:
        """(N,) the point of each keypoint of an image, -1 for none."""
        if image_id not in self._of_image:
            image = self.model.images[image_id]
            points = np.full(image.num_points2D(), -1, np.int64)
            for index in image.get_observation_point2D_idxs():
                points[index] = image.point2D(index).point3D_id
            self._of_image[image_id] = points
        return self._of_image[image_id]

    def seen(
        self, matches: npt.NDArray[np.integer], image_id: int
    ) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
        """Keypoints of a query whose match in the image has a point, and that point.

        ``matches`` are (M, 2) keypoints of the query and of the image.

        Returns:
            Two (K,) arrays: index of the query's keypoint, id of the point.
        """
        points = self.of_image(image_id)[matches[:, 1]]
        return matches[points >= 0, 0], points[points >= 0]


def partners(dataset: Dataset) -> dict[str, list[str]]:
    """The posed database images that each query is matched to, in the order of the pair list."""
    found: dict[str, list[str]] = {name: [] for name in dataset.queries}
    for pair in dataset.pairs:
        for query, other in (pair, pair[::-1]):
            if query in found and other in dataset.poses:
                found[query].append(other)
    return found


def register_images(
    database: Path,
    model: pycolmap.Reconstruction,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    settings: ImageRegistration,
    seed: int,
    threads: int | None = None,
) -> dict[str, Registered]:
    """Registers each query with the model's points; the queries don't see each other.

    The registered queries are added to ``model``; its points stay as they are.

    Source: image_registrator of COLMAP 3.5 with intrinsics fixed (RunImageRegistrator).
    """
    options = pipeline_options(benchmark.triangulation, seed, threads).get_mapper()
    options.abs_pose_max_error = settings.max_error_px
    options.abs_pose_min_num_inliers = settings.min_inliers
    options.abs_pose_min_inlier_ratio = settings.min_inlier_ratio
    options.random_seed = seed
    with pycolmap.Database.open(database) as opened:
        # The mapper doesn't take a model with an image that the cache lacks, so those without a
        # verified pair are loaded too.
        cache = pycolmap.DatabaseCache.create(
            opened,
            pycolmap.DatabaseCacheOptions(
                min_num_matches=benchmark.triangulation.min_matches,
                image_names=set(dataset.images),
                load_all_images=True,
            ),
        )
        raw = {
            name: sum(
                len(opened.read_matches(dataset.image_ids[name], dataset.image_ids[other]))
                for other in others
            )
            for name, others in partners(dataset).items()
        }
    points = ModelPoints(model)
    ransac = {
        "max_error": settings.max_error_px,
        "min_inlier_ratio": settings.min_inlier_ratio,
        "random_seed": seed,
    }
    mapper = pycolmap.IncrementalMapper(cache)
    mapper.begin_reconstruction(model)
    results = {}
    for name, others in progress(partners(dataset).items(), "registration", len(dataset.queries)):
        image_id = dataset.image_ids[name]
        visible: set[tuple[int, int]] = set()
        verified = 0
        for other in (dataset.image_ids[other] for other in others):
            matches = cache.correspondence_graph.extract_matches_between_images(image_id, other)
            verified += len(matches)
            seen = points.seen(matches, other)
            visible.update(zip(seen[0].tolist(), seen[1].tolist(), strict=True))
        count = len({keypoint for keypoint, _ in visible})
        if mapper.register_next_image(options, image_id):
            found = _result(model, image_id, count)
        else:
            keypoints = np.array([point.xy for point in model.images[image_id].points2D])
            camera = dataset.cameras[name]
            best = estimate_pose(model, camera, keypoints, sorted(visible), ransac)
            found = failure(count, best["num_inliers"] if best else 0)
        features = cache.images[image_id].num_points2D()
        results[name] = explained(found, features, raw[name], verified, settings.min_inliers)
    mapper.end_reconstruction(False)
    return results


def _result(model: pycolmap.Reconstruction, image_id: int, visible: int) -> Registered:
    image = model.images[image_id]
    found = {int(i): int(image.point2D(i).point3D_id) for i in image.get_observation_point2D_idxs()}
    keypoints = np.array([point.xy for point in image.points2D])
    pose, camera = image.cam_from_world(), model.cameras[image.camera_id]
    error = mean_reprojection(model, camera, pose, found, keypoints)
    return Registered(pose, visible, len(found), error, found)
