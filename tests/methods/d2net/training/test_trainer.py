"""Whole trainings on a few photos: repeated, cut off and resumed, stopped by errors."""

import json
import os
import resource
import shutil
from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from d2eval.contracts.method import Runtime
from d2eval.contracts.training import trainer_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import sha256_of
from d2eval.foundation.machine.processes import Rank
from methods.d2net.network import PREFIX
from methods.d2net.training import checkpoint, learner, logs
from methods.d2net.training.checkpoint import Progress
from methods.d2net.training.learner import Learner
from methods.vgg16.layers import THROUGH_CONV4


@pytest.fixture(scope="module")
def run_training(narrow, run_training, tmp_path_factory):
    """Of few channels and without curves, which take their time."""
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    save_file(narrow, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "draw_curves", lambda *_: None)
        yield partial(run_training, weights=str(path))


@pytest.fixture
def lines():
    """What trainings say."""
    return []


@pytest.fixture
def train(run_training, tmp_path, lines):
    """Trains in the folder of the given name and says what is there then."""

    def run(name="run", **options):
        return run_training(tmp_path / name, tmp_path / "cache", lines, **options)

    return run


@pytest.fixture(scope="module")
def finished(run_training, tmp_path_factory):
    """What one epoch leaves; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    return run_training(folder / "run", folder / "cache", [])


@pytest.fixture(scope="module")
def twice(run_training, tmp_path_factory):
    """What two epochs leave that nothing interrupts; not to be changed."""
    folder = tmp_path_factory.mktemp("twice")
    return run_training(folder / "run", folder / "cache", [], epochs=2)


@pytest.fixture
def trained(finished, tmp_path):
    """A copy of it in the folder ``run``."""
    return shutil.copytree(finished, tmp_path / "run")


def rows(output, name="epochs.csv"):
    frame = pd.read_csv(output / name)
    return frame.drop(columns="seconds", errors="ignore")


def same_training(one, other):
    """Whether two folders hold the same weights and rows."""
    ours, theirs = (load_file(folder / "best.safetensors") for folder in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (
        torch.load(folder / "checkpoint.pt", weights_only=True)["layers"]["conv4_3"]
        for folder in (one, other)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    pd.testing.assert_frame_equal(rows(one), rows(other), check_exact=True)
    pd.testing.assert_frame_equal(rows(one, "steps.csv"), rows(other, "steps.csv"))


def test_a_training_cut_off_anywhere_gives_the_same(train, finished, monkeypatch):
    steps = []
    step = Learner.step

    def cut(self, batch, rate):
        steps.append(len(steps))
        if len(steps) in (2, 4):
            raise KeyboardInterrupt
        return step(self, batch, rate)

    monkeypatch.setattr(Learner, "step", cut)
    # Two pairs an epoch. Cut at step 2, none was kept; cut there again, one was.
    for checkpoint_every in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            train("cut", checkpoint_every=checkpoint_every)
    train("cut")
    assert len(steps) == 2 + 2 + 1
    same_training(finished, train("cut"))
    assert len(steps) == 2 + 2 + 1  # a finished training does nothing
    assert list(rows(finished)["epoch"]) == [0, 1]
    assert list(rows(finished, "steps.csv")["step"]) == [1, 2]


def test_a_finished_training_goes_on_with_more_epochs(train, trained, twice, lines):
    longer = train(trained.name, epochs=2)
    same_training(twice, longer)
    for name in ("best.safetensors", "best.pth"):
        assert (twice / name).read_bytes() == (longer / name).read_bytes()
    assert list(rows(longer)["epoch"]) == [0, 1, 2]
    assert list(rows(longer, "steps.csv")["step"]) == [1, 2, 3, 4]
    assert "no photo is held out, so no MMA is measured" in lines[0]
    assert lines[0].endswith("; 2 epochs, going on in epoch 2")
    assert lines[1].startswith("epoch 2: ")
    assert "MMA" not in lines[1]


def test_only_the_last_layer_moves_and_seeds_differ(narrow, finished, train):
    best = load_file(finished / "best.safetensors")
    last = f"{PREFIX}{THROUGH_CONV4[-1][1]}"
    assert all(torch.equal(best[name], narrow[name]) for name in narrow if last not in name)
    one, other = (
        torch.load(output / "checkpoint.pt", weights_only=True)["layers"]["conv4_3"]["weight"]
        for output in (finished, train(seed=5))
    )
    # Adam's steps are about the learning rate long.
    mean = float((one - narrow[f"{last}.weight"]).abs().mean())
    assert 1e-6 < mean < 3e-5
    assert not torch.equal(one, other)
    assert best[f"{last}.weight"].shape == one.shape


def test_a_loss_that_is_not_finite_stops_with_the_batch_kept(train, trained, monkeypatch):
    def diverged(*_):  # in training; validation has no gradients
        return torch.tensor(float("nan") if torch.is_grad_enabled() else 1.0)

    monkeypatch.setattr(learner, "pair_loss", diverged)
    with pytest.raises(D2EvalError, match=r"loss of step 3 is not finite.*\.png") as caught:
        train(trained.name, epochs=2)
    assert "\n" not in str(caught.value)
    with np.load(trained / "bad_batch.npz", allow_pickle=False) as held:
        assert held["image_1_of_pair_0"].shape == (160, 160, 3)
        assert held["cells_1_of_pair_0"].shape == held["cells_2_of_pair_0"].shape


def test_another_trainings_folder_is_refused(train, trained):
    with pytest.raises(D2EvalError, match=r"another training \(recipe was 'code', is 'paper'\)"):
        train(recipe="paper")
    with pytest.raises(D2EvalError, match=r"another training \(seed was 0, is 3\)"):
        train(seed=3)


def test_a_validation_loss_that_is_not_finite_stops_too(train, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Learner, "_losses", lambda _, batch: [torch.tensor(float("inf")) for _ in batch.pairs]
    )
    with pytest.raises(D2EvalError, match=r"loss of validation of epoch 0 is not finite") as caught:
        train()
    assert "--precision" not in str(caught.value)
    assert (tmp_path / "run" / "bad_batch.npz").is_file()
    assert not (tmp_path / "run" / "best.safetensors").exists()
    with pytest.raises(D2EvalError, match=r"lower --learning-rate, or train with --precision bf16"):
        train("half", precision="fp16")


@pytest.mark.parametrize("used", ["step", "evaluate"])
def test_memory_that_is_used_up_is_one_line(train, trained, monkeypatch, used):
    def grow(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")

    monkeypatch.setattr(Learner, used, grow)
    with pytest.raises(D2EvalError, match=r"out of memory on cpu; lower --batch-size or") as caught:
        train(trained.name if used == "step" else "new", epochs=2)
    assert "\n" not in str(caught.value)


def test_other_errors_are_no_lack_of_memory(train, trained, monkeypatch):
    def fail(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(Learner, "step", fail)
    with pytest.raises(RuntimeError, match="something else"):
        train(trained.name, epochs=2)


def test_processes_must_find_the_same(train, trained, tmp_path, monkeypatch):
    said = []

    def differ(text, *_):
        said.append(text)
        return False

    monkeypatch.setattr("methods.d2net.training.loop.same_for_all", differ)
    with pytest.raises(D2EvalError, match=r"checkpoint\.pt: the processes find other checkpoints"):
        train(epochs=2)
    with pytest.raises(D2EvalError, match="the processes find other checkpoints"):
        train("other", seed=1)
    assert sha256_of(tmp_path / "run" / "checkpoint.pt") in said[0]
    assert '"seed": 0' in said[0]
    assert '"seed": 1' in said[1]


def test_data_may_be_moved_and_lost_rows_are_no_error(train, trained, photos, tmp_path):
    (tmp_path / "moved").symlink_to(photos)
    (trained / "steps.csv").unlink()
    train(trained.name, epochs=2, data=f"homographies:{tmp_path / 'moved'}")
    assert list(rows(trained)["epoch"]) == [0, 1, 2]
    assert list(rows(trained, "steps.csv")["step"]) == [3, 4]


def test_damaged_rows_are_named(train, trained):
    path = trained / "steps.csv"
    path.write_text(path.read_text().replace("\n2,", "\ntwo,"))
    with pytest.raises(D2EvalError, match=r"steps\.csv: damaged \(.*two.*\); remove it"):
        train(trained.name, epochs=2)


@pytest.mark.parametrize(
    ("data", "message"),
    [("photos", "is not KIND:PATH"), ("homographies:/no/such", "no such folder")],
)
def test_data_that_are_not_there(train, data, message):
    with pytest.raises(D2EvalError, match=message):
        train(data=data)


def test_weights_of_another_network_are_named(train, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(1)}, path)
    with pytest.raises(D2EvalError, match=r"other\.safetensors: .* is missing; give D2-Net"):
        train(weights=str(path))


def test_more_processes_than_pairs_are_refused(photos, tmp_path):
    trainer = trainer_class("d2net")
    config, runtime = trainer.Config(weights="bundled"), Runtime(cache=tmp_path)
    with pytest.raises(D2EvalError, match="2 pairs an epoch are too few for 10 processes"):
        trainer(config, [f"homographies:{photos}"], tmp_path, runtime, 0, Rank(0, 10, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be 1 or more"),
        ({"finetune_layers": 11}, "--finetune-layers 11: must be 1"),
        ({"epochs": -1}, "--epochs must be 0 or more"),
        ({"light": 1.5}, "--light must be 1 or less"),
        ({"learning_rate": float("nan")}, "--learning-rate must be 0 or more"),
    ],
)
def test_options_that_make_no_sense(train, options, message):
    with pytest.raises(D2EvalError, match=message):
        train(**options)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"layer": torch.arange(300_000.0)}
    checkpoint.save(path, "{}", Progress(epoch=1), state)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(D2EvalError, match=r"checkpoint\.pt: can't be written"):
            checkpoint.save(path, "{}", Progress(epoch=2), state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    progress, held = checkpoint.load(path, "{}")
    assert progress.epoch == 1
    assert torch.equal(held["layer"], state["layer"])


WORK = json.dumps({"seed": 0})


@pytest.fixture
def held(tmp_path):
    """A checkpoint file."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, WORK, Progress(epoch=2, best_loss=0.5), {"layer": torch.rand(4000)})
    return path


def refused(path):
    with pytest.raises(D2EvalError, match=r"broken checkpoint.*remove it to start anew") as caught:
        checkpoint.load(path, WORK)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_cut_checkpoint_is_named(held, kept):
    content = held.read_bytes()
    held.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(held)


@pytest.mark.parametrize("damage", [bytes(512), b"\xff"])
def test_damaged_values_of_a_checkpoint_are_found(held, damage):
    content = bytearray(held.read_bytes())
    at = len(content) // 2
    content[at : at + len(damage)] = damage
    held.write_bytes(content)
    refused(held)


CONTENTS = {
    "no dictionary": [1, 2],
    "nothing": {},
    "no progress": {"work": WORK},
    "progress of another kind": {"work": WORK, "progress": [1]},
    "settings that are no JSON": {"work": "{", "progress": asdict(Progress())},
    "settings that are no object": {"work": "[]", "progress": asdict(Progress())},
    "settings without end": {"work": "[" * 100_000, "progress": asdict(Progress())},
    "text for a number": {"work": WORK, "progress": {**asdict(Progress()), "step": "7"}},
    "a negative epoch": {"work": WORK, "progress": {**asdict(Progress()), "epoch": -1}},
    "a part of an epoch": {"work": WORK, "progress": {**asdict(Progress()), "epoch": 1.5}},
    "no number": {"work": WORK, "progress": {**asdict(Progress()), "loss_sum": float("nan")}},
    "another entry": {"work": WORK, "progress": {**asdict(Progress()), "more": 1}},
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_that_are_no_checkpoint(tmp_path, kind):
    path = tmp_path / "checkpoint.pt"
    torch.save(CONTENTS[kind], path)
    refused(path)


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(D2EvalError, match="is a pipe"):
        checkpoint.load(tmp_path / "checkpoint.pt", WORK)


def changed(path, change):
    """Writes a checkpoint anew with something changed in it."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


BROKEN_STATES = {
    "no optimizer": lambda c: c.pop("optimizer"),
    "another layer": lambda c: c["layers"].update(conv9_9=c["layers"]["conv4_3"]),
    "a layer of another size": lambda c: c["layers"]["conv4_3"].update(bias=torch.zeros(3)),
    "a layer without weights": lambda c: c["layers"]["conv4_3"].pop("bias"),
    "moments of another size": lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
    "no moments": lambda c: c["optimizer"]["state"][0].pop("exp_avg_sq"),
    "no groups": lambda c: c["optimizer"].update(param_groups=[]),
}


def test_a_state_that_does_not_fit_is_one_line(train, trained, tmp_path):
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    for change in BROKEN_STATES.values():
        path.write_bytes(whole)
        changed(path, change)
        with pytest.raises(D2EvalError, match=r"checkpoint\.pt: broken checkpoint \(") as caught:
            train(epochs=2)
        assert "\n" not in str(caught.value)


def test_a_broken_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, "{}", Progress(), {"layer": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(D2EvalError, match=r"checkpoint\.pt: broken checkpoint"):
        checkpoint.load(path, "{}")
