import errno
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest
from packed_units import damage_unit, packed
from synthetic import (
    MATCHER,
    fill_database,
    make_scene,
    register,
    spoil,
    true_matches,
    verify,
    with_pairs,
)

import d2eval.aachen.verification as verification
from d2eval.aachen.protocol import KnownPoseVerification, TwoViewVerification, load_benchmark
from d2eval.aachen.triangulation import triangulate
from d2eval.aachen.verification import epipolar_distances, verify_pairs
from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline.store import Store

PROTOCOLS = ["aachen", "aachen_hloc"]
CONFIGURATION = pycolmap.TwoViewGeometryConfiguration


def geometries(scene, database):
    """All that is stored of each pair, lower image id first."""
    ids = scene.dataset.image_ids
    names = {image_id: name for name, image_id in ids.items()}
    found = {}
    with pycolmap.Database.open(database) as opened:
        pair_ids, listed = opened.read_two_view_geometries()
        for pair_id, geometry in zip(pair_ids, listed, strict=True):
            one, other = pycolmap.pair_id_to_image_pair(pair_id)
            assert one < other
            matrices = [
                None if m is None else m.tolist() for m in (geometry.E, geometry.F, geometry.H)
            ]
            found[names[one], names[other]] = (
                CONFIGURATION(geometry.config).name, geometry.inlier_matches.tolist(), matrices
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene") / "data"
    return make_scene(folder, 11, images=4, points=120, wrong=0.3, noise=0.1, distortion=0.02)


def line_distances(pose_1, pose_2, points_1, points_2):
    """Slow: distances to the epipolar lines through the projection matrices on the plane z = 1."""
    P1, P2 = pose_1.matrix(), pose_2.matrix()

    def distance(point, line):
        return abs(line @ [*point, 1]) / np.hypot(line[0], line[1])

    def line_of(point, P, Q):
        # Two points of the ray of `point`, seen by Q: the centre and one before the camera.
        center = np.linalg.solve(P[:, :3], -P[:, 3])
        far = np.linalg.solve(P[:, :3], np.array([*point, 1]) - P[:, 3])
        return np.cross(Q @ [*center, 1], Q @ [*far, 1])

    return (
        [distance(p, line_of(q, P2, P1)) for p, q in zip(points_1, points_2, strict=True)],
        [distance(q, line_of(p, P1, P2)) for p, q in zip(points_1, points_2, strict=True)],
    )


def test_epipolar_distances_by_hand():
    # The second camera stands one metre to the right: epipolar lines are rows.
    right = pycolmap.Rigid3d(pycolmap.Rotation3d(), [-1, 0, 0])
    one, other = np.array([[0.1, 0.2], [0, 0]]), np.array([[-0.4, 0.5], [0.3, 0]])
    distances = epipolar_distances(right, one, other)
    np.testing.assert_allclose(distances, [[0.3, 0], [0.3, 0]], atol=1e-15)


def test_epipolar_distances_agree_with_projection_matrices():
    rng = np.random.default_rng(3)
    for _ in range(20):
        poses = [
            pycolmap.Rigid3d(pycolmap.Rotation3d(rng.normal(size=3)), rng.uniform(-9, 9, 3))
            for _ in range(2)
        ]
        sides = rng.uniform(-1, 1, (2, 10, 2))
        found = epipolar_distances(poses[1] * poses[0].inverse(), *sides)
        np.testing.assert_allclose(found, line_distances(*poses, *sides), rtol=1e-6, atol=1e-12)


def test_no_matches_have_no_distances():
    sides = np.zeros((2, 0, 2))
    assert [len(d) for d in epipolar_distances(pycolmap.Rigid3d(), *sides)] == [0, 0]


def test_a_point_in_the_epipole_has_no_line_and_is_no_inlier():
    forward = pycolmap.Rigid3d(pycolmap.Rotation3d(), [0, 0, -1.0])
    errors = epipolar_distances(forward, np.zeros((1, 2)), np.array([[0.2, 0.1]]))
    assert not (errors[1] <= 1e9).any()


@pytest.mark.parametrize("threads", [None, 1])
def test_a_number_of_threads_changes_nothing(scene, tmp_path, threads):
    benchmark = load_benchmark("aachen")
    database = fill_database(scene, benchmark, tmp_path / "all.db")
    verify(scene, benchmark, database, Store(tmp_path / "all"))
    expected = geometries(scene, database)
    # one pair first, and then the others, which go through a database of their own
    some = with_pairs(scene, dict([next(iter(scene.matches.items()))]))
    store = Store(tmp_path / "cache")
    for part, name in ((some, "some.db"), (scene, "whole.db")):
        database = fill_database(part, benchmark, tmp_path / name)
        arguments = (database, part.dataset, part.keypoints, benchmark, MATCHER, store, 0)
        found = verify_pairs(*arguments, threads=threads)
    assert found.restored == 1
    assert geometries(scene, database) == expected


def test_few_pairs_are_verified_in_a_database_of_theirs(scene, tmp_path, monkeypatch):
    """Time would grow with the square of pairs if COLMAP went through all for each few of them."""
    benchmark = load_benchmark("aachen")
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    seen, real = [], pycolmap.geometric_verification

    def spy(path, *arguments, **options):
        with pycolmap.Database.open(path) as part:
            seen.append((part.num_images(), len(part.read_all_matches()[0])))
        return real(path, *arguments, **options)

    monkeypatch.setattr(pycolmap, "geometric_verification", spy)
    monkeypatch.setattr(verification, "CHUNK", 2)
    verify(scene, benchmark, database, Store(tmp_path / "cache"))
    assert [pairs for _, pairs in seen] == [2] * (len(scene.matches) // 2)
    assert {images for images, _ in seen} <= {3, 4}


def test_no_space_for_their_database_is_one_line(scene, tmp_path, monkeypatch):
    benchmark = load_benchmark("aachen")
    database = fill_database(scene, benchmark, tmp_path / "database.db")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(verification, "CHUNK", 2)
    with pytest.raises(D2EvalError, match=r"COLMAP's database needs \d+ MiB \(No space left"):
        verify(scene, benchmark, database, Store(tmp_path / "cache"))


def test_known_poses_keep_what_lies_near_the_lines(tmp_path):
    benchmark = load_benchmark("aachen_hloc")
    scene = make_scene(tmp_path / "data", 7, images=4, wrong=0.4, noise=1.0, shift=0.5)
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    verified = verify(scene, benchmark, database, Store(tmp_path / "cache"))
    found = geometries(scene, database)
    dataset, kept, dropped = scene.dataset, 0, 0
    assert set(found) == {
        (b, a) for a, b in dataset.pairs if a in dataset.poses and b in dataset.poses
    }  # image ids fall by name
    for (a, b), (config, inliers, _) in found.items():
        assert config == "CALIBRATED"
        matches = scene.matches[b, a][:, ::-1]
        plane = [
            dataset.cameras[n].cam_from_img(scene.keypoints[n].keypoints[used].astype(float) + 0.5)
            for n, used in zip((a, b), matches.T, strict=True)
        ]
        errors = line_distances(dataset.poses[a], dataset.poses[b], *plane)
        limits = [4.0 / dataset.cameras[n].focal_length for n in (a, b)]
        near = (np.array(errors[0]) <= limits[0]) & (np.array(errors[1]) <= limits[1])
        assert sorted(inliers) == sorted(matches[near].tolist())
        assert verified.inliers[a, b] == near.sum()
        kept, dropped = kept + near.sum(), dropped + (~near).sum()
    assert kept > 100
    assert dropped > 100


def test_two_view_inliers_are_mostly_the_true_matches(scene, tmp_path):
    benchmark = load_benchmark("aachen")
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    verified = verify(scene, benchmark, database, Store(tmp_path / "cache"))
    found = geometries(scene, database)
    assert len(found) == len(verified.inliers) == len(scene.dataset.pairs)
    for (a, b), (_, inliers, _) in found.items():
        true = {(i, j) for j, i in true_matches(scene.seen[b], scene.seen[a]).tolist()}
        given = {(i, j) for j, i in scene.matches[b, a].tolist()}
        right = sum(tuple(pair) in true for pair in inliers)
        assert right >= 0.95 * len(true & given)
        assert right >= 0.9 * len(inliers)


@pytest.mark.parametrize(("prior", "config"), [(False, "UNCALIBRATED"), (True, "CALIBRATED")])
def test_the_prior_focal_length_decides_the_kind_of_matrix(tmp_path, prior, config):
    benchmark = load_benchmark("aachen")
    scene = make_scene(tmp_path / "data", 1, images=2, wrong=0.1, prior=prior)
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    verify(scene, benchmark, database, Store(tmp_path / "cache"))
    assert {entry[0] for entry in geometries(scene, database).values()} == {config}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kept", [0, 3, None])
def test_a_resumed_run_is_bit_equal(scene, tmp_path, monkeypatch, protocol, kept):
    benchmark = load_benchmark(protocol)
    runs = []
    store = Store(tmp_path / "cache")
    for run in ("whole", "resumed"):
        database = fill_database(scene, benchmark, tmp_path / run / "database.db")
        verified = verify(scene, benchmark, database, store)
        runs.append((verified, geometries(scene, database)))
        if run == "whole":  # and then as if it had been killed before the rest was written
            assert packed(tmp_path / "cache/verified") == len(set(verified.keys))
            if kept is not None:
                store = Store(tmp_path / "killed")
                pairs = {*verification.pairs_to_verify(scene.dataset, benchmark)[:kept]}
                listed = {p: m for p, m in scene.matches.items() if {p, p[::-1]} & pairs}
                some = with_pairs(scene, listed)
                if kept:
                    database = fill_database(some, benchmark, tmp_path / "some.db")
                    verify(some, benchmark, database, store)
            monkeypatch.setattr(verification, "CHUNK", 5)
    (whole, stored), (resumed, stored_again) = runs
    assert whole.restored == 0
    assert resumed.restored == (len(whole.keys) if kept is None else kept)
    assert resumed == replace(whole, restored=resumed.restored)
    assert stored_again == stored


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_order_of_a_pair_in_the_list_changes_nothing(scene, tmp_path, protocol):
    # A matcher that goes the other way round lists the matches in another order, too.
    benchmark = load_benchmark(protocol)
    turned = [
        ((b, a), m[np.argsort(m[:, 1])][:, ::-1]) if k % 2 else ((a, b), m)
        for k, ((a, b), m) in enumerate(scene.matches.items())
    ]
    other = with_pairs(scene, dict(turned))
    runs = []
    for name, some in (("listed", scene), ("turned", other)):
        database = fill_database(some, benchmark, tmp_path / name / "database.db")
        verified = verify(some, benchmark, database, Store(tmp_path / name / "cache"))
        runs.append((verified.inliers, set(verified.keys), geometries(some, database)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_turned_pairs_share_units_and_localize_alike(scene, tmp_path, protocol):
    benchmark = load_benchmark(protocol)
    turned = with_pairs(
        scene, {(b, a): m[np.argsort(m[:, 1])][:, ::-1] for (a, b), m in scene.matches.items()}
    )
    store, poses = Store(tmp_path / "cache"), []
    for name, some in (("listed", scene), ("turned", turned)):
        database = fill_database(some, benchmark, tmp_path / f"{name}.db")
        verified = verify(some, benchmark, database, store)
        model = triangulate(database, some.dataset, benchmark, verified.keys, store, 0)
        found = register(some, benchmark, database, model)
        poses.append({query: result.pose.matrix().tolist() for query, result in found.items()})
    assert verified.restored == len(verified.keys)
    assert poses[0] == poses[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pair_without_matches_is_kept_as_one(scene, tmp_path, protocol):
    benchmark = load_benchmark(protocol)
    pair = ("db/0.png", "db/1.png")
    some = with_pairs(scene, {**scene.matches, pair: np.zeros((0, 2), np.int32)})
    store = Store(tmp_path / "cache")
    for restored in (False, True):
        database = fill_database(some, benchmark, tmp_path / f"{restored}.db")
        verified = verify(some, benchmark, database, store)
        assert verified.restored == restored * len(verified.keys)
        assert pair[::-1] not in verified.inliers
        assert len(verified.keys) == len(verified.inliers) + 1
        assert geometries(some, database).get(pair[::-1], ("", []))[1] == []


@pytest.mark.parametrize(("protocol", "pairs"), [("aachen", 14), ("aachen_hloc", 6)])
def test_nothing_verified_is_an_error_that_counts(scene, tmp_path, protocol, pairs):
    benchmark = load_benchmark(protocol)
    some = with_pairs(scene, {pair: np.zeros((0, 2), np.int32) for pair in scene.matches})
    database = fill_database(some, benchmark, tmp_path / "database.db")
    with pytest.raises(D2EvalError, match=rf"^no pair of {pairs} was verified: "):
        verify(some, benchmark, database, Store(tmp_path / "cache"))


def test_every_option_of_the_protocol_arrives(scene, tmp_path, monkeypatch):
    settings = TwoViewVerification(3.5, 0.97, 31, 4321, 0.26, 16)
    benchmark = replace(load_benchmark("aachen"), verification=settings)
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    seen, real = [], pycolmap.geometric_verification

    def spy(path, verifier, two_view_geometry_options):
        seen.append(two_view_geometry_options)
        return real(path, verifier, two_view_geometry_options=two_view_geometry_options)

    monkeypatch.setattr(pycolmap, "geometric_verification", spy)
    verify(scene, benchmark, database, Store(tmp_path / "cache"), seed=5)
    default = pycolmap.TwoViewGeometryOptions()
    for options in seen:
        ransac = options.ransac
        assert options.min_num_inliers == 16
        assert (ransac.max_error, ransac.confidence, ransac.min_inlier_ratio) == (3.5, 0.97, 0.26)
        assert (ransac.min_num_trials, ransac.max_num_trials, ransac.random_seed) == (31, 4321, 5)
        changed = {"min_num_inliers": default.min_num_inliers, "ransac": default.ransac}
        assert pycolmap.TwoViewGeometryOptions({**options.todict(), **changed}) == default
    assert seen


@pytest.mark.parametrize(
    ("protocol", "changed"),
    [
        ("aachen", {"min_inliers": 10_000}),
        ("aachen", {"max_error_px": 0.05}),
        ("aachen_hloc", {"max_error_px": 1e-9}),
    ],
)
def test_a_stricter_protocol_verifies_less(scene, tmp_path, protocol, changed):
    usual = load_benchmark(protocol)
    counts = []
    for benchmark in (
        usual, replace(usual, verification=replace(usual.verification, **changed))
    ):  # fmt: skip
        database = fill_database(scene, benchmark, tmp_path / "database.db")
        try:  # one cache: units of other settings aren't taken
            verified = verify(scene, benchmark, database, Store(tmp_path / "cache"))
            counts.append(sum(verified.inliers.values()))
        except D2EvalError:
            counts.append(0)
    assert counts[1] < counts[0]


def keys(scene, benchmark, tmp_path, seed=0):
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    return verify(scene, benchmark, database, Store(tmp_path / "cache"), seed).keys


def test_what_decides_a_geometry_is_in_its_key(scene, tmp_path):
    challenge, hloc = (load_benchmark(protocol) for protocol in PROTOCOLS)
    dataset = scene.dataset
    poses = {**dataset.poses, "db/0.png": dataset.poses["db/1.png"]}
    moved = replace(scene, dataset=replace(dataset, poses=poses))
    longer = dataset.cameras["db/0.png"].todict()
    longer["params"] = longer["params"] * [1.01, 1, 1, 1]
    cameras = {**dataset.cameras, "db/0.png": pycolmap.Camera(longer)}
    other_camera = replace(scene, dataset=replace(dataset, cameras=cameras))
    image = replace(scene.keypoints["db/0.png"], key="other")
    other_features = replace(scene, keypoints={**scene.keypoints, "db/0.png": image})
    two_view, known = keys(scene, challenge, tmp_path), keys(scene, hloc, tmp_path)
    assert not set(two_view) & set(known)
    assert keys(scene, challenge, tmp_path) == two_view
    assert not set(keys(scene, challenge, tmp_path, seed=1)) & set(two_view)
    assert keys(scene, hloc, tmp_path, seed=1) == known  # nothing random
    assert keys(moved, challenge, tmp_path) == two_view  # estimated without poses
    for changed, benchmark, usual, of_image in (
        (moved, hloc, known, 3),
        (other_camera, challenge, two_view, 5),
        (other_features, challenge, two_view, 5),
        (other_features, hloc, known, 3),
    ):  # image 0 is in so many pairs
        assert len(set(usual) - set(keys(changed, benchmark, tmp_path))) == of_image
    shifted = replace(challenge, keypoint_origin="corner")
    assert not set(keys(scene, shifted, tmp_path)) & set(two_view)
    corner = {name: replace(image, origin="corner") for name, image in scene.keypoints.items()}
    others = keys(replace(scene, keypoints=corner), challenge, tmp_path)
    assert not set(others) & set(two_view)


def test_wrong_matches_alone_are_rejected(scene, tmp_path):
    hloc = replace(load_benchmark("aachen_hloc"), verification=KnownPoseVerification(0.01))
    pair = ("db/0.png", "db/3.png")
    some = with_pairs(scene, {pair: spoil(scene.matches[pair], 1.0)})
    database = fill_database(some, hloc, tmp_path / "database.db")
    try:
        inliers = verify(some, hloc, database, Store(tmp_path / "cache")).inliers[pair[::-1]]
    except D2EvalError:
        inliers = 0
    assert inliers <= 2


def test_a_damaged_unit_is_made_again(scene, tmp_path, capsys):
    benchmark = load_benchmark("aachen")
    store, runs = Store(tmp_path / "cache"), []
    for name in ("first", "again"):
        database = fill_database(scene, benchmark, tmp_path / f"{name}.db")
        runs.append(SimpleNamespace(verified=verify(scene, benchmark, database, store)))
        runs[-1].stored = geometries(scene, database)
        if name == "first":
            damage_unit(next((tmp_path / "cache/verified").rglob("*.pack")))
            store = Store(store.root)
    assert runs[1].verified.restored == len(runs[0].verified.keys) - 1
    assert runs[1].stored == runs[0].stored
    assert "damaged" in capsys.readouterr().err
