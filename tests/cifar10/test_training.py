"""Trainings: as plain PyTorch would do it, ended and continued at any epoch."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from places import REPOSITORY

from d2eval.cifar10 import training
from d2eval.cifar10.batches import Cifar10Data, LabelledImages
from d2eval.cifar10.network import new_network
from d2eval.cifar10.protocol import load_benchmark
from d2eval.cifar10.training import Epoch, Training, ended
from d2eval.foundation.errors import D2EvalError

HERE = Path(__file__).parent
PROTOCOL = load_benchmark()
PAPER = PROTOCOL.configurations[0]


def labelled(count: int, seed: int) -> LabelledImages:
    """Noise, brighter with the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    bright = 20 * labels[:, None, None, None] + rng.integers(0, 60, (count, 3, 32, 32))
    return LabelledImages(bright.astype(np.uint8), labels)


DATA = Cifar10Data(
    None, labelled(50, 0), labelled(20, 1), "sample", "0" * 64
)  # fmt: skip


def start(tmp_path, seed=0, data=DATA, **settings):
    settings = {"batch_size": 16, "step_epochs": 2, "epochs": 3, **settings}
    configuration = dataclasses.replace(PAPER, **settings)
    return Training(configuration, PROTOCOL, data, seed, "cpu", tmp_path)


def train(tmp_path, fresh=False, **settings):
    return start(tmp_path, **settings).train(fresh, lambda *_: None)


def weights(tmp_path):
    (path,) = tmp_path.rglob("checkpoint.pt")
    return torch.load(path, weights_only=True)


def test_as_plain_pytorch_does_it(tmp_path):
    """The same steps with PyTorch's own schedule and loader, in the order of the images."""
    own = start(tmp_path)
    orders = [torch.randperm(50, generator=training._generator(0, epoch)) for epoch in range(4)]
    history = own.train(False, lambda *_: None)

    network = new_network(PROTOCOL, 0)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.016, momentum=0.9, weight_decay=0.01, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    images = (torch.from_numpy(DATA.training.images[orders[0]]).float() / 255 - 0.5) / 0.5
    labels = torch.from_numpy(DATA.training.labels)[orders[0]]
    criterion = torch.nn.CrossEntropyLoss()
    for epoch in range(1, 4):
        network.train()
        for first in range(0, 50, 16):
            which = orders[epoch][first : first + 16]
            optimizer.zero_grad()
            criterion(network(images[which]), labels[which]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        scores = network((torch.from_numpy(DATA.test.images).float() / 255 - 0.5) / 0.5)
    right = (scores.argmax(1).numpy() == DATA.test.labels).mean()
    assert history[-1].test_accuracy == pytest.approx(right)
    expected = float(criterion(scores, torch.from_numpy(DATA.test.labels)))
    assert history[-1].test_loss == pytest.approx(expected, rel=1e-3)
    assert [epoch.learning_rate for epoch in history] == pytest.approx([0.016, 0.016, 0.0016])
    assert history[0].train_loss > history[-1].train_loss


def told(history):
    """Without times, and NaN as text, which no NaN equals."""
    known = {"real_s": 0, "user_s": 0, "sys_s": 0, "finished": ""}
    return [dataclasses.replace(e, **known, held_out_loss=str(e.held_out_loss)) for e in history]


def test_it_goes_on_where_it_ended_and_a_longer_one_where_a_shorter_ended(tmp_path):
    whole = train(tmp_path / "a")
    train(tmp_path / "b", epochs=1)
    assert told(train(tmp_path / "b", epochs=2)) == told(whole[:2])
    assert told(train(tmp_path / "b")) == told(whole)
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(t, second["network"][name]) for name, t in first["network"].items())
    for key, state in first["optimizer"]["state"].items():
        buffer = second["optimizer"]["state"][key]["momentum_buffer"]
        assert torch.equal(state["momentum_buffer"], buffer)


def test_on_a_gpu_it_trains_with_cudnn(tmp_path):
    """Without it, the times of a GPU would be others; what isn't said of it is off."""
    seen, cudnn = [], torch.backends.cudnn
    start(tmp_path).train(False, lambda *_: seen.append((cudnn.enabled, cudnn.deterministic)))
    assert set(seen) == {(True, True)}


def test_a_training_begins_without_another_copy_of_all_images(tmp_path):
    many = LabelledImages(np.zeros((4000, 3, 32, 32), np.uint8), np.zeros(4000, np.int64))
    tracemalloc.start()
    try:
        start(tmp_path, data=dataclasses.replace(DATA, training=many))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < many.images.nbytes / 2  # of NumPy and Python; the tensors are PyTorch's


CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
import test_training as t

def steps(batches, what):
    for number, batch in enumerate(batches):
        yield batch
        if (number, what) == (1, "epoch 3"):
            print("in the third epoch", flush=True)
            time.sleep(300)

t.training.progress = steps
t.train(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_in_the_midst_it_goes_on_exactly(tmp_path):
    """By kill -9, from a process of its own, after two of four steps of the last epoch."""
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, f"{HERE}:{HERE.parent / 'support'}", str(killed)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "in the third epoch\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(json.loads(weights(killed)["history"])) == 2
    assert told(train(killed)) == told(train(tmp_path / "whole"))
    whole, again = weights(tmp_path / "whole")["network"], weights(killed)["network"]
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_a_shorter_one_is_read_off_a_longer_one_and_fresh_begins_anew(tmp_path, monkeypatch):
    whole = train(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_epoch", None)  # nothing is trained
        assert str(train(tmp_path, epochs=2)) == str(whole[:2])
    again = train(tmp_path, epochs=1, fresh=True)
    assert told(again) == told(whole[:1])
    assert len(again) == 1


@pytest.mark.slow
def test_seeds_and_settings_have_checkpoints_of_their_own(tmp_path):
    losses = {
        train(tmp_path, epochs=1, **settings)[0].train_loss
        for settings in ({}, {"seed": 1}, {"weight_decay": 0.5}, {"nesterov": False},
                         {"optimizer": "Adam"}, {"held_out": 10})
    }  # fmt: skip
    assert len(losses) == len([*tmp_path.rglob("checkpoint.pt")]) == 6


def test_images_kept_aside_are_neither_trained_on_nor_lost(tmp_path):
    own = start(tmp_path, held_out=20)
    kept = {image.tobytes() for image in own._held_out.images.numpy()}
    rest = {image.tobytes() for image in own._training.images.numpy()}
    assert (len(kept), len(rest), kept & rest) == (20, 30, set())
    assert kept | rest == {image.tobytes() for image in DATA.training.images}
    with pytest.raises(D2EvalError, match="held_out = 50: there are 50 training images"):
        start(tmp_path, held_out=50)


def history(*held_out_losses):
    numbers = [0.0] * 3
    return [
        Epoch(k, 0.1, 1.0, 0.5, loss, 1.0, 0.5, *numbers, "", "")
        for k, loss in enumerate(held_out_losses, 1)
    ]


@pytest.mark.parametrize(
    ("losses", "patience", "epochs"),
    [
        ((3, 2, 1), 2, None),
        ((3, 2, 1, 0.5), 2, 4),
        ((3, 2, 2.5, 2.1), 2, 4),
        ((3, 2, 2.5, 1.9), 2, 4),
        ((3, 2, 2, 1.9), 1, 3),
        ((1, 2, 3, 4), 3, 4),
        ((1, 2, 3), 2, 3),
        ((math.nan, math.nan, math.nan), 0, None),
    ],
)
def test_it_ends_where_the_loss_no_longer_falls(losses, patience, epochs):
    own = dataclasses.replace(PAPER, epochs=4, patience=patience, held_out=10)
    found = ended(history(*losses), own)
    assert (None if found is None else len(found)) == epochs


def test_a_loss_that_is_none_is_one_line_and_is_not_kept(tmp_path):
    with pytest.raises(D2EvalError, match=r"SGD\(lr=1e\+30.*loss of epoch 1 is not finite"):
        train(tmp_path, learning_rate=1e30)
    assert not [*tmp_path.rglob("checkpoint.pt")]


@pytest.mark.parametrize("part", ["history", "network", "optimizer", None])
def test_a_broken_checkpoint_is_one_line(tmp_path, part):
    train(tmp_path, epochs=1)
    (path,) = tmp_path.rglob("checkpoint.pt")
    content = torch.load(path, weights_only=True)
    if part is None:
        path.write_bytes(path.read_bytes()[:-100])
    else:
        torch.save({**content, part: '[{"epoch": 1}]' if part == "history" else {}}, path)
    with pytest.raises(D2EvalError, match=r"checkpoint\.pt: .*broken checkpoint") as caught:
        train(tmp_path, epochs=2)
    assert "\n" not in str(caught.value)
