"""From data as they are distributed to weights that extract, by the commands; and mistakes."""

import json
import resource
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from megadepth_scene import write_megadepth_scene
from PIL import Image
from safetensors.torch import load_file

from d2eval.cli import main
from d2eval.sample.training import TRAINING_SHOTS, VALIDATION_SHOTS, take, write_posed_scene
from methods.d2net.network import weights_by_layer
from methods.d2net.training import loop
from methods.d2net.training.data import sources
from methods.d2net.training.data.megadepth import load_pair_protocol
from methods.d2net.training.learner import Learner
from methods.d2net.training.validation import Matching


@pytest.fixture(scope="module")
def walks():
    """The images of training and of validation."""
    return take(TRAINING_SHOTS[:3]), take(VALIDATION_SHOTS[:2])


@pytest.fixture(scope="module")
def megadepth(walks, tmp_path_factory):
    """A scene of each list; copy it to change it."""
    root = tmp_path_factory.mktemp("megadepth")
    for name, taken in zip(("0000", "0016"), walks, strict=True):
        write_megadepth_scene(root, name, taken)
    return root


@pytest.fixture(scope="module")
def posed(walks, tmp_path_factory):
    """Two scenes, of which the first is held out; copy it to change it."""
    folder = tmp_path_factory.mktemp("posed")
    for name, taken in zip(("walk_b", "walk_a"), walks, strict=True):
        write_posed_scene(folder / name, taken)
    return folder


@pytest.fixture
def command(capsys):
    """Runs a command: (exit code, standard output, error)."""

    def run(*words):
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def train(command, tmp_path, quick_training):
    """Trains for an epoch into "run"."""

    def run(data, *words):
        return command(
            "train", "--data", data, "--output", tmp_path / "run", "--epochs", 1, "--weights",
            "bundled", "--validation-photos", 1, "--workers", 0, "--learning-rate", 1e-5,
            "--cache", tmp_path / "cache", *words,
        )  # fmt: skip

    return run


@pytest.fixture
def no_extraction(monkeypatch):
    """Validation's matching is not measured, which takes most of a training's time."""
    matching = Matching((0.1, 0.2, 0.3, 0.6), 100.0, 50.0)
    monkeypatch.setattr(loop, "measure_matching", lambda *_: matching)


@pytest.fixture
def few_pairs(monkeypatch):
    """An epoch of MegaDepth takes two pairs of a scene, and validation one."""

    def load(held_out):
        return replace(load_pair_protocol(held_out), pairs=1 if held_out else 2)

    monkeypatch.setattr(sources, "load_pair_protocol", load)


def one_line(err, *parts):
    assert err.startswith("d2eval: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for part in parts:
        assert str(part) in err


def assert_trained(out, folder, pairs, skipped=0):
    """Whether an epoch was told of, and a folder holds its rows and weights that are whole."""
    first, *lines, last = out.splitlines()
    assert first.startswith("start: bundled stand-in (")
    assert [line.partition(":")[0] for line in lines] == ["epoch 0", "epoch 1"]
    assert last.startswith("lowest validation loss ")
    epochs = pd.read_csv(folder / "epochs.csv")
    assert epochs["epoch"].tolist() == [0, 1]
    assert epochs["pairs"].tolist() == [0, pairs]
    assert epochs["skipped"].tolist() == [0, skipped]
    assert np.isfinite(epochs["validation_loss"]).all()
    assert epochs.loc[1, "train_loss"] > 0
    assert epochs["mma_10"].between(0.5, 1).all()
    assert epochs["validation_loss"].nunique() == 2  # weights moved
    assert len(pd.read_csv(folder / "steps.csv")) == pairs
    weights = load_file(folder / "best.safetensors")
    weights_by_layer(weights)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["validation_loss"] == pytest.approx(epochs["validation_loss"].min())


@pytest.mark.slow
@pytest.mark.parametrize("measured", [False, True])
def test_megadepth_is_prepared_and_trained_on(
    request, command, train, few_pairs, megadepth, tmp_path, measured
):
    if not measured:
        request.getfixturevalue("no_extraction")
    scenes = tmp_path / "scenes"
    words = ["prepare", "megadepth", megadepth, "--output", scenes]
    assert command(*words) == (0, f"{scenes}: 2 scenes prepared, 0 were there\n", "")
    assert command(*words) == (0, f"{scenes}: 0 scenes prepared, 2 were there\n", "")
    assert sorted(p.name for p in scenes.glob("*.npz")) == ["0000.npz", "0016.npz"]
    code, out, err = train(f"megadepth:{scenes}")
    assert (code, err) == (0, "")
    assert_trained(out, tmp_path / "run", pairs=2)
    image = tmp_path / "image.png"
    with Image.open(megadepth / "Undistorted_SfM/0000/images/a0.jpg") as picture:
        picture.crop((100, 100, 260, 220)).save(image)
    code, _, err = command(
        "extract", image, "--method", "d2_ss", "--weights", tmp_path / "run/best.safetensors",
        "--output", tmp_path / "features", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert [path for path in (tmp_path / "features").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_posed_images_are_trained_on(train, no_extraction, posed, tmp_path):
    shutil.copytree(posed, tmp_path / "posed")
    listed = tmp_path / "posed/walk_b/pairs.txt"
    listed.write_text("a0.jpg a1.jpg\na2.jpg a1.jpg\n")
    code, out, err = train(f"posed:{tmp_path}/posed")
    assert (code, err) == (0, "")
    assert_trained(out, tmp_path / "run", pairs=2)


def test_scenes_by_name(command, megadepth, tmp_path):
    scenes = tmp_path / "scenes"
    words = ["prepare", "megadepth", megadepth, "--output", scenes, "--scenes"]
    assert command(*words, "0016") == (0, f"{scenes}: 1 scenes prepared, 0 were there\n", "")
    code, out, err = command(*words, "0016", "0007")
    assert (code, out) == (2, "")
    one_line(err, f"{megadepth}/Undistorted_SfM/0007/images: no such folder; scene 0007 has no")


def test_megadepth_without_depth_is_one_line(command, train, megadepth, tmp_path):
    root, scenes = tmp_path / "megadepth", tmp_path / "scenes"
    shutil.copytree(megadepth, root)
    shutil.rmtree(root / "MegaDepth_v1/0016")
    code, out, err = command("prepare", "megadepth", root, "--output", scenes)
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "left out, no model, images or depth: 1 scenes (0016)"
    code, out, err = command("prepare", "megadepth", root, "--output", scenes, "--scenes", "0016")
    assert (code, out) == (2, "")
    one_line(
        err, f"{root}/MegaDepth_v1/0016/dense0/depths: no such folder; scene 0016 has no depth"
    )
    code, out, err = train(f"megadepth:{scenes}")  # none for validation
    assert (code, out) == (2, "")
    one_line(err, f"{scenes}: holds none of the 77 scenes 0016 to 5018; prepare them by")
    assert not (tmp_path / "run").exists()


def test_folders_that_are_not_megadepth_are_one_line(command, train, tmp_path):
    code, out, err = command("prepare", "megadepth", tmp_path, "--output", tmp_path / "scenes")
    assert (code, out) == (2, "")
    one_line(err, f"{tmp_path}/Undistorted_SfM: no such folder")
    code, out, err = train(f"megadepth:{tmp_path}/scenes")
    assert (code, out) == (2, "")
    one_line(err, f"{tmp_path}/scenes: no such folder; run 'd2eval prepare megadepth' first")


def test_another_dataset_is_one_line(command, tmp_path):
    code, out, err = command("prepare", "hpatches", tmp_path, "--output", tmp_path / "scenes")
    assert (code, out) == (2, "")
    one_line(err, "hpatches", "megadepth")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("depth", "walk_b/depth/a0.npy: no depth map of a0.jpg, nor a0.png there"),
        ("pairs", "walk_b/pairs.txt: line 2: a9.jpg is not in cameras.json"),
        ("cameras", "walk_b/cameras.json: broken JSON (Expecting value"),
    ],
)
def test_a_posed_scene_that_is_wrong_is_one_line(train, posed, tmp_path, fault, message):
    folder = shutil.copytree(posed, tmp_path / "posed")
    if fault == "depth":
        shutil.rmtree(folder / "walk_b/depth")
    elif fault == "pairs":
        (folder / "walk_b/pairs.txt").write_text("a0.jpg a1.jpg\na2.jpg a9.jpg\n")
    else:
        (folder / "walk_b/cameras.json").write_text("a0.jpg")
    code, out, err = train(f"posed:{folder}")
    assert (code, out) == (2, "")
    one_line(err, f"{folder}/{message}")
    assert not (tmp_path / "run").exists()


def test_a_depth_map_that_is_broken_halfway_is_one_line(train, posed, tmp_path):
    folder = shutil.copytree(posed, tmp_path / "posed")
    (folder / "walk_b/pairs.txt").write_text("a0.jpg a1.jpg\n")
    (folder / "walk_a/pairs.txt").write_text("b0.jpg b1.jpg\n")
    path = folder / "walk_a/depth/b1.npy"
    path.write_bytes(path.read_bytes()[:-100])
    code, out, err = train(f"posed:{folder}")
    assert code == 2
    assert out.startswith("start: ")
    assert out.count("\n") == 1  # no epoch was done
    one_line(err, f"{path}: broken depth map")


def test_a_full_disk_while_preparing_keeps_what_is_done(command, walks, tmp_path):
    root, scenes = tmp_path / "megadepth", tmp_path / "scenes"
    training, validation = walks
    write_megadepth_scene(root, "0000", validation)  # the smaller file of both, and the first
    write_megadepth_scene(root, "0001", training)
    words = ["prepare", "megadepth", root, "--output", scenes]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, limits[1]))
    try:
        code, out, err = command(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, out) == (2, "")
    one_line(err, f"{scenes}/0001.npz: can't be written", "run the same command again")
    assert sorted(path.name for path in scenes.iterdir()) == [".lock", "0000.npz"]
    with np.load(scenes / "0000.npz", allow_pickle=False) as file:
        assert len(file["image_paths"]) == len(validation)
    # There is space now.
    assert command(*words) == (0, f"{scenes}: 1 scenes prepared, 1 were there\n", "")
    assert (scenes / "0001.npz").stat().st_size > 90_000


@pytest.mark.parametrize(
    "what", ["a single scene", pytest.param("no photos", marks=pytest.mark.slow)]
)
def test_training_without_photos_for_validation(train, posed, what, monkeypatch):
    monkeypatch.setattr(Learner, "evaluate", lambda *_: [1.0])
    monkeypatch.setattr(Learner, "step", lambda *_: [1.0])
    if what == "a single scene":  # holds out pairs, but no photos that training never shows
        code, _, err = train(f"posed:{posed}/walk_b")
    else:
        code, _, err = train(f"posed:{posed}", "--validation-photos", 0)
    assert (code, err) == (0, "")


def test_weights_that_are_named_are_there(train, no_extraction, posed, tmp_path, monkeypatch):
    # No pair for validation has correspondences, so there is no validation loss.
    monkeypatch.setattr(Learner, "step", lambda *_: [1.0])
    folder = shutil.copytree(posed, tmp_path / "posed")
    (folder / "walk_a/pairs.txt").write_text("b0.jpg b1.jpg\n")
    np.save(folder / "walk_a/depth/b1.npy", np.zeros((288, 384)))
    code, out, err = train(f"posed:{folder}")
    if code == 0:
        assert (tmp_path / "run/best.safetensors").exists() or "best.safetensors" not in out
    else:
        one_line(err, folder)
