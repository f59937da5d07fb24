"""Poses of the queries as the hloc toolbox estimates them: one PnP over all retrieved points."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.protocol import PnpRegistration
from d2eval.aachen.registration import (
    ModelPoints,
    Registered,
    estimate_pose,
    explained,
    failure,
    mean_reprojection,
    partners,
)
from d2eval.foundation.terminal.progress import progress

Correspondences = dict[int, list[int]]  # points of the model by index of the query's keypoint


def covisibility_clusters(model: pycolmap.Reconstruction, images: list[int]) -> list[list[int]]:
    """Connected components of images that share points of the model, the largest first.

    Source: hloc at c13273b, do_covisibility_clustering.
    """
    left, clusters = list(images), []
    while left:
        cluster, queue = [], [left.pop(0)]
        while queue:
            image_id = queue.pop()
            cluster.append(image_id)
            image = model.images[image_id]
            seen = {
                element.image_id
                for index in image.get_observation_point2D_idxs()
                for element in model.points3D[image.point2D(index).point3D_id].track.elements
            }
            queue += [other for other in left if other in seen]
            left = [other for other in left if other not in seen]
        clusters.append(cluster)
    return sorted(clusters, key=len, reverse=True)


def _correspondences(
    points: ModelPoints, matches: Mapping[int, npt.NDArray[np.integer]]
) -> Correspondences:
    """Every point that a keypoint's matches lead to, once each (hloc's pose_from_cluster)."""
    found: Correspondences = defaultdict(list)
    for image_id, indices in matches.items():
        for keypoint, point in zip(*points.seen(indices, image_id), strict=True):
            if int(point) not in found[int(keypoint)]:
                found[int(keypoint)].append(int(point))
    return found


def _estimate(
    model: pycolmap.Reconstruction,
    camera: pycolmap.Camera,
    keypoints: npt.NDArray[np.float64],
    correspondences: Correspondences,
    settings: PnpRegistration,
    seed: int,
) -> tuple[int, Registered]:
    """The number of correspondences that the pose explains, and the pose.

    A keypoint with several points counts as often in the first, as in hloc, but once in the second.
    """
    indices = [index for index, points in correspondences.items() for _ in points]
    ids = [point for points in correspondences.values() for point in points]
    if len(ids) < settings.min_inliers:
        return 0, failure(len(correspondences))
    ransac = {
        "max_error": settings.max_error_px,
        "confidence": settings.confidence,
        "min_num_trials": settings.min_iterations,
        "max_num_trials": settings.max_iterations,
        "min_inlier_ratio": settings.min_inlier_ratio,
        "random_seed": seed,
    }
    pairs = list(zip(indices, ids, strict=True))
    found = estimate_pose(model, camera, keypoints, pairs, ransac)
    if found is None:
        return 0, failure(len(correspondences))
    inliers = {
        index: point
        for index, point, inlier in zip(indices, ids, found["inlier_mask"], strict=True)
        if inlier
    }
    if len(inliers) < settings.min_inliers:
        return 0, failure(len(correspondences), len(inliers))
    pose = found["cam_from_world"]
    error = mean_reprojection(model, camera, pose, inliers, keypoints)
    result = Registered(pose, len(correspondences), len(inliers), error, inliers)
    return int(found["num_inliers"]), result


def register_by_pnp(
    database: Path,
    model: pycolmap.Reconstruction,
    dataset: Dataset,
    keypoints: Mapping[str, npt.NDArray[np.float32]],
    settings: PnpRegistration,
    seed: int,
) -> dict[str, Registered]:
    """Estimates each query's pose from the points that its matches lead to.

    With clustering, there is a pose for each connected component of the retrieved images, and the
    one of most inliers counts. Matches of queries are not verified before. A query without a pose
    stays without one. The registered queries are added to ``model``, without their observations.

    Keypoints are (N, 2) of every image, as COLMAP sees them.

    Source: hloc at c13273b, localize_sfm.
    """
    points, ids = ModelPoints(model), dataset.image_ids
    results = {}
    with pycolmap.Database.open(database) as opened:
        listed = partners(dataset).items()
        for name, others in progress(listed, "registration", len(dataset.queries)):
            retrieved = [ids[other] for other in others]
            matches = {other: opened.read_matches(ids[name], other) for other in retrieved}
            clusters = [retrieved]
            if settings.covisibility_clustering:
                clusters = covisibility_clusters(model, retrieved)
            most, best = (0, 0), failure(0)
            for cluster in clusters:
                count, found = _estimate(
                    model, dataset.cameras[name], keypoints[name].astype(np.float64),
                    _correspondences(points, {i: matches[i] for i in cluster}), settings, seed,
                )  # fmt: skip
                if (count, found.visible_points) > most:
                    most, best = (count, found.visible_points), found
            count = sum(map(len, matches.values()))
            needed = settings.min_inliers
            results[name] = explained(best, len(keypoints[name]), count, None, needed)
            if best.pose is not None:
                _add_query(model, dataset, name, best.pose)
    return results


def with_nearest_poses(
    results: Mapping[str, Registered], dataset: Dataset
) -> dict[str, Registered]:
    """What was found; a query without a pose has that of the first image retrieved for it.

    Its reason stays and says whose pose it is. A query for which nothing was retrieved has none.

    Source: hloc at c13273b, localize_sfm, where it doesn't cluster.
    """
    found = dict(results)
    for name, others in partners(dataset).items():
        if found[name].pose is None and others:
            reason = f"has the pose of {others[0]}: {found[name].reason}"
            found[name] = replace(found[name], pose=dataset.poses[others[0]], reason=reason)
    return found


def _add_query(
    model: pycolmap.Reconstruction, dataset: Dataset, name: str, pose: pycolmap.Rigid3d
) -> None:
    camera = dataset.cameras[name]
    if not model.exists_camera(camera.camera_id):
        model.add_camera_with_trivial_rig(camera)
    image = pycolmap.Image(name=name, image_id=dataset.image_ids[name], camera_id=camera.camera_id)
    model.add_image_with_trivial_frame(image, pose)
