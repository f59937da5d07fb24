import math
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from synthetic import Scene, fill_database, localize, make_scene, shifted, verify, with_pairs

from d2eval.aachen.pnp import covisibility_clusters, register_by_pnp, with_nearest_poses
from d2eval.aachen.protocol import load_benchmark
from d2eval.aachen.triangulation import triangulate
from d2eval.metrics.poses import pose_error
from d2eval.pipeline.store import Store

BENCHMARK = load_benchmark("aachen_hloc")


def model_of(tracks, images):
    """A model of ``images`` (ids) whose points are seen by the images of ``tracks``."""
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=8, height=6, params=[9, 4, 3, 0], camera_id=1
    )
    model.add_camera_with_trivial_rig(camera)
    for image_id in images:
        image = pycolmap.Image(
            name=f"{image_id}.png", image_id=image_id, camera_id=1,
            keypoints=np.zeros((len(tracks), 2)),
        )  # fmt: skip
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    for index, seen in enumerate(tracks):
        track = pycolmap.Track()
        for image_id in seen:
            track.add_element(image_id, index)
        model.add_point3D(np.array([index, 0, 5.0]), track)
    return model


def slow_clusters(tracks, images):
    """Union-find."""
    parent = {image: image for image in images}

    def root(image):
        while parent[image] != image:
            image = parent[image]
        return image

    for seen in tracks:
        members = [image for image in seen if image in parent]
        for other in members[1:]:
            parent[root(other)] = root(members[0])
    clusters = {}
    for image in images:
        clusters.setdefault(root(image), set()).add(image)
    return sorted(map(sorted, clusters.values()))


def test_clusters_by_hand():
    tracks = [(1, 2), (2, 3), (5, 6), (4, 7), (6, 7)]
    model = model_of(tracks, range(1, 10))
    # 4 and 7 are joined by a point, 5 and 6 too; 6 and 7 by the last. 8 and 9 see nothing.
    found = covisibility_clusters(model, [9, 3, 1, 2, 7, 5, 6, 4])
    assert [sorted(cluster) for cluster in found] == [[4, 5, 6, 7], [1, 2, 3], [9]]
    # Images that were not retrieved join nobody.
    found = covisibility_clusters(model, [1, 3, 4, 5])
    assert sorted(map(sorted, found)) == [[1], [3], [4], [5]]
    assert covisibility_clusters(model, []) == []


@pytest.mark.parametrize("seed", range(5))
def test_clusters_agree_with_union_find(seed):
    rng = np.random.default_rng(seed)
    tracks = [rng.choice(20, rng.integers(2, 4), replace=False) + 1 for _ in range(10)]
    tracks = [tuple(int(image) for image in track) for track in tracks]
    images = [int(image) for image in rng.permutation(20)[:15] + 1]
    found = covisibility_clusters(model_of(tracks, range(1, 21)), images)
    assert sorted(map(sorted, found)) == slow_clusters(tracks, images)
    assert [len(c) for c in found] == sorted((len(c) for c in found), reverse=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene") / "data"
    return make_scene(folder, 41, images=6, points=150, wrong=0.2, noise=0.2, shift=0.5)


def settle(scene: Scene, folder, benchmark=BENCHMARK):
    """Database and a function that gives the model without queries."""
    store = Store(folder / "cache")
    database = fill_database(scene, benchmark, folder / "database.db")
    keys = verify(scene, benchmark, database, store).keys
    return database, lambda: triangulate(
        database, scene.dataset, benchmark, keys, store, 0
    )  # fmt: skip


def estimate(scene, database, model, **changed):
    settings = replace(BENCHMARK.registration, **changed)
    return register_by_pnp(
        database, model, scene.dataset, shifted(scene, BENCHMARK), settings, 0
    )  # fmt: skip


def slow_correspondences(scene, database, model, query, images):
    """{(keypoint, point)}: each match of the query whose other keypoint is in a point's track."""
    ids = scene.dataset.image_ids
    point_of = {
        (e.image_id, e.point2D_idx): point_id
        for point_id, point in model.points3D.items()
        for e in point.track.elements
    }
    found = set()
    with pycolmap.Database.open(database) as opened:
        for other in images:
            for a, b in opened.read_matches(ids[query], ids[other]).tolist():
                if (ids[other], b) in point_of:
                    found.add((a, point_of[ids[other], b]))
    return found


def test_every_option_and_correspondence_arrives(scene, tmp_path, monkeypatch):
    database, model = settle(scene, tmp_path)
    seen, real = [], pycolmap.estimate_and_refine_absolute_pose

    def spy(*arguments):
        seen.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(pycolmap, "estimate_and_refine_absolute_pose", spy)
    points = model()
    estimate(
        scene, database, points, max_error_px=11.0, confidence=0.98, min_iterations=101,
        max_iterations=5000, min_inlier_ratio=0.2,
    )  # fmt: skip
    assert len(seen) == len(scene.dataset.queries)
    keypoints = shifted(scene, BENCHMARK)
    for query, (p2d, p3d, camera, options) in zip(scene.dataset.queries, seen, strict=True):
        ransac = options.ransac
        assert (ransac.max_error, ransac.confidence, ransac.min_inlier_ratio) == (11.0, 0.98, 0.2)
        assert (ransac.min_num_trials, ransac.max_num_trials) == (101, 5000)
        assert ransac.random_seed == 0
        assert not options.estimate_focal_length
        assert str(camera) == str(scene.dataset.cameras[query])
        listed = slow_correspondences(scene, database, points, query, scene.dataset.poses)
        expected = sorted(
            (*keypoints[query][a].tolist(), *points.points3D[p].xyz.tolist()) for a, p in listed
        )
        assert sorted(np.hstack([p2d, p3d]).tolist()) == [list(row) for row in expected]
    refinement = pycolmap.AbsolutePoseRefinementOptions()  # what it takes without being told
    assert not refinement.refine_focal_length
    assert not refinement.refine_extra_params


def test_inliers_and_visible_points_are_keypoints(scene, tmp_path):
    database, model = settle(scene, tmp_path)
    points = model()
    for query, result in estimate(scene, database, points).items():
        listed = slow_correspondences(scene, database, points, query, scene.dataset.poses)
        assert result.visible_points == len({a for a, _ in listed})
        assert result.inliers == len(result.points) <= result.visible_points
        assert set(result.points.items()) <= listed
        camera, keypoints = scene.dataset.cameras[query], shifted(scene, BENCHMARK)[query]
        errors = [
            math.dist(camera.img_from_cam(result.pose * points.points3D[p].xyz), keypoints[a])
            for a, p in result.points.items()
        ]
        assert result.mean_reprojection_px == pytest.approx(sum(errors) / len(errors), rel=1e-6)
        assert np.median(errors) < 1


def test_queries_join_the_model_without_observations(scene, tmp_path):
    database, model = settle(scene, tmp_path)
    points = model()
    before = {i: (tuple(p.xyz), p.track.length()) for i, p in points.points3D.items()}
    results = estimate(scene, database, points)
    assert {i: (tuple(p.xyz), p.track.length()) for i, p in points.points3D.items()} == before
    for query, result in results.items():
        image = points.images[scene.dataset.image_ids[query]]
        assert image.name == query
        np.testing.assert_array_equal(image.cam_from_world().matrix(), result.pose.matrix())


@pytest.mark.parametrize(("smallest", "registered"), [(4, True), (10_000, False)])
def test_the_smallest_number_of_inliers(scene, tmp_path, smallest, registered):
    database, model = settle(scene, tmp_path)
    points = model()
    for result in estimate(scene, database, points, min_inliers=smallest).values():
        assert (result.pose is not None) == registered
        assert result.visible_points > 50
    assert points.num_images() == 6 + 2 * registered


def halves(folder):
    """Images 0..2 and 3..5 share no match, so they are two clusters; the second has more points."""
    full = make_scene(folder / "data", 43, images=6, points=200, wrong=0, shift=0.5)
    left = [f"db/{k}.png" for k in range(3)]
    matches = {
        pair: m
        for pair, m in full.matches.items()
        if not all(name in full.dataset.poses for name in pair)
        or (pair[0] in left) == (pair[1] in left)
    }
    query = next(iter(full.dataset.queries))
    for pair, m in matches.items():
        if query in pair and pair[0] in left:
            matches[pair] = m[:25]
    return with_pairs(full, matches), query


@pytest.mark.parametrize("clustering", [True, False])
def test_the_cluster_of_most_inliers_counts(tmp_path, clustering):
    scene, query = halves(tmp_path)
    database, model = settle(scene, tmp_path)
    points = model()
    results = estimate(scene, database, points, covisibility_clustering=clustering)
    right = [f"db/{k}.png" for k in range(3, 6)]
    images = right if clustering else list(scene.dataset.poses)
    listed = slow_correspondences(scene, database, points, query, images)
    assert results[query].visible_points == len({a for a, _ in listed})
    assert set(results[query].points.items()) <= listed
    assert pose_error(results[query].pose, scene.dataset.references[query])[1] < 0.02


def test_a_keypoint_with_several_points_counts_once(tmp_path):
    # Without clusters both halves give each keypoint a point, at nearly one place.
    scene, _ = halves(tmp_path)
    database, model = settle(scene, tmp_path)
    points = model()
    other = list(scene.dataset.queries)[1]
    result = estimate(scene, database, points, covisibility_clustering=False)[other]
    listed = slow_correspondences(scene, database, points, other, scene.dataset.poses)
    keypoints = {a for a, _ in listed}
    assert len(listed) > len(keypoints) + 20
    assert result.visible_points == len(keypoints)
    assert result.inliers == len(result.points) <= len(keypoints)


def test_three_keypoints_make_no_pose(tmp_path):
    # However many points they lead to: three keypoints agree with any pose.
    scene, _ = halves(tmp_path)
    query = list(scene.dataset.queries)[1]
    pairs = [pair for pair in scene.matches if query in pair]
    common = set.intersection(*({int(b) for b in scene.matches[pair][:, 1]} for pair in pairs))
    three = sorted(common)[:3]
    matches = {
        pair: m[np.isin(m[:, 1], three)] if query in pair else m
        for pair, m in scene.matches.items()
    }
    scene = with_pairs(scene, matches)
    database, model = settle(scene, tmp_path)
    points = model()
    listed = slow_correspondences(scene, database, points, query, scene.dataset.poses)
    assert len(listed) >= 4 > len({a for a, _ in listed})
    result = estimate(scene, database, points, covisibility_clustering=False)[query]
    assert (result.pose, result.visible_points) == (None, 3)


def test_a_query_that_can_t_be_localized_stays_so(tmp_path):
    # hloc would write the pose of the nearest database image, and so does --nearest-pose.
    scene = make_scene(tmp_path / "data", 5, images=4, points=80, wrong=0, shift=0.5)
    query = next(iter(scene.dataset.queries))
    matches = {p: m[:0] if query in p else m for p, m in scene.matches.items()}
    scene = with_pairs(scene, matches)
    found = localize(scene, BENCHMARK, tmp_path).results
    result = found[query]
    assert (result.pose, result.inliers, result.visible_points) == (None, 0, 0)
    nearest = with_nearest_poses(found, scene.dataset)
    first = next(b if a == query else a for a, b in scene.dataset.pairs if query in (a, b))
    pose = scene.dataset.poses[first].matrix()
    np.testing.assert_array_equal(nearest[query].pose.matrix(), pose)
    assert nearest[query].reason == f"has the pose of {first}: {result.reason}"
    assert all(nearest[other] is own for other, own in found.items() if other != query)
    unpaired = [pair for pair in scene.dataset.pairs if query not in pair]
    alone = with_nearest_poses(found, replace(scene.dataset, pairs=unpaired))
    assert alone[query].pose is None


def test_why_a_query_has_no_pose(tmp_path):
    scene = make_scene(tmp_path / "data", 4, images=4, points=120)
    none, lost = scene.dataset.queries
    matches = {p: m[:0] if none in p else m for p, m in scene.matches.items()}
    few = with_pairs(scene, matches)
    found = localize(few, BENCHMARK, tmp_path / "work").results
    features = len(scene.keypoints[none].keypoints)
    assert found[none].reason == f"too few matches: 0 of {features} features, 4 are needed"
    count = sum(len(m) for p, m in matches.items() if lost in p)
    assert (found[lost].matches, found[lost].verified, found[lost].reason) == (count, None, "")
    stricter = replace(BENCHMARK, registration=replace(BENCHMARK.registration, max_error_px=1e-6))
    found = localize(few, stricter, tmp_path / "strict").results[lost]
    points = found.visible_points
    assert 4 < points < count
    assert found.reason == (
        f"too few inliers: {found.inliers} of {points} keypoints with a 3D point, 4 are needed"
    )
