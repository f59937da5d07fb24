from dataclasses import fields, replace

import numpy as np
import pycolmap
import pytest
from synthetic import fill_database, make_scene, verify, with_pairs

from d2eval.aachen.protocol import Triangulation, load_benchmark
from d2eval.aachen.triangulation import empty_model, pipeline_options, posed_images, triangulate
from d2eval.aachen.workspace import open_database
from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline.store import Store

BENCHMARK = load_benchmark("aachen")
CONFIGURATION = pycolmap.TwoViewGeometryConfiguration
# Where each value of the protocol arrives.
OPTIONS = {
    "min_matches": ("min_num_matches",),
    "create_max_angle_deg": ("triangulation", "create_max_angle_error"),
    "continue_max_angle_deg": ("triangulation", "continue_max_angle_error"),
    "merge_max_error_px": ("triangulation", "merge_max_reproj_error"),
    "complete_max_error_px": ("triangulation", "complete_max_reproj_error"),
    "filter_max_error_px": ("mapper", "filter_max_reproj_error"),
    "min_angle_deg": ("triangulation", "min_angle"),
    "ignore_two_view_tracks": ("triangulation", "ignore_two_view_tracks"),
    "max_refinements": ("ba_global_max_refinements",),
    "max_refinement_change": ("ba_global_max_refinement_change",),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene") / "data"
    return make_scene(folder, 21, images=4, points=120, wrong=0.2, noise=0.1, distortion=0.02)


@pytest.fixture(scope="module")
def filled(scene, tmp_path_factory):
    """The database with verified matches, and the keys of its geometries."""
    folder = tmp_path_factory.mktemp("filled")
    database = fill_database(scene, BENCHMARK, folder / "database.db")
    return database, verify(scene, BENCHMARK, database, Store(folder / "cache")).keys


def points_of(model):
    return {
        tuple(sorted((e.image_id, e.point2D_idx) for e in p.track.elements)): tuple(p.xyz)
        for p in model.points3D.values()
    }


def value_of(options, path):
    for name in path:
        options = getattr(options, name)
    return options


def test_every_field_is_looked_at():
    assert list(OPTIONS) == [field.name for field in fields(Triangulation)]


@pytest.mark.parametrize("name", OPTIONS)
def test_each_value_of_the_protocol_arrives(name):
    usual = BENCHMARK.triangulation
    value = getattr(usual, name)
    assert value_of(pipeline_options(usual, 0), OPTIONS[name]) == value
    other = (not value) if isinstance(value, bool) else value * 2
    changed = pipeline_options(replace(usual, **{name: other}), 0)
    assert value_of(changed, OPTIONS[name]) == other


def test_the_smallest_angle_filters_too():
    settings = replace(BENCHMARK.triangulation, min_angle_deg=3.25)
    assert pipeline_options(settings, 0).mapper.filter_min_tri_angle == 3.25


def test_the_protocol_is_colmap_s_defaults():
    usual = pycolmap.IncrementalPipelineOptions()
    for name, path in OPTIONS.items():
        assert getattr(BENCHMARK.triangulation, name) == value_of(usual, path), name


def test_nothing_refines_intrinsics():
    options = pipeline_options(BENCHMARK.triangulation, 3)
    assert options.random_seed == 3
    assert not options.ba_refine_focal_length
    assert not options.ba_refine_principal_point
    assert not options.ba_refine_extra_params
    mapper = options.get_mapper()
    assert not mapper.abs_pose_refine_focal_length
    assert not mapper.abs_pose_refine_extra_params
    # Canary: what a mapper's own options would do.
    assert pycolmap.IncrementalMapperOptions().abs_pose_refine_focal_length


def test_the_empty_model(scene):
    dataset = replace(
        scene.dataset, poses={n: p for n, p in scene.dataset.poses.items() if n != "db/1.png"}
    )
    assert posed_images(dataset) == ["db/0.png", "db/2.png", "db/3.png"]
    model = empty_model(dataset)
    assert (model.num_images(), model.num_cameras(), model.num_points3D()) == (3, 3, 0)
    for name in posed_images(dataset):
        image = model.images[dataset.image_ids[name]]
        assert (image.name, image.camera_id) == (name, dataset.cameras[name].camera_id)
        np.testing.assert_array_equal(image.cam_from_world().matrix(), dataset.poses[name].matrix())


def test_images_may_share_a_camera(scene):
    cameras = dict.fromkeys(scene.dataset.cameras, scene.dataset.cameras["db/0.png"])
    model = empty_model(replace(scene.dataset, cameras=cameras))
    assert (model.num_images(), model.num_cameras()) == (4, 1)


def test_points_lie_where_they_were(scene, filled, tmp_path):
    database, keys = filled
    model = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    names = {image_id: name for name, image_id in scene.dataset.image_ids.items()}
    errors = []
    for point in model.points3D.values():
        truth = {scene.seen[names[e.image_id]][e.point2D_idx] for e in point.track.elements}
        if len(truth) == 1:  # else wrong matches got in
            errors.append(np.linalg.norm(point.xyz - scene.points[truth.pop()]))
    assert len(errors) > 100
    assert np.median(errors) < 0.003
    assert not any(model.exists_image(scene.dataset.image_ids[q]) for q in scene.dataset.queries)


def test_a_second_run_reads_the_model(scene, filled, tmp_path, monkeypatch):
    database, keys = filled
    first = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    monkeypatch.delattr(pycolmap, "triangulate_points")
    again = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    assert points_of(again) == points_of(first)
    assert list(database.parent.glob(".*")) == []


DAMAGES = {
    "points moved by a metre": lambda data, points: data.replace(
        points,
        points[:16] + np.array([np.frombuffer(points[16:24])[0] + 1.0]).tobytes() + points[24:],
    ),
    "zeros at the end": lambda data, points: data[:-2000] + bytes(2000),
    "cut": lambda data, points: data[: len(data) // 2],
    "one bit": lambda data, points: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:],
    "empty": lambda data, points: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_triangulated_again(scene, filled, tmp_path, capsys, damage):
    database, keys = filled
    first = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    (unit,) = (tmp_path / "models").glob("*/*.h5")
    whole = unit.read_bytes()
    first.write(tmp_path)
    points = (tmp_path / "points3D.bin").read_bytes()  # a count, then id, x, y, z of the first
    harmed = DAMAGES[damage](whole, points[:32])
    assert harmed != whole
    unit.write_bytes(harmed)
    again = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    assert points_of(again) == points_of(first)
    assert capsys.readouterr().err.startswith(f"note: {unit}: damaged (")
    Store(tmp_path).read_arrays(unit)
    assert capsys.readouterr().err == ""  # mended


def test_a_model_of_an_older_version_is_none(scene, filled, tmp_path, capsys):
    database, keys = filled
    model = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    (unit,) = (tmp_path / "models").glob("*/*.h5")
    folder = unit.with_suffix("")  # where it lay as a folder, without any checksum
    unit.unlink()
    folder.mkdir()
    (folder / "points3D.bin").write_bytes(b"cut")
    again = triangulate(database, scene.dataset, BENCHMARK, keys, Store(tmp_path), 0)
    assert points_of(again) == points_of(model)
    assert capsys.readouterr().err == ""


def test_what_decides_the_points_is_in_the_key(scene, filled, tmp_path):
    database, keys = filled
    dataset = scene.dataset

    def models(dataset=dataset, benchmark=BENCHMARK, keys=keys, seed=0):
        triangulate(database, dataset, benchmark, keys, Store(tmp_path), seed)
        return len(list((tmp_path / "models").glob("*/*")))

    moved = pycolmap.Rigid3d(pycolmap.Rotation3d(), [1e-6, 0, 0])
    poses = {**dataset.poses, "db/2.png": moved * dataset.poses["db/2.png"]}
    longer = pycolmap.Camera(dataset.cameras["db/2.png"].todict())
    longer.params = longer.params * [1 + 1e-9, 1, 1, 1]
    settings = replace(BENCHMARK.triangulation, filter_max_error_px=3.5)
    assert models() == 1
    assert models() == 1
    assert models(seed=1) == 2
    assert models(replace(dataset, poses=poses)) == 3
    assert models(replace(dataset, cameras={**dataset.cameras, "db/2.png": longer})) == 4
    assert models(benchmark=replace(BENCHMARK, triangulation=settings)) == 5
    assert models(keys=keys[:-1]) == 6


def test_other_ids_are_other_work(scene, tmp_path):
    # Two images change ids, and no pair tells: the model of before would have them mixed up.
    matches = {p: m for p, m in scene.matches.items() if p != ("db/0.png", "db/1.png")}
    before = with_pairs(scene, matches)
    names = list(before.dataset.image_ids)
    names[:2] = names[1], names[0]
    ids = {name: len(names) - names.index(name) for name in before.dataset.image_ids}
    after = replace(before, dataset=replace(before.dataset, image_ids=ids))
    store = Store(tmp_path / "cache")
    for some in (before, after):
        path = fill_database(some, BENCHMARK, tmp_path / "database.db")
        keys = verify(some, BENCHMARK, path, store).keys
        model = triangulate(path, some.dataset, BENCHMARK, keys, store, 0)
        for name in posed_images(some.dataset):
            assert model.images[some.dataset.image_ids[name]].name == name


@pytest.mark.parametrize(("config", "some"), [(None, False), (CONFIGURATION.CALIBRATED, True)])
def test_a_geometry_needs_a_configuration(scene, tmp_path, config, some):
    # Canary: COLMAP passes over geometries without one, and says nothing.
    database = fill_database(scene, BENCHMARK, tmp_path / "database.db")
    ids = scene.dataset.image_ids
    with open_database(database) as opened:
        for a, b in scene.matches:
            inliers = opened.read_matches(ids[a], ids[b])
            options = {} if config is None else {"config": config}
            opened.write_two_view_geometry(
                ids[a], ids[b], pycolmap.TwoViewGeometry(inlier_matches=inliers, **options)
            )
    if some:
        model = triangulate(database, scene.dataset, BENCHMARK, ["by hand"], Store(tmp_path), 0)
        assert model.num_points3D() > 50
    else:
        with pytest.raises(D2EvalError, match=r"^no point was triangulated from 1 pairs"):
            triangulate(database, scene.dataset, BENCHMARK, ["by hand"], Store(tmp_path), 0)
        assert list((tmp_path / "models").glob("*/*")) == []


def test_poses_that_don_t_fit_triangulate_nothing(scene, filled, tmp_path):
    database, keys = filled
    names = list(scene.dataset.poses)
    away = pycolmap.Rotation3d(np.array([0.0, np.pi, 0.0]))
    poses = {
        name: pycolmap.Rigid3d(away, [0, 0, 0]) * scene.dataset.poses[name] if k % 2
        else scene.dataset.poses[name]
        for k, name in enumerate(names)
    }  # fmt: skip
    strict = replace(BENCHMARK.triangulation, min_angle_deg=89.0)
    with pytest.raises(D2EvalError, match=rf"^no point was triangulated from {len(keys)} pairs"):
        triangulate(
            database, replace(scene.dataset, poses=poses),
            replace(BENCHMARK, triangulation=strict), keys, Store(tmp_path), 0,
        )  # fmt: skip
