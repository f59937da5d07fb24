"""What a training from the bundled weights leaves and says, with MMA and pictures."""

import json

import pandas as pd
import pytest
import torch
from places import SHARED
from safetensors import safe_open
from safetensors.torch import load_file

from d2eval.foundation.files.reading import sha256_of
from methods.d2net.network import weights_by_layer
from methods.d2net.weights import load_weights

AUTHORS_LAYOUT = SHARED / "weights/d2_vgg16_hed.pth"


@pytest.fixture(scope="module")
def measured(run_training, tmp_path_factory):
    """The folder of a training that measures MMA and draws, and what it says."""
    folder, said = tmp_path_factory.mktemp("measured"), []
    options = {"seed": 5, "picture_every": 2, "validation_photos": 1}
    return run_training(folder / "run", folder / "cache", said, **options), said


def test_the_authors_file_holds_the_same_weights(measured):
    output, _ = measured
    content = torch.load(output / "best.pth", weights_only=True)
    assert list(content) == ["model"]
    ours, theirs = load_file(output / "best.safetensors"), content["model"]
    # As in the authors' nn.Sequential of torchvision's VGG16
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
    parts = [f"{index}.{part}" for index in indices for part in ("weight", "bias")]
    assert list(theirs) == [f"dense_feature_extraction.model.{part}" for part in parts]
    if AUTHORS_LAYOUT.is_file():
        expected = torch.load(AUTHORS_LAYOUT, weights_only=True)["model"]
        assert {n: (t.shape, t.dtype) for n, t in theirs.items()} == {
            n: (t.shape, t.dtype) for n, t in expected.items()
        }
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    found = load_weights((output / "best.pth",))
    assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_what_a_training_leaves(measured):
    output, _ = measured
    weights = load_file(output / "best.safetensors")
    weights_by_layer(weights)
    manifest = json.loads((output / "manifest.json").read_text())
    epochs = pd.read_csv(output / "epochs.csv")
    best = epochs.loc[epochs["validation_loss"].idxmin()]
    assert manifest["by"] == "test"
    assert manifest["epoch"] == best["epoch"]
    assert manifest["validation_loss"] == pytest.approx(best["validation_loss"])
    assert manifest["training"]["seed"] == 5
    assert manifest["training"]["held"]["0"]["photos"] == 2
    assert manifest["training"]["held_out"]["0"]["photos"] == 1
    assert manifest["sha256"] == sha256_of(output / "best.safetensors")
    with safe_open(output / "best.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == str(manifest["epoch"])
        assert json.loads(file.metadata()["training"]) == manifest["training"]
    assert epochs.loc[1, "pairs"] == 2
    steps = pd.read_csv(output / "steps.csv")
    assert epochs.loc[1, "train_loss"] == pytest.approx(steps["loss"].mean())
    assert [p.name for p in (output / "pictures").iterdir()] == ["step_0000002.png"]
    assert 0 < epochs.loc[1, "mma_5"] <= 1
    assert (output / "curves.png").stat().st_size > 10_000


def test_what_a_training_says(measured):
    first, *epochs, last = measured[1]
    assert first.startswith("start: bundled stand-in (a stand-in for the authors'")
    assert first.endswith("2 pairs an epoch and 1 for validation; 1 epochs")
    assert [line.partition(":")[0] for line in epochs] == ["epoch 0", "epoch 1"]
    assert epochs[0].startswith("epoch 0: validation loss")
    assert "epoch 1: 2 pairs, 0 skipped, loss" in epochs[1]
    assert "MMA@5px" in epochs[1]
    assert last.startswith("lowest validation loss")
