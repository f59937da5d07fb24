"""The command that trains: a tiny run of it, its errors, several processes, and kill -9."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from places import REPOSITORY
from safetensors.torch import load_file

from d2eval.cli import main
from d2eval.sample.photos import load_photo

# One thread, since sums of several may depend on how the machine is loaded.
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


pytestmark = pytest.mark.usefixtures("quick_training")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve small photos, of which two are held out."""
    folder = tmp_path_factory.mktemp("photos")
    photo = load_photo("coffee").decode()
    for number in range(12):
        top, left = 15 * (number // 4), 60 * (number % 4)
        crop = photo[top : top + 200, left : left + 240]
        Image.fromarray(np.ascontiguousarray(crop)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def few_photos(photos, tmp_path_factory):
    """Four of them, not much larger than what a training sees; one is held out."""
    folder = tmp_path_factory.mktemp("few_photos")
    for path in sorted(photos.iterdir())[:4]:
        with Image.open(path) as photo:
            photo.crop((0, 0, 168, 168)).save(folder / path.name)
    return folder


def arguments(photos, output, *words):
    options = {"--epochs": 1, "--weights": "bundled", "--validation-photos": 1, "--workers": 0}
    options |= {"--data": f"homographies:{photos}", "--output": output}
    options |= {"--cache": output.parent / "cache"}
    flat = [str(word) for option in options.items() for word in option]
    return ["train", *flat, *(str(word) for word in words)]


def learned(output):
    content = torch.load(output / "checkpoint.pt", weights_only=True)
    return content["layers"]["conv4_3"]["weight"]


@pytest.fixture(scope="module")
def trained(few_photos, quick_training, tmp_path_factory):
    """A training of an epoch with the seed 3, to be looked at only: folder, output and errors."""
    output = tmp_path_factory.mktemp("trained") / "run"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments(few_photos, output, "--seed", 3))
    assert code == 0, err.getvalue()
    return output, out.getvalue(), err.getvalue()


def test_a_tiny_training_gives_weights_that_extract(few_photos, trained, tmp_path):
    output, out, err = trained
    assert "lowest validation loss" in out
    assert str(output / "best.safetensors") in out
    assert err == ""
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["training"]["seed"] == 3
    assert manifest["training"]["recipe"] == "code"
    assert manifest["training"]["data"] == [f"homographies:{few_photos}"]
    image = sorted(few_photos.iterdir())[0]
    words = ["extract", str(image), "--method", "d2_ss", "--cache", str(tmp_path / "cache")]
    words += ["--weights", str(output / "best.safetensors"), "--output", str(tmp_path / "out")]
    assert main(words) == 0


@pytest.mark.slow
def test_without_data_it_trains_on_the_sample(tmp_path, capsys):
    options = {"--output": tmp_path / "run", "--cache": tmp_path / "cache", "--workers": 0}
    options |= {"--epochs": 1, "--validation-photos": 0, "--picture-every": 3}
    assert main(["train", *(str(word) for option in options.items() for word in option)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "6 pairs an epoch and 3 for validation" in out
    losses = pd.read_csv(tmp_path / "run" / "epochs.csv")["validation_loss"]
    assert losses.is_monotonic_decreasing
    assert losses.iloc[-1] < losses[0]
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 2


@pytest.mark.slow
def test_validation_loss_falls_and_accuracy_holds_over_seeds(photos, tmp_path):
    """So few steps move the accuracy by less than library versions do; they must not spoil it."""
    for seed in (0, 1):
        output = tmp_path / str(seed)
        words = ["--epochs", 3, "--learning-rate", 1e-4, "--pairs", 3, "--validation-photos", 2]
        assert main(arguments(photos, output, "--seed", seed, *words)) == 0
        epochs = pd.read_csv(output / "epochs.csv")
        first, last = epochs.iloc[0], epochs.iloc[-1]
        assert last["validation_loss"] < 0.9 * first["validation_loss"]
        for threshold in (3, 5, 10):
            assert last[f"mma_{threshold}"] > first[f"mma_{threshold}"] - 0.03


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "homographies:/no/such/folder"], "/no/such/folder: no such folder"),
        (["--data", "photos"], "is not KIND:PATH"),
        (["--finetune-layers", 11], "--finetune-layers 11: must be 1"),
        (["--weights", "/no/weights.pth"], "/no/weights.pth: no such weights file"),
        (["--device", "cuda:9"], "cuda:9"),
    ],
)
def test_mistakes_are_one_line(photos, tmp_path, capsys, words, message):
    assert main(arguments(photos, tmp_path / "run", *words)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_of_another_training_is_refused(few_photos, trained, tmp_path, capsys):
    shutil.copytree(trained[0], tmp_path / "run")
    before = learned(tmp_path / "run")
    words = ["--seed", 3, "--recipe", "paper"]
    assert main(arguments(few_photos, tmp_path / "run", *words)) == 2
    assert "another training (recipe was 'code', is 'paper')" in capsys.readouterr().err
    assert torch.equal(learned(tmp_path / "run"), before)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_a_broken_photo_is_one_line_and_leaves_nothing_half(few_photos, tmp_path, capsys):
    shutil.copytree(few_photos, tmp_path / "photos")
    broken = tmp_path / "photos" / "03.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    words = arguments(tmp_path / "photos", tmp_path / "run", "--validation-photos", 0)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "epoch 0: validation loss" in out
    assert err.startswith(f"d2eval: {broken}: ")
    assert err.count("\n") == 1
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.slow
def test_a_broken_photo_ends_all_processes(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    broken = tmp_path / "photos" / "07.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    words = arguments(tmp_path / "photos", tmp_path / "run", "--validation-photos", 0)
    ended = subprocess.run(
        [*TORCHRUN, "-m", "d2eval", *words],
        cwd=REPOSITORY, env=ALONE, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("d2eval: ")]
    assert sum(str(broken) in line for line in said) == 1
    assert all(str(broken) in line or "another process ended" in line for line in said)
    assert "epoch 0: validation loss" in ended.stdout
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.slow
def test_processes_that_find_other_checkpoints_stop(photos, tmp_path):
    """As on machines that share no disk; and a random seed is drawn once for all."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    (tmp_path / "elsewhere").mkdir()
    words = ["--seed", "random", "--validation-photos", 0]
    subprocess.run(
        [*TORCHRUN, "-m", "d2eval", *arguments(photos, run, *words)],
        cwd=REPOSITORY, env=ALONE, check=True,
    )  # fmt: skip
    seed = json.loads((run / "manifest.json").read_text())["training"]["seed"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {**ALONE, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = ["--seed", seed, "--validation-photos", 0, "--epochs", 2, "--cache", cache]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "d2eval", *arguments(photos, output, *words)],
            cwd=REPOSITORY, env={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank, output in enumerate((run, tmp_path / "elsewhere"))
    ]  # fmt: skip
    before = (run / "checkpoint.pt").read_bytes()
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "the processes find other checkpoints or data" in err
    assert (run / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_two_processes_learn_what_one_with_twice_the_batch_learns(photos, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    command = [*TORCHRUN, "-m", "d2eval", *arguments(photos, together)]
    subprocess.run(command, cwd=REPOSITORY, env=ALONE, check=True)
    command = [sys.executable, "-m", "d2eval", *arguments(photos, alone, "--batch-size", 2)]
    subprocess.run(command, cwd=REPOSITORY, env=ALONE, check=True)
    ours, theirs = (pd.read_csv(folder / "epochs.csv") for folder in (together, alone))
    np.testing.assert_allclose(ours["validation_loss"], theirs["validation_loss"], rtol=1e-3)
    torch.testing.assert_close(learned(together), learned(alone), rtol=0, atol=2e-4)
    start = load_file(next((REPOSITORY / "methods/d2net/weights").glob("d2_vgg16*")))
    moved = learned(together) - next(v for k, v in start.items() if k.endswith("21.weight"))
    assert moved.abs().mean() > 1e-3


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(photos, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["--epochs", 2, "--checkpoint-every", 2]
    command = [sys.executable, "-m", "d2eval"]
    begun = time.monotonic()
    subprocess.run(
        [*command, *arguments(photos, whole, *words)], cwd=REPOSITORY, env=ALONE, check=True
    )
    lasted = time.monotonic() - begun
    moments = np.random.default_rng(4)
    killed = 0
    for _ in range(4):
        process = subprocess.Popen(
            [*command, *arguments(photos, cut, *words)],
            cwd=REPOSITORY, env=ALONE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(lasted * moments.uniform(0.3, 0.9))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 1
    subprocess.run(
        [*command, *arguments(photos, cut, *words)], cwd=REPOSITORY, env=ALONE, check=True
    )
    ours, theirs = (load_file(folder / "best.safetensors") for folder in (cut, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(learned(cut), learned(whole))
    assert not list(cut.glob(".*.tmp"))
    for name in ("steps.csv", "epochs.csv"):
        ours, theirs = (
            pd.read_csv(folder / name).drop(columns="seconds", errors="ignore")
            for folder in (cut, whole)
        )
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
