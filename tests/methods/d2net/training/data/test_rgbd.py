"""Training on real RGB-D images as posed images in folders, judged by the scans' points."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from places import DATA
from scipy.io import loadmat

from d2eval.cli import main
from d2eval.foundation.images.decoding import read_image
from methods.d2net.training.data.posed import PosedPairs

PLACE = DATA / "inloc-hololens"
SCANS = ("DUC1/004", "DUC1/000", "DUC2/005")  # neighbours overlap; the first is held out
CELL, CROP = 8, 256


def pose_of(places: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """The 4x4 pose from the (H, W, 3) places that an image shows, NaN where unknown."""
    rows, columns = np.nonzero(np.isfinite(places).all(axis=2))
    some = np.random.default_rng(0).permutation(len(rows))[:3000]
    pixels = np.stack([columns[some], rows[some]], axis=1).astype(float)
    shown = places[rows[some], columns[some]]
    found, turn, move = cv2.solvePnP(shown, pixels, intrinsics, None)
    off = cv2.projectPoints(shown, turn, move, intrinsics, None)[0][:, 0] - pixels
    assert found
    assert np.abs(off).mean() < 0.5
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], move[:, 0]
    return pose


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """folder: a scene of each scan; places: the scans' points by image name, (H, W, 3) metres."""
    if not PLACE.is_dir():
        pytest.skip(f"real data are absent: {PLACE}")
    words = (PLACE / "query" / "intrinsics.txt").read_text().split()
    fx, fy, cx, cy = map(float, words[4:8])  # one camera took all; from the first pixel's centre
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    from_corner = [[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]]
    folder, places = tmp_path_factory.mktemp("rooms"), {}
    for number, scan in enumerate(SCANS):
        scene, cameras = folder / f"{number}", {}
        for name in ("images", "depth"):
            (scene / name).mkdir(parents=True)
        cutouts = sorted(
            (PLACE / "database" / "cutouts" / scan).glob("*.jpg"),
            key=lambda path: int(path.stem.split("_")[-2]),
        )
        for cutout in cutouts:
            name = f"{number}-{cutout.name}"
            shown = loadmat(f"{cutout}.mat")["XYZcut"].astype(float)
            pose = pose_of(shown, intrinsics)
            depth = shown @ pose[2, :3] + pose[2, 3]
            shutil.copy(cutout, scene / "images" / name)
            np.save(scene / "depth" / name.replace(".jpg", ".npy"), depth.astype(np.float32))
            cameras[name] = {"intrinsics": from_corner, "cam_from_world": pose.tolist()}
            places[name] = shown
        (scene / "cameras.json").write_text(json.dumps(cameras))
        pairs = zip(cameras, list(cameras)[1:], strict=False)
        (scene / "pairs.txt").write_text("".join(f"{a} {b}\n" for a, b in pairs))
    return SimpleNamespace(folder=folder, places=places)


def cut_out_of(crop: np.ndarray, path: Path, places: np.ndarray) -> np.ndarray:
    """The (256, 256, 3) places that a crop of an image shows."""
    difference = cv2.matchTemplate(read_image(path), crop, cv2.TM_SQDIFF)
    top, left = np.unravel_index(difference.argmin(), difference.shape)
    assert np.array_equal(read_image(path)[top : top + CROP, left : left + CROP], crop)
    return places[top : top + CROP, left : left + CROP]


@pytest.mark.parametrize("held_out", [False, True])
def test_cells_that_correspond_show_the_same_place(rooms, held_out):
    source, drawn = PosedPairs(rooms.folder, held_out), 0
    for index in range(len(source)):
        pair = source.draw(index, np.random.default_rng(index))
        if pair is None:  # over a third of the pixels have no depth
            continue
        scene, _, names = pair.name.partition("/")
        first, second = (
            cut_out_of(crop, rooms.folder / scene / "images" / name, rooms.places[name])
            for crop, name in zip((pair.image_1, pair.image_2), names.split(), strict=True)
        )
        away = []
        for (i, j), (m, n) in zip(pair.cells_1 * CELL, pair.cells_2 * CELL, strict=True):
            here = first[i + 3 : i + 5, j + 3 : j + 5].reshape(-1, 3)  # around the cell's centre
            there = second[m : m + CELL, n : n + CELL].reshape(-1, 3)
            gaps = np.linalg.norm(here[:, None] - there, axis=2)
            away.append(np.nanmin(gaps) if np.isfinite(gaps).any() else np.inf)
        # The maps are rounded to 4 mm; beside the right cell the nearest place is centimetres away.
        assert np.median(away) < 0.01
        assert max(away) < 0.05
        drawn += 1
    assert drawn > len(source) / 2


@pytest.mark.slow
def test_an_epoch_on_them_learns(rooms, tmp_path):
    words = ["--data", f"posed:{rooms.folder}", "--output", str(tmp_path / "run")]
    words += ["--epochs", "1", "--workers", "0", "--validation-photos", "2"]
    words += ["--learning-rate", "1e-4", "--weights", "bundled", "--cache", str(tmp_path / "cache")]
    assert main(["train", *words]) == 0
    before, after = pd.read_csv(tmp_path / "run" / "epochs.csv").to_dict("records")
    assert after["pairs"] == 5
    assert after["validation_loss"] < 0.98 * before["validation_loss"]
    assert after["mma_5"] > before["mma_5"] - 0.05  # five steps must not spoil it
