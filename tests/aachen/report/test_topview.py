from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from d2eval.aachen.report.description import AACHEN
from d2eval.aachen.report.queries import Query
from d2eval.aachen.report.topview import Model, TopView, draw, ground_plane, load_model, top_view
from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.colmap_model import read_model_points, read_model_poses
from d2eval.foundation.formats.poses import center, wxyz
from d2eval.localization.runs import load_folder

NIGHT_2019 = ("2019", "night")
# Any rotation and shift: the world's axes mean nothing.
WORLD = pycolmap.Rigid3d(
    pycolmap.Rotation3d(np.array([0.1, -0.5, 0.3, 0.8]) / np.sqrt(0.99)), np.array([7.0, -20, 300])
)


def standing(x: float, y: float, heading: float) -> pycolmap.Rigid3d:
    """A level camera 1.6 m above the point x, y of a map, that looks along ``heading``."""
    forward = np.array([np.cos(heading), np.sin(heading), 0])
    right = np.array([np.sin(heading), -np.cos(heading), 0])
    rotation = np.stack([right, [0, 0, -1], forward])
    on_map = pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ np.array([x, y, 1.6]))
    return on_map * WORLD.inverse()


@pytest.fixture
def cameras() -> dict[str, pycolmap.Rigid3d]:
    """On a map of 12 m (east) by 4 m (north)."""
    places = [(0, 0), (12, 0), (12, 4), (0, 4), (6, 0), (6, 4)]
    return {f"db/{i}.jpg": standing(x, y, i * 1.1) for i, (x, y) in enumerate(places)}


def write_model(folder: Path, poses: dict[str, pycolmap.Rigid3d], points: np.ndarray) -> None:
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(
            camera_id=1, model="SIMPLE_RADIAL", width=80, height=60, params=[70, 40, 30, 0]
        )
    )
    for index, (name, pose) in enumerate(poses.items(), 1):
        image = pycolmap.Image(name=name, image_id=index, camera_id=1, keypoints=np.ones((3, 2)))
        model.add_image_with_trivial_frame(image, pose)
    tracks = [pycolmap.Track() for _ in points]
    tracks[0] = pycolmap.Track([pycolmap.TrackElement(1, 0), pycolmap.TrackElement(2, 1)])
    for point, track in zip(points, tracks, strict=True):
        model.add_point3D(WORLD * point, track)
    folder.mkdir()
    model.write(folder)


def test_the_ground_is_level_and_not_mirrored(cameras) -> None:
    axes = ground_plane(list(cameras.values()))
    assert np.allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    east, _, up = np.asarray(WORLD.rotation.matrix()).T
    assert np.allclose(axes @ up, 0, atol=1e-12)
    assert abs(axes[0] @ east) == pytest.approx(1)
    # seen from above: x to y turns counter-clockwise, as east to north does
    assert np.allclose(np.cross(axes[0], axes[1]), up, atol=1e-12)


def test_cameras_that_do_not_agree_on_up_lie_in_their_plane(cameras) -> None:
    turned = [
        pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([0, 0, np.pi * (i % 2)])), np.zeros(3)) * pose
        for i, pose in enumerate(cameras.values())
    ]
    axes = ground_plane(turned)
    up = np.asarray(WORLD.rotation.matrix())[:, 2]
    assert np.allclose(axes @ up, 0, atol=1e-9)


def test_cameras_at_one_place_have_a_ground_too() -> None:
    axes = ground_plane([standing(1, 2, 0.3), standing(1, 2, 0.9)])
    up = np.asarray(WORLD.rotation.matrix())[:, 2]
    assert np.allclose(axes @ axes.T, np.eye(2), atol=1e-9)
    assert np.allclose(axes @ up, 0, atol=1e-9)


def test_distances_on_the_ground(cameras) -> None:
    truth, found = standing(3, 1, 0.2), standing(6, 5, 0.2)
    queries = [
        Query("query/a.jpg", "night", found, truth, (5.0, 0.0)),
        Query("query/b.jpg", "night", None, standing(4, 1, 0), (np.inf, np.inf)),
        Query("query/c.jpg", "night", standing(4, 2, 0), None, None),
    ]
    points = np.array([WORLD * np.array([3.0, 1, 9]), WORLD * np.array([3.0, 3, 0])])
    model = Model(Path("model"), {**cameras, "query/a.jpg": found}, points)
    view = top_view(model, queries)
    assert [len(view.points), len(view.database), view.queries] == [2, 6, 3]
    assert [len(view.references), len(view.estimates), len(view.errors)] == [2, 2, 1]
    # estimate and reference are 3 m and 4 m apart on the map
    assert np.linalg.norm(view.errors[0, 0] - view.errors[0, 1]) == pytest.approx(5.0)
    assert np.abs(view.errors[0, 0] - view.errors[0, 1]) == pytest.approx([3.0, 4.0])
    # height falls away: the first point is right above the first query's place
    assert view.points[0] == pytest.approx(view.references[0])
    assert np.linalg.norm(view.points[1] - view.points[0]) == pytest.approx(2.0)
    assert view.database.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_limits_leave_out_lost_points_and_estimates_but_no_camera() -> None:
    places = np.array([[-5.0, 0], [5, 0], [0, 2]])
    scattered = np.vstack([np.random.default_rng(0).uniform(-4, 4, (999, 2)), [[5000, 0]]])
    view = TopView(scattered, places, places, np.array([[900.0, 0]]), np.empty((0, 2, 2)), 1)
    low, high = view.limits()
    assert low[0] < -5 and high[0] > 5 and high[1] > 2
    assert (high - low).max() < 15


def test_a_model_reads_as_pycolmap_reads_it(cameras, tmp_path: Path) -> None:
    points = np.random.default_rng(1).uniform(-3, 3, (40, 3))
    write_model(tmp_path / "model", cameras, points)
    expected = pycolmap.Reconstruction(tmp_path / "model")
    poses = read_model_poses(tmp_path / "model")
    assert sorted(poses) == sorted(image.name for image in expected.images.values())
    for image in expected.images.values():
        assert np.allclose(poses[image.name].matrix(), image.cam_from_world().matrix(), atol=1e-12)
    read = read_model_points(tmp_path / "model")
    assert sorted(map(tuple, read)) == sorted(tuple(p.xyz) for p in expected.points3D.values())


@pytest.mark.parametrize("name", ["images.bin", "points3D.bin"])
def test_a_model_that_is_cut_short_is_one_line(cameras, tmp_path: Path, name: str) -> None:
    write_model(tmp_path / "model", cameras, np.zeros((5, 3)))
    path = tmp_path / "model" / name
    whole = path.read_bytes()
    for broken in (*(whole[:size] for size in range(0, len(whole), 7)), whole[:-1], whole + b"\0"):
        path.write_bytes(broken)
        with pytest.raises(D2EvalError, match=f"{name}: (is cut short|has)") as error:
            load_model(tmp_path)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(D2EvalError, match="is missing"):
        load_model(tmp_path)


def test_the_command_draws_the_picture(
    runs: Path, write_aachen_run, cameras, tmp_path: Path, capsys
) -> None:
    truth, found = standing(3, 1, 0.2), standing(3, 2, 0.2)
    names = ("qw", "qx", "qy", "qz", "tx", "ty", "tz")
    row = {"name": "query/a.jpg", "split": "night", "registered": 1}
    row |= {"position_m": 1.0, "rotation_deg": 0.0}
    row |= dict(zip(names, [*wxyz(found), *found.translation], strict=True))
    reference = [*wxyz(truth), *truth.translation]
    row |= dict(zip([f"ref_{name}" for name in names], reference, strict=True))
    folder = write_aachen_run("run", "d2_ss", {NIGHT_2019: [0, 1, 1, 1]}, queries=[row])
    write_model(folder / "model", {**cameras, "query/a.jpg": found}, np.zeros((5, 3)))
    assert np.linalg.norm(center(found) - center(truth)) == pytest.approx(1.0)
    call = ["plot", "aachen", "--runs", str(runs), "--output", str(tmp_path / "plots")]
    assert main(call) == 0
    with Image.open(tmp_path / "plots/aachen/run/topview.png") as image:
        assert min(image.size) > 300
    (folder / "model" / "points3D.bin").write_bytes(b"1234")
    assert main(call) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "points3D.bin: is cut short" in error


def test_the_picture_is_to_scale_and_says_what_lies_outside(
    runs: Path, write_aachen_run, cameras
) -> None:
    folder = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1] * 4})
    (run,) = load_folder(AACHEN, folder).measured
    queries = [Query("query/a.jpg", "night", standing(9000, 0, 0), standing(1, 1, 0), (9e3, 0.0))]
    view = top_view(Model(Path("model"), cameras, np.zeros((0, 3))), queries)
    (axes,) = draw(view, run).axes
    assert axes.get_aspect() == 1.0
    assert "1 of 1 queries registered, 1 estimated outside of this view" in axes.get_title()
    with pytest.raises(D2EvalError, match="no database image has a pose"):
        top_view(Model(Path("model"), {}, np.zeros((0, 3))), queries)
