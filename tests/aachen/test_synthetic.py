import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import Scene, added, localize, make_scene, with_pairs

from d2eval.aachen.protocol import load_benchmark
from d2eval.metrics.poses import pose_error

PROTOCOLS = ["aachen", "aachen_hloc"]
NOTHING = np.zeros((0, 2), np.int32)


def with_matches(scene: Scene, changed: dict[str, int]) -> Scene:
    """The scene with at most so many matches in each pair of the named images."""
    matches = {
        pair: indices[: min([changed[name] for name in pair if name in changed], default=None)]
        for pair, indices in scene.matches.items()
    }
    return with_pairs(scene, matches)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(6, 8),
    wrong=st.sampled_from([0.0, 0.2, 0.25]),
    noise=st.sampled_from([0.0, 0.05]),
    focal=st.floats(480, 600),
    distortion=st.floats(-0.06, 0.06),
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    move=st.tuples(*[st.floats(-100, 100)] * 3),
    prior=st.booleans(),
)
def test_known_poses_come_back(
    protocol, seed, images, wrong, noise, focal, distortion, turn, move, prior
):
    # Points enough that the few wrong ones, which 12 pixels let in, don't count for much.
    benchmark = load_benchmark(protocol)
    world = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array(turn)), np.array(move))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = make_scene(
            folder / "data", seed, images, 500, wrong=wrong, noise=noise, focal=focal,
            distortion=distortion, world=world, shift=added(benchmark), prior=prior,
        )  # fmt: skip
        found = localize(scene, benchmark, folder)
    assert found.results.keys() == scene.dataset.references.keys()
    for query, reference in scene.dataset.references.items():
        position, rotation = pose_error(found.results[query].pose, reference)
        assert rotation < 0.02
        assert position < 0.003
    assert found.model.num_points3D() > 0.9 * len(scene.points)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_wrong_origin_shows(tmp_path, protocol):
    # The test above would not pass by chance. (Most of a shift goes into a turn of all cameras.)
    benchmark = load_benchmark(protocol)
    scene = make_scene(tmp_path / "data", 3, wrong=0, shift=added(benchmark) + 1)
    found = localize(scene, benchmark, tmp_path)
    errors = [pose_error(found.results[q].pose, r) for q, r in scene.dataset.references.items()]
    assert max(rotation for _, rotation in errors) > 0.02


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_keypoints_of_a_method_that_counts_as_colmap_does_fit_exactly(tmp_path, protocol):
    # Features hold them half a pixel less, and both protocols hand COLMAP what it itself found.
    scene = make_scene(tmp_path / "data", 3, wrong=0, shift=0.5)
    corner = {name: replace(image, origin="corner") for name, image in scene.keypoints.items()}
    found = localize(replace(scene, keypoints=corner), load_benchmark(protocol), tmp_path)
    for query, reference in scene.dataset.references.items():
        position, rotation = pose_error(found.results[query].pose, reference)
        assert rotation < 1e-3
        assert position < 1e-4
        assert found.results[query].mean_reprojection_px < 1e-2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_given_stays(tmp_path, protocol):
    benchmark = load_benchmark(protocol)
    # Keypoints that fit another focal length, so that a refinement would want to change it.
    scene = make_scene(tmp_path / "data", 5, wrong=0.1, noise=0.05, distortion=0.02,
                       shift=added(benchmark))  # fmt: skip
    cameras = {}
    for name, camera in scene.dataset.cameras.items():
        cameras[name] = pycolmap.Camera(camera.todict())
        cameras[name].params = camera.params * [1.004, 1, 1, 1]
    scene = replace(scene, dataset=replace(scene.dataset, cameras=cameras))
    found = localize(scene, benchmark, tmp_path)
    dataset = scene.dataset
    assert all(result.pose is not None for result in found.results.values())
    assert found.model.num_images() == len(dataset.images)
    for name in dataset.images:
        image = found.model.images[dataset.image_ids[name]]
        assert image.name == name
        held = found.model.cameras[image.camera_id]
        assert held.params.tolist() == dataset.cameras[name].params.tolist()
        assert str(held) == str(dataset.cameras[name])
        expected = dataset.poses.get(name)
        if expected is None:
            expected = found.results[name].pose
        np.testing.assert_array_equal(image.cam_from_world().matrix(), expected.matrix())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_two_runs_are_bit_equal(tmp_path, protocol):
    benchmark = load_benchmark(protocol)
    scene = make_scene(tmp_path / "data", 8, noise=0.1, shift=added(benchmark))
    runs = [localize(scene, benchmark, tmp_path / name) for name in ("first", "second")]
    assert runs[0].verified == runs[1].verified
    points = [
        {i: (tuple(p.xyz), p.track.length()) for i, p in r.model.points3D.items()} for r in runs
    ]
    assert points[0] == points[1]
    for query in scene.dataset.queries:
        one, other = (run.results[query] for run in runs)
        np.testing.assert_array_equal(one.pose.matrix(), other.pose.matrix())
        assert (one.visible_points, one.inliers, one.mean_reprojection_px, one.points) == (
            other.visible_points, other.inliers, other.mean_reprojection_px, other.points
        )  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_without_a_match_stop_nobody(tmp_path, protocol):
    # A database image that nothing is matched to, and a query alike.
    benchmark = load_benchmark(protocol)
    full = make_scene(tmp_path / "data", 2, wrong=0.1, shift=added(benchmark))
    lonely, (lost, found) = "db/2.png", full.dataset.queries
    scene = with_matches(full, {lonely: 0, lost: 0})
    results = localize(scene, benchmark, tmp_path)
    assert results.results[lost].pose is None
    assert results.results[lost].visible_points == results.results[lost].inliers == 0
    assert np.isnan(results.results[lost].mean_reprojection_px)
    assert results.results[lost].points == {}
    assert pose_error(results.results[found].pose, scene.dataset.references[found])[1] < 0.02
    assert results.model.images[scene.dataset.image_ids[lonely]].num_points3D == 0


@pytest.mark.parametrize(
    ("protocol", "count", "registered"),
    [("aachen", 29, False), ("aachen", 80, True), ("aachen_hloc", 3, False),
     ("aachen_hloc", 12, True)],
)  # fmt: skip
def test_the_gates_of_registration(tmp_path, protocol, count, registered):
    # One database image alone gives the query its points: the challenge wants 30 of them.
    benchmark = load_benchmark(protocol)
    full = make_scene(tmp_path / "data", 4, wrong=0, shift=added(benchmark))
    query = next(iter(full.dataset.queries))
    others = {p: m for p, m in full.matches.items() if query not in p}
    pair = ("db/1.png", query)
    scene = with_pairs(full, {**others, pair: full.matches[pair][:count]})
    result = localize(scene, benchmark, tmp_path).results[query]
    assert (result.pose is not None) == registered
    assert count - 8 <= result.visible_points <= count  # some points may lack
    # Of three points no pose is tried; of 29 one is, which all of them fit.
    tried = registered or protocol == "aachen"
    assert result.inliers == (result.visible_points if tried else 0)


def test_an_unposed_database_image_triangulates_nothing(tmp_path):
    benchmark = load_benchmark("aachen")
    full = make_scene(tmp_path / "data", 6, wrong=0)
    poses = {name: pose for name, pose in full.dataset.poses.items() if name != "db/3.png"}
    scene = replace(full, dataset=replace(full.dataset, poses=poses))
    found = localize(scene, benchmark, tmp_path)
    assert not found.model.exists_image(scene.dataset.image_ids["db/3.png"])
    for query, reference in scene.dataset.references.items():
        assert pose_error(found.results[query].pose, reference)[1] < 0.02
