"""Training on real photos, and what the bundled trained weights do on real sequences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import DATA

from d2eval.cli import main

PHOTOS = DATA / "photos/BSDS500"
SEQUENCES = DATA / "hpatches-sequences-release"


def needs(folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip(f"real data are absent: {folder}")


@pytest.mark.slow
def test_forty_steps_on_real_photos_help(tmp_path):
    needs(PHOTOS)
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(sorted(PHOTOS.rglob("*.jpg"))[::11][:44]):
        (tmp_path / "photos" / f"{number:02}.jpg").symlink_to(photo)
    words = ["--data", f"homographies:{tmp_path / 'photos'}", "--output", str(tmp_path / "run")]
    words += ["--epochs", "1", "--workers", "0", "--validation-photos", "2"]
    words += ["--weights", "bundled", "--cache", str(tmp_path / "cache")]
    assert main(["train", *words]) == 0
    before, after = pd.read_csv(tmp_path / "run" / "epochs.csv").to_dict("records")
    assert after["pairs"] == 39
    assert after["validation_loss"] < 0.95 * before["validation_loss"]
    assert after["mma_5"] > before["mma_5"] - 0.03  # forty steps must not spoil it


def evaluated(folder: Path, sequence: str, *methods: str) -> list[pd.DataFrame]:
    """The rows of each method on one of the real sequences."""
    needs(SEQUENCES / sequence)
    words = ["hpatches", "--data", str(SEQUENCES), "--sequences", sequence]
    words += ["--weights", "bundled", "--cache", str(folder / "cache")]
    found = []
    for name in methods:
        assert main([*words, "--method", name, "--output", str(folder / name)]) == 0
        found += [pd.read_csv(path) for path in (folder / name / "hpatches").glob("*/pairs.csv")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["ss", "ms"])
@pytest.mark.parametrize("sequence", ["i_leuven", "v_bird"])
def test_trained_gives_more_and_better_matches(tmp_path, scale, sequence):
    untrained, trained = evaluated(tmp_path, sequence, f"d2_{scale}", f"d2_{scale}_trained")
    assert trained["features_k"].mean() > untrained["features_k"].mean()
    assert trained["mma_5px"].mean() > untrained["mma_5px"].mean()
    correct = [float(np.mean(rows["matches"] * rows["mma_5px"])) for rows in (untrained, trained)]
    assert correct[1] > 1.5 * correct[0]
