"""MegaDepth: scenes prepared as counted by loops, the pairs drawn from them, and wrong data."""

import io
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pycolmap
import pytest
from megadepth_scene import write_megadepth_scene

from d2eval.foundation.errors import D2EvalError
from d2eval.sample.training import CAMERA
from methods.d2net.training.data.batches import Draws
from methods.d2net.training.data.depth_files import read_depth
from methods.d2net.training.data.megadepth import (
    MegaDepthPairs,
    Observations,
    draw_shared_point,
    load_pair_protocol,
    load_recipe,
    photo_of_each_scene,
)
from methods.d2net.training.data.prepare import MegaDepthPreparer
from methods.d2net.training.data.scene_file import FIELDS, FORMAT, read_scene_file

UNDISTORTED, DEPTH = "Undistorted_SfM", "MegaDepth_v1"
FEWEST_BYTES = 102_400  # 100 KiB


@pytest.fixture(scope="module")
def root(taken, taken_for_validation, tmp_path_factory):
    """Two scenes for training, one for validation and one in no list; copy it to change it."""
    folder = tmp_path_factory.mktemp("megadepth")
    write_megadepth_scene(folder, "0000", taken)
    for name in ("0001", "0016", "9999"):
        write_megadepth_scene(folder, name, taken_for_validation)
    return folder


@pytest.fixture(scope="module")
def scenes(root, tmp_path_factory):
    """What `prepare` writes of them; copy it to change it."""
    output = tmp_path_factory.mktemp("scenes")
    prepare(root, output)
    return output


@pytest.fixture
def protocol():
    return load_pair_protocol(held_out=False)


def prepare(data, output, *names):
    return MegaDepthPreparer().prepare(data, output, names)


def load(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def refused(call, *arguments):
    """The message of an error, a single line."""
    with pytest.raises(D2EvalError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_model(folder):
    """From COLMAP's text: the cameras' numbers, and (pose, camera, {point: (x, y)}) by image."""
    cameras = {}
    for line in (folder / "cameras.txt").read_text().splitlines():
        number, _, _, _, *parameters = line.split()
        cameras[number] = [float(word) for word in parameters]
    images = {}
    lines = (folder / "images.txt").read_text().splitlines()
    for line, listed in zip(lines[::2], lines[1::2], strict=True):
        _, w, x, y, z, *t, camera, name = line.split()
        pose = np.eye(4)
        pose[:3, :3] = pycolmap.Rotation3d([float(v) for v in (x, y, z, w)]).matrix()
        pose[:3, 3] = [float(v) for v in t]
        words = listed.split()
        shown = {}
        for k in range(0, len(words), 3):
            if words[k + 2] != "-1":
                shown[int(words[k + 2])] = (float(words[k]), float(words[k + 1]))
        images[name] = (pose, camera, shown)
    return cameras, images


def slow_pairs(folder):
    """{(image, image): (overlap, scale ratio)} of a model in text, counted by loops."""
    cameras, images = read_model(folder)
    places = {}
    for line in (folder / "points3D.txt").read_text().splitlines():
        number, *xyz = line.split()[:4]
        places[int(number)] = [float(word) for word in xyz]
    depths = {}
    for name, (pose, camera, shown) in images.items():
        parameters = cameras[camera]
        focal = parameters[0] if len(parameters) == 3 else (parameters[0] + parameters[1]) / 2
        depths[name] = {}
        for number in shown:
            z = sum(pose[2, k] * places[number][k] for k in range(3)) + pose[2, 3]
            depths[name][number] = z / focal
    pairs = {}
    for one, first in depths.items():
        for other, second in depths.items():
            shared = [number for number in first if number in second]
            if one != other and shared:
                ratios = [max(first[n] / second[n], second[n] / first[n]) for n in shared]
                pairs[one, other] = (len(shared) / len(first), min(ratios))
    return pairs


def names_in(scene):
    return [path.rpartition("/")[2] for path in scene["image_paths"]]


def assert_pairs_are(scene, expected):
    names = names_in(scene)
    found = {
        (names[i], names[j]): (overlap, ratio)
        for (i, j), overlap, ratio in zip(
            scene["pairs"], scene["overlaps"], scene["scale_ratios"], strict=True
        )
    }
    assert len(found) == len(scene["pairs"])
    assert found.keys() == expected.keys()
    for pair, values in expected.items():
        assert found[pair] == pytest.approx(values, rel=2e-6)


def depth_of(width, height):
    """A depth map's file, in which nothing is known."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("depth", (height, width), np.float32, chunks=True)
    return buffer.getvalue()


def write_model(root, name, seed, cameras=None):
    """A scene of six images whose cameras differ, of random points; its images are no images.

    "e.jpg" has a mask instead of depth, "f.jpg" no depth map.
    """
    rng = np.random.default_rng(seed)
    folder = root / UNDISTORTED / name
    depth = root / DEPTH / name / "dense0/depths"
    for path in (folder / "images", folder / "sparse-txt", depth):
        path.mkdir(parents=True)
    cameras = cameras or [
        "7 PINHOLE 640 480 500 520 320 240",
        "3 SIMPLE_PINHOLE 600 400 450 300.5 200.25",
        "5 PINHOLE 800 600 900 300 410 290",
    ]
    (folder / "sparse-txt/cameras.txt").write_text("\n".join(cameras) + "\n")
    numbers = rng.choice(500, 40, replace=False) + 1
    places = rng.uniform((-1, -1, 4), (1, 1, 8), (40, 3))
    tracks = {number: [] for number in numbers}
    lines = []
    # Neither ids nor the order of lines follow names.
    names = {14: "d.jpg", 2: "a.jpg", 9: "sub/c.jpg", 11: "b.jpg", 4: "e.jpg", 6: "f.jpg"}
    for count, (image, image_name) in enumerate(names.items()):
        quaternion = np.array([1, *rng.normal(0, 0.1, 3)])
        quaternion /= np.linalg.norm(quaternion)
        camera = cameras[count % len(cameras)].split()[0]
        pose = [*quaternion, *rng.normal(0, 0.3, 3)]
        words = [image, *(f"{value:.17g}" for value in pose), camera, image_name]
        lines.append(" ".join(str(word) for word in words))
        shown = [*rng.permutation(numbers)[: rng.integers(3, 40)]]
        shown[1:1] = [-1, -1]  # keypoints that became no point
        if image_name == "a.jpg":
            shown.append(shown[0])  # seen twice
        pixels = rng.uniform(0, 400, (len(shown), 2))
        lines.append(
            " ".join(f"{x:.4f} {y:.4f} {n}" for (x, y), n in zip(pixels, shown, strict=True))
        )
        for index, number in enumerate(shown):
            if number != -1:
                tracks[number].append(f"{image} {index}")
        for path in (folder / "images" / image_name, depth / image_name):
            path.parent.mkdir(exist_ok=True)
        (folder / "images" / image_name).write_bytes(b"not looked at")
        if image_name != "f.jpg":
            width, height = cameras[count % len(cameras)].split()[2:4]
            size = FEWEST_BYTES - (image_name == "e.jpg")
            content = depth_of(int(width), int(height)).ljust(size, b"\0")
            (depth / image_name).with_suffix(".h5").write_bytes(content)
    (folder / "sparse-txt/images.txt").write_text("\n".join(lines) + "\n")
    points = [
        f"{number} {x:.17g} {y:.17g} {z:.17g} 1 2 3 0.5 {' '.join(tracks[number])}".strip()
        for number, (x, y, z) in zip(numbers, places, strict=True)
    ]
    (folder / "sparse-txt/points3D.txt").write_text("\n".join(points) + "\n")
    return folder


@pytest.mark.parametrize("name", ["0000", "0001"])
def test_pairs_of_a_rendered_scene_are_those_counted_by_loops(root, scenes, name):
    expected = slow_pairs(root / UNDISTORTED / name / "sparse-txt")
    assert_pairs_are(load(scenes / f"{name}.npz"), expected)
    if name == "0000":  # the scene tells the two directions apart, and ratios
        assert expected["c0.jpg", "a0.jpg"][0] > 1.5 * expected["a0.jpg", "c0.jpg"][0]
        assert expected["c0.jpg", "a0.jpg"][1] > 1.3


@pytest.mark.parametrize("seed", range(4))
def test_pairs_of_random_models_are_those_counted_by_loops(tmp_path, seed):
    folder = write_model(tmp_path, "0000", seed)
    assert prepare(tmp_path, tmp_path / "out") == [
        f"{tmp_path}/out: 1 scenes prepared, 0 were there"
    ]
    scene = load(tmp_path / "out/0000.npz")
    assert names_in(scene) == ["a.jpg", "b.jpg", "d.jpg", "c.jpg"]  # by path
    expected = {
        tuple(name.rpartition("/")[2] for name in pair): values
        for pair, values in slow_pairs(folder / "sparse-txt").items()
        if not {"e.jpg", "f.jpg"} & set(pair)
    }
    assert_pairs_are(scene, expected)
    ratios = [ratio for _, ratio in expected.values()]
    assert max(ratios) > 1.1  # cameras differ


def test_what_a_scene_file_holds(tmp_path):
    folder = write_model(tmp_path, "0000", 1)
    prepare(tmp_path, tmp_path / "out")
    scene = load(tmp_path / "out/0000.npz")  # without pickles
    assert set(scene) == {"format", *FIELDS}
    assert scene["format"] == FORMAT
    assert str(scene["root"]) == str(tmp_path)
    _, images = read_model(folder / "sparse-txt")
    names = ["a.jpg", "b.jpg", "d.jpg", "sub/c.jpg"]
    assert scene["image_paths"].tolist() == [f"{UNDISTORTED}/0000/images/{n}" for n in names]
    assert scene["depth_paths"].tolist() == [
        f"{DEPTH}/0000/dense0/depths/{n.replace('.jpg', '.h5')}" for n in names
    ]
    calibrations = {
        "7": [[500, 0, 320], [0, 520, 240], [0, 0, 1]],
        "3": [[450, 0, 300.5], [0, 450, 200.25], [0, 0, 1]],
        "5": [[900, 0, 410], [0, 300, 290], [0, 0, 1]],
    }
    assert {images[name][1] for name in names} == set(calibrations)
    for index, name in enumerate(names):
        pose, camera, shown = images[name]
        np.testing.assert_allclose(scene["poses"][index], pose, atol=1e-12)
        np.testing.assert_array_equal(scene["intrinsics"][index], calibrations[camera])
        part = slice(scene["offsets"][index], scene["offsets"][index + 1])
        ids = scene["point_ids"][part]
        assert ids.tolist() == sorted(shown)
        np.testing.assert_allclose(scene["points"][part], [shown[n] for n in ids], rtol=1e-6)


def test_cameras_and_depths_of_a_rendered_scene_are_the_renderings(scenes, taken):
    scene = load(scenes / "0000.npz")
    for index, name in enumerate(names_in(scene)):
        pose = taken[name].cam_from_world
        np.testing.assert_allclose(scene["poses"][index], pose, atol=1e-12)
        k = [[CAMERA.focal, 0, CAMERA.cx], [0, CAMERA.focal, CAMERA.cy], [0, 0, 1]]
        np.testing.assert_array_equal(scene["intrinsics"][index], k)
        part = slice(scene["offsets"][index], scene["offsets"][index + 1])
        x, y = np.floor(scene["points"][part]).astype(int).T
        depth = taken[name].depth[y, x] / CAMERA.focal
        np.testing.assert_allclose(scene["normalized_depths"][part], depth, atol=0.021 / 330)


def test_a_binary_model_and_the_other_place_of_depth_give_the_same(tmp_path):
    folder = write_model(tmp_path, "0000", 2)
    prepare(tmp_path, tmp_path / "text")
    (folder / "sparse").mkdir()
    pycolmap.Reconstruction(folder / "sparse-txt").write_binary(folder / "sparse")
    shutil.rmtree(folder / "sparse-txt")
    (tmp_path / "phoenix/S6/zl548").mkdir(parents=True)
    (tmp_path / DEPTH).rename(tmp_path / "phoenix/S6/zl548/MegaDepth_v1")
    prepare(tmp_path, tmp_path / "binary")
    text, binary = load(tmp_path / "text/0000.npz"), load(tmp_path / "binary/0000.npz")
    moved = [f"phoenix/S6/zl548/{path}" for path in text.pop("depth_paths")]
    assert binary.pop("depth_paths").tolist() == moved
    for name, array in text.items():
        np.testing.assert_array_equal(binary[name], array)


def test_a_second_run_does_nothing(tmp_path, scenes, root):
    output = shutil.copytree(scenes, tmp_path / "scenes")
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.npz")}
    assert sorted(before) == ["0000.npz", "0001.npz", "0016.npz", "9999.npz"]
    assert prepare(root, output) == [f"{output}: 0 scenes prepared, 4 were there"]
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("*.npz")} == before


def test_only_the_scenes_that_are_named_are_prepared(tmp_path, root):
    text = "\n".join(prepare(root, tmp_path / "out", "0016", "0001"))
    assert text == f"{tmp_path}/out: 2 scenes prepared, 0 were there"
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npz")) == ["0001.npz", "0016.npz"]


@pytest.mark.parametrize("fault", ["cut", "empty", "version", "root", "pickle"])
def test_a_file_that_is_of_no_use_is_written_anew(tmp_path, fault):
    write_model(tmp_path, "0000", 3)
    write_model(tmp_path, "0001", 4)
    output = tmp_path / "out"
    prepare(tmp_path, output)
    path = output / "0000.npz"
    whole, other = path.read_bytes(), (output / "0001.npz").stat().st_mtime_ns
    scene = load(path)
    if fault == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "version":
        np.savez(path, **{**scene, "format": np.array(FORMAT - 1)})
    elif fault == "root":
        np.savez(path, **{**scene, "root": np.array("/elsewhere")})
    else:
        np.savez(path, **{**scene, "root": np.array([{}])})
    assert prepare(tmp_path, output) == [f"{output}: 1 scenes prepared, 1 were there"]
    assert load(path).keys() == scene.keys()
    for name, array in load(path).items():
        np.testing.assert_array_equal(array, scene[name])
    assert (output / "0001.npz").stat().st_mtime_ns == other


@pytest.mark.parametrize("fault", ["flipped byte", "lacking array"])
def test_a_file_that_training_refuses_is_written_anew_as_it_says(
    tmp_path, scenes, root, protocol, fault
):
    output = shutil.copytree(scenes, tmp_path / "scenes")
    path = output / "0000.npz"
    scene = load(path)
    if fault == "lacking array":
        del scene["points"]
        np.savez(path, **scene)
    else:
        content = bytearray(path.read_bytes())
        content[content.index(scene["points"].tobytes()) + 100] ^= 1
        path.write_bytes(content)
    message = refused(MegaDepthPairs(output, protocol).draw, 0, np.random.default_rng(0))
    assert message.startswith(f"{path}: broken scene file")
    assert message.endswith("run 'd2eval prepare megadepth' again")
    assert prepare(root, output) == [f"{output}: 1 scenes prepared, 3 were there"]


def test_depth_of_another_size_is_refused_before_training(tmp_path):
    folder = write_model(tmp_path, "0000", 0, cameras=["7 PINHOLE 640 480 500 520 320 240"])
    depth = tmp_path / DEPTH / "0000/dense0/depths/b.h5"
    depth.write_bytes(depth_of(320, 240).ljust(FEWEST_BYTES, b"\0"))
    assert refused(prepare, tmp_path, tmp_path / "out") == (
        f"{depth}: is 320x240, but {folder}/sparse-txt says 640x480; undistort with "
        "--max_image_size 320"
    )


@pytest.mark.parametrize(
    "camera",
    [
        "7 SIMPLE_RADIAL 640 480 500 320 240 0.01",
        "7 OPENCV 640 480 500 500 320 240 0.01 0 0 0",
        "7 SIMPLE_RADIAL 640 480 500 320 240 0",
    ],
)
def test_cameras_with_distortion_are_refused(tmp_path, camera):
    folder = write_model(tmp_path, "0000", 0, [camera])
    model = camera.split()[1]
    assert refused(prepare, tmp_path, tmp_path / "out") == (
        f"{folder}/sparse-txt: has a {model} camera; undistort the model with COLMAP's "
        "image_undistorter"
    )
    assert not list((tmp_path / "out").glob("*.npz"))


def test_missing_folders_are_named(tmp_path):
    assert refused(prepare, tmp_path / "none", tmp_path / "out").startswith(
        f"{tmp_path}/none/{UNDISTORTED}: no such folder"
    )
    (tmp_path / UNDISTORTED).mkdir()
    message = f"{tmp_path}: holds no scene with model, images and depth maps"
    assert refused(prepare, tmp_path, tmp_path / "out") == message
    (tmp_path / UNDISTORTED / "0000").mkdir()
    assert refused(prepare, tmp_path, tmp_path / "out") == message


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ("images", f"{UNDISTORTED}/0000/images"),
        ("model", f"{UNDISTORTED}/0000/sparse-txt"),
        ("depth", f"{DEPTH}/0000/dense0/depths"),
    ],
)
def test_a_named_scene_must_be_whole(tmp_path, part, where):
    write_model(tmp_path, "0000", 0)
    write_model(tmp_path, "0001", 0)
    shutil.rmtree(tmp_path / where)
    message = refused(prepare, tmp_path, tmp_path / "out", "0001", "0000")
    assert message == f"{tmp_path}/{where}: no such folder; scene 0000 has no {part}"
    message = refused(prepare, tmp_path, tmp_path / "out", "0001", "0007")
    assert message.startswith(f"{tmp_path}/{UNDISTORTED}/0007/images: no such folder; scene 0007")
    lines = prepare(tmp_path, tmp_path / "out")
    assert lines == [
        f"{tmp_path}/out: 1 scenes prepared, 0 were there",
        "left out, no model, images or depth: 1 scenes (0000)",
    ]


def test_scenes_that_lack_parts_are_named(tmp_path):
    for name in ("0000", "0001", "0002"):
        write_model(tmp_path, name, 0)
    shutil.rmtree(tmp_path / UNDISTORTED / "0001/images")
    for path in (tmp_path / DEPTH / "0002/dense0/depths").rglob("*.h5"):  # masks only
        path.write_bytes(bytes(FEWEST_BYTES - 1))
    lines = prepare(tmp_path, tmp_path / "out")
    assert lines == [
        f"{tmp_path}/out: 1 scenes prepared, 0 were there",
        "left out, no model, images or depth: 2 scenes (0001, 0002)",
    ]
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["0000.npz"]
    for number in range(20):
        (tmp_path / UNDISTORTED / f"1{number:03}").mkdir()
    last = prepare(tmp_path, tmp_path / "out")[-1]
    shown = ", ".join(["0001", *(f"1{number:03}" for number in range(9))])
    assert last == f"left out, no model, images or depth: 22 scenes ({shown}, ...)"


def test_an_image_that_the_model_has_must_be_there(tmp_path):
    folder = write_model(tmp_path, "0000", 0)
    (folder / "images/f.jpg").unlink()  # has no depth
    prepare(tmp_path, tmp_path / "out")
    (folder / "images/b.jpg").unlink()
    message = refused(prepare, tmp_path, tmp_path / "other")
    assert message == f"{folder}/images/b.jpg: no such image, but its model has it"


@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
def test_a_model_that_is_no_model_is_named(tmp_path, part):
    folder = write_model(tmp_path, "0000", 0) / "sparse-txt"
    (folder / f"{part}.txt").write_text("one two three\nfour\n")
    message = refused(prepare, tmp_path, tmp_path / "out")
    assert message.startswith(f"{folder}/{part}.txt: ")


def test_a_model_without_its_points_is_named(tmp_path):
    folder = write_model(tmp_path, "0000", 0) / "sparse-txt"
    (folder / "points3D.txt").write_text("")
    message = refused(prepare, tmp_path, tmp_path / "out")
    assert message.startswith(f"{folder}: ")
    assert message.endswith(".jpg shows a 3D point that points3D lacks; replace the model")


@pytest.mark.parametrize("part", ["cameras", "images"])
def test_a_model_whose_parts_disagree_is_named(tmp_path, part):
    folder = write_model(tmp_path, "0000", 0) / "sparse-txt"
    lines = (folder / f"{part}.txt").read_text().splitlines()
    (folder / f"{part}.txt").write_text("\n".join(lines[2:]) + "\n")
    assert refused(prepare, tmp_path, tmp_path / "out").startswith(str(folder))


def test_scene_lists(protocol):
    held_out = load_pair_protocol(held_out=True)
    assert len(protocol.scenes) == 117  # as the authors' train_scenes.txt since January 2021
    assert len(held_out.scenes) == 77
    assert not set(protocol.scenes) & set(held_out.scenes)
    for scenes in (protocol.scenes, held_out.scenes):
        assert list(scenes) == sorted(set(scenes))
        assert all(len(name) == 4 and name.isdigit() for name in scenes)
        assert "0092" not in scenes
    assert "0000" in protocol.scenes
    assert {"0016", "0306"} <= set(held_out.scenes)


def test_the_pairs_that_the_protocol_wants(protocol):
    held_out = load_pair_protocol(held_out=True)
    assert (protocol.pairs, held_out.pairs) == (100, 25)
    for found in (protocol, held_out):
        assert found.overlap == (0.5, 1.0)
        assert found.max_scale_ratio == float("inf")
    usable = load_recipe()["usable"]
    assert usable == {"least_depth_bytes": FEWEST_BYTES}


def test_an_epoch_has_so_many_pairs_of_each_scene(scenes, protocol):
    training = MegaDepthPairs(scenes, protocol)
    assert len(training) == 200
    assert len(MegaDepthPairs(scenes, load_pair_protocol(held_out=True))) == 25
    found = {
        index: training.draw(index, np.random.default_rng(index)) for index in (0, 99, 100, 199)
    }
    origins = {index: pair.name.partition("/")[0] for index, pair in found.items()}
    assert origins == {0: "0000", 99: "0000", 100: "0001", 199: "0001"}


def draw_names(source, count):
    """The pairs of images that so many draws of the first scene show."""
    names = [source.draw(0, np.random.default_rng(k)).name for k in range(count)]
    return {tuple(name.removeprefix("0000/").split()) for name in names}


@pytest.mark.usefixtures("read_once")
def test_pairs_with_enough_overlap_are_drawn_in_both_orders(root, scenes, protocol):
    source = MegaDepthPairs(scenes, protocol)
    overlaps = slow_pairs(root / UNDISTORTED / "0000/sparse-txt")
    suitable = {pair for pair, (overlap, _) in overlaps.items() if 0.5 <= overlap <= 1}
    assert len(suitable) < len(overlaps)
    assert draw_names(source, 120) == suitable
    assert ("c0.jpg", "a0.jpg") in suitable  # all of c0 is in a0, little of a0 in c0
    assert ("a0.jpg", "c0.jpg") not in suitable


@pytest.mark.usefixtures("read_once")
def test_bounds_of_overlap_are_inclusive(scenes, protocol):
    scene = load(scenes / "0000.npz")
    names, overlaps = names_in(scene), scene["overlaps"]
    three = np.argsort(overlaps)[[-5, -4, -3]]
    bounds = (float(overlaps[three[0]]), float(overlaps[three[2]]))
    assert 0.5 < bounds[0] < bounds[1] < 1
    source = MegaDepthPairs(scenes, replace(protocol, overlap=bounds, scenes=("0000",)))
    expected = {tuple(names[image] for image in scene["pairs"][index]) for index in three}
    assert draw_names(source, 20) == expected
    assert len(expected) == 3


def around(point):
    """(left, top) of a crop around a point, counted from the image's corner."""
    left, top = int(point[0]) - 128, int(point[1]) - 128
    return min(max(left, 0), CAMERA.width - 256), min(max(top, 0), CAMERA.height - 256)


@pytest.mark.usefixtures("read_once")
def test_draws_show_the_same_places_around_a_shared_point(root, scenes, protocol, taken, judge):
    source = MegaDepthPairs(scenes, protocol)
    _, images = read_model(root / UNDISTORTED / "0000/sparse-txt")
    judged, origins = [], set()
    for seed in range(30):
        pair = source.draw(0, np.random.default_rng([7, seed]))
        found = judge(pair, root / UNDISTORTED / "0000/images", taken)
        first, second = (images[name][2] for name in pair.name.removeprefix("0000/").split())
        centers = {(around(first[n]), around(second[n])) for n in first.keys() & second.keys()}
        assert found.origins in centers
        origins.add((pair.name, found.origins))
        judged.append(found)
    assert len(origins) > 20  # the point is drawn, too
    assert max(found.off for found in judged) < 4.05  # half a cell
    count = sum(found.count for found in judged)
    assert count > 30 * 400
    assert sum(found.wrong for found in judged) <= count / 1000
    assert sum(found.missing for found in judged) <= count / 1000


@pytest.mark.parametrize("bounded", [False, True])
def test_any_shared_point_within_the_ratio_may_be_drawn(tmp_path, bounded):
    _, images = read_model(write_model(tmp_path, "0000", 2) / "sparse-txt")
    prepare(tmp_path, tmp_path / "out")
    scene = load(tmp_path / "out/0000.npz")
    listed = [images[name][2] for name in ("b.jpg", "sub/c.jpg")]
    seen = [Observations.of(scene, index) for index in (1, 3)]  # of b.jpg and sub/c.jpg
    depths = [dict(zip(one.ids.tolist(), one.normalized_depths, strict=True)) for one in seen]
    assert [depth.keys() for depth in depths] == [shown.keys() for shown in listed]
    shared = listed[0].keys() & listed[1].keys()
    ratios = {n: max(depths[0][n] / depths[1][n], depths[1][n] / depths[0][n]) for n in shared}
    limit = float(np.mean(sorted(ratios.values())[2:4])) if bounded else float("inf")
    suitable = [number for number in shared if ratios[number] < limit]
    assert len(shared) > 4
    assert len(suitable) == (3 if bounded else len(shared))
    rng = np.random.default_rng(0)
    drawn = [draw_shared_point(*seen, limit, rng) for _ in range(40 * len(suitable))]
    # COLMAP counts from the first pixel's corner, training from its centre.
    assert {(*(one + 0.5), *(other + 0.5)) for one, other in drawn} == {
        tuple(np.float32([*listed[0][n], *listed[1][n]]).tolist()) for n in suitable
    }


@pytest.mark.slow
def test_a_greatest_scale_ratio_holds_for_pairs_and_points(root, scenes, protocol, taken, judge):
    limit = 1.02
    source = MegaDepthPairs(scenes, replace(protocol, max_scale_ratio=limit, scenes=("0000",)))
    pairs = slow_pairs(root / UNDISTORTED / "0000/sparse-txt")
    suitable = {
        pair for pair, (overlap, ratio) in pairs.items() if overlap >= 0.5 and ratio < limit
    }
    assert not {pair for pair in suitable if "c0.jpg" in pair}
    assert draw_names(source, 60) == suitable
    scene = load(scenes / "0000.npz")
    names = names_in(scene)
    for seed in range(10):
        pair = source.draw(0, np.random.default_rng(seed))
        shown = []
        for name in pair.name.removeprefix("0000/").split():
            part = slice(*scene["offsets"][names.index(name) :][:2])
            rows = zip(scene["points"][part], scene["normalized_depths"][part], strict=True)
            shown.append(dict(zip(scene["point_ids"][part], rows, strict=True)))
        centers = set()
        for number in shown[0].keys() & shown[1].keys():
            (first, depth), (second, other) = shown[0][number], shown[1][number]
            if max(depth / other, other / depth) < limit:
                centers.add((around(first), around(second)))
        assert judge(pair, root / UNDISTORTED / "0000/images", taken).origins in centers


def same(one, other):
    arrays = ("image_1", "image_2", "cells_1", "cells_2")
    return one.name == other.name and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.mark.usefixtures("read_once")
def test_draws_repeat_and_epochs_differ(scenes, protocol):
    source, again = MegaDepthPairs(scenes, protocol), MegaDepthPairs(scenes, protocol)
    ours, theirs = (Draws(opened, 5, 1, range(200)) for opened in (source, again))
    assert same(ours[150], theirs[150])
    assert same(ours[3], theirs[3])  # whatever was drawn before
    following, seeded = Draws(source, 5, 2, range(200)), Draws(source, 6, 1, range(200))
    for others in (following, seeded, Draws(source, 5, 1, range(4, 200))):
        assert sum(same(ours[k], others[k]) for k in range(6)) <= 1


@pytest.mark.usefixtures("read_once")
def test_validation_is_always_the_same(scenes, tmp_path, taken_for_validation):
    held_out = load_pair_protocol(held_out=True)
    ours = Draws(MegaDepthPairs(scenes, held_out), 42, 0, range(25))
    root = tmp_path / "again"
    write_megadepth_scene(root, "0016", taken_for_validation)
    prepare(root, tmp_path / "out")
    theirs = Draws(MegaDepthPairs(tmp_path / "out", held_out), 42, 0, range(25))
    assert len(ours) == len(theirs) == 25
    drawn = [(ours[k], theirs[k]) for k in range(25)]
    assert all(same(*pair) for pair in drawn)
    assert len({one.name for one, _ in drawn}) > 3
    assert {one.name.partition("/")[0] for one, _ in drawn} == {"0016"}


def test_a_photo_of_each_scene(root, scenes, protocol):
    images = root / UNDISTORTED
    assert photo_of_each_scene(scenes, load_pair_protocol(held_out=True)) == [
        images / "0016/images/b0.jpg"
    ]
    assert photo_of_each_scene(scenes, protocol) == [
        images / "0000/images/a0.jpg",
        images / "0001/images/b0.jpg",
    ]


def test_folders_without_scenes_are_named(tmp_path, scenes, protocol):
    message = refused(MegaDepthPairs, tmp_path / "none", protocol)
    assert message.startswith(f"{tmp_path}/none: no such folder; run 'd2eval prepare megadepth'")
    shutil.copy(scenes / "0016.npz", tmp_path)
    shutil.copy(scenes / "9999.npz", tmp_path)
    message = refused(MegaDepthPairs, tmp_path, protocol)
    assert message.startswith(f"{tmp_path}: holds none of the 117 scenes 0000 to 5017; prepare")
    assert len(MegaDepthPairs(tmp_path, load_pair_protocol(held_out=True))) == 25


def test_scenes_without_enough_overlap_are_left_out(scenes, protocol):
    # The scenes' own overlaps reach 0.93 and 0.944.
    few = MegaDepthPairs(scenes, replace(protocol, overlap=(0.94, 1.0)))
    assert len(few) == 100
    assert few.draw(0, np.random.default_rng(0)).name.startswith("0001/")
    message = refused(MegaDepthPairs, scenes, replace(protocol, overlap=(0.99, 1.0)))
    assert message == (
        f"{scenes}: has no two images with an overlap of 0.99 to 1; prepare more scenes"
    )


def change(path, **arrays):
    np.savez(path, **{**load(path), **arrays})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"format": np.array(FORMAT + 1)}, "is of another version"),
        ({"pairs": np.zeros(3, int)}, "broken scene file (pairs is of another type)"),
        ({"overlaps": np.array(["a"])}, "broken scene file (overlaps is of another type)"),
        ({"scale_ratios": np.array([{}])}, "broken scene file (scale_ratios: it holds Python"),
        ({"format": np.array("new")}, "is of another version"),
        ({"format": np.array([FORMAT, FORMAT])}, "is of another version"),
        ({"pairs": np.zeros((3, 3), int)}, "broken scene file (pairs is 3x3)"),
        ({"overlaps": np.ones(1)}, "broken scene file (overlaps has 1 pairs, pairs "),
    ],
)
def test_a_scene_file_that_is_wrong_is_named(tmp_path, scenes, protocol, arrays, message):
    path = tmp_path / "0001.npz"
    shutil.copy(scenes / "0001.npz", path)
    change(path, **arrays)
    found = refused(MegaDepthPairs, tmp_path, protocol)
    assert found.startswith(f"{path}: {message}")
    assert found.endswith("; run 'd2eval prepare megadepth' again")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_paths": lambda a: a[1:]}, "depth_paths has"),
        ({"depth_paths": lambda a: a[1:]}, "depth_paths has"),
        ({"intrinsics": lambda a: a[:, :2]}, "intrinsics is"),
        ({"poses": lambda a: a[1:]}, "poses has"),
        ({"offsets": lambda a: a[1:]}, "offsets don't rise from 0 over the images"),
        ({"offsets": lambda a: a[::-1]}, "offsets don't rise from 0 over the images"),
        ({"offsets": lambda a: a - 1}, "offsets don't rise from 0 over the images"),
        ({"points": lambda a: a[1:]}, "points has"),
        ({"normalized_depths": lambda a: a[1:]}, "normalized_depths has"),
        ({name: lambda a: a[:-1] for name in ("points", "normalized_depths", "point_ids")},
         "offsets end at"),
        ({"scale_ratios": lambda a: a[1:]}, "scale_ratios has"),
    ],
)  # fmt: skip
def test_arrays_of_a_scene_that_don_t_go_together_are_named(tmp_path, scenes, changes, message):
    path = tmp_path / "0001.npz"
    arrays = load(scenes / "0001.npz")
    np.savez(path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})
    assert refused(read_scene_file, path).startswith(f"{path}: broken scene file ({message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": lambda a: a + 99}, "broken scene file (a pair's image is none)"),
        ({"pairs": lambda a: -a - 1}, "broken scene file (a pair's image is none)"),
        ({"point_ids": lambda a: np.arange(len(a))}, "broken scene file (two images of a pair"),
        ({"intrinsics": lambda a: a * np.nan}, "broken scene file (intrinsics holds NaN"),
        ({"poses": lambda a: a * 2}, "broken scene file (cam_from_world is not"),
        ({"image_paths": lambda a: np.char.add("../", a)}, "the image name '../"),
        ({"depth_paths": lambda a: np.char.add("/", a)}, "the image name '/"),
    ],
)
def test_what_a_draw_can_not_use_is_named(tmp_path, scenes, protocol, changes, message):
    path = tmp_path / "0001.npz"
    arrays = load(scenes / "0001.npz")
    np.savez(path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})
    source = MegaDepthPairs(tmp_path, protocol)
    assert refused(draw_all, source).startswith(f"{path}: {message}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"what", None])
def test_a_scene_file_that_is_cut_short_is_named(tmp_path, scenes, protocol, content):
    path = tmp_path / "0001.npz"
    path.write_bytes((scenes / "0001.npz").read_bytes()[:-30] if content is None else content)
    found = refused(MegaDepthPairs, tmp_path, protocol)
    assert found.startswith(f"{path}: broken scene file (")
    assert found.endswith("; run 'd2eval prepare megadepth' again")


def test_a_scene_file_that_zipfile_does_not_know_is_named(tmp_path, scenes, protocol):
    path = tmp_path / "0001.npz"
    content = bytearray((scenes / "0001.npz").read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"pairs.npy"))
    content[entry + 10] = 99  # the method of compression
    path.write_bytes(content)
    found = refused(MegaDepthPairs, tmp_path, protocol)
    assert found.startswith(f"{path}: broken scene file (")


@pytest.fixture
def moved(root, tmp_path):
    """A scene of its own that may be changed, and its pairs."""
    folder = tmp_path / "megadepth"
    for part in (UNDISTORTED, DEPTH):
        shutil.copytree(root / part / "0001", folder / part / "0001")
    prepare(folder, tmp_path / "out")
    source = MegaDepthPairs(tmp_path / "out", load_pair_protocol(held_out=False))
    assert source.draw(0, np.random.default_rng(0)) is not None
    return folder, source


def draw_all(source):
    for seed in range(6):
        source.draw(0, np.random.default_rng(seed))


def test_data_that_went_away_are_named(moved, tmp_path):
    folder, source = moved
    path = folder / DEPTH / "0001/dense0/depths/b1.h5"
    path.unlink()
    assert refused(draw_all, source).startswith(f"{path}: no such depth map")
    image = folder / UNDISTORTED / "0001/images/b1.jpg"
    image.unlink()
    assert refused(draw_all, source).startswith(f"{image}: is missing")
    folder.rename(tmp_path / "elsewhere")
    message = refused(draw_all, source)
    assert message.startswith(f"{folder}: {tmp_path}/out/0001.npz was prepared from this folder")
    assert message.endswith("; run 'd2eval prepare megadepth' again")


@pytest.mark.parametrize(
    ("dataset", "values", "message"),
    [
        ("depth", np.full((288, 380), 4.0), "is 380x288, but b1.jpg is 384x288"),
        ("depth", np.full((1, 288, 384), 4.0), "holds 1x288x384 values of type float64"),
        ("depth", np.full((288, 384), -1.0), "holds negative depths"),
        ("disparity", np.full((288, 384), 4.0), "holds no dataset 'depth'"),
    ],
)
def test_a_depth_map_that_is_wrong_is_named(moved, dataset, values, message):
    folder, source = moved
    path = folder / DEPTH / "0001/dense0/depths/b1.h5"
    with h5py.File(path, "w") as file:
        file[dataset] = values
    assert refused(draw_all, source).startswith(f"{path}: {message}")


@pytest.mark.parametrize("length", [0, 500, 150_000])
def test_a_depth_map_that_is_cut_short_is_named(moved, length):
    folder, source = moved
    path = folder / DEPTH / "0001/dense0/depths/b1.h5"
    path.write_bytes(path.read_bytes()[:length])
    assert refused(draw_all, source).startswith(f"{path}: broken depth map")


def flip_a_byte(file):
    file["depth"] = np.ones((8, 8), np.float32)


def link_to_nothing(file):
    file["depth"] = h5py.SoftLink("/nowhere")


def hold_nothing(file):
    file["depth"] = h5py.Empty("f")


def hold_references(file):
    file["depth"] = np.array([[file.ref]], h5py.ref_dtype)


@pytest.mark.parametrize("fill", [flip_a_byte, link_to_nothing, hold_nothing, hold_references])
def test_a_depth_map_that_is_whole_but_broken_is_named(tmp_path, fill):
    path = tmp_path / "depth.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    if fill is flip_a_byte:
        path.write_bytes(path.read_bytes().replace(b"TREE", b"FREE"))
    assert refused(read_depth, path).startswith(f"{path}: ")
