import io
import math
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import pytest
from inloc_folder import CUTOUTS, Q1, Q2, InlocFolder, alignment_of
from PIL import Image

from d2eval.foundation.images.decoding import load_image_file
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset, load_dataset
from d2eval.inloc.pictures import BEST, write_views
from d2eval.inloc.protocol import load_benchmark
from d2eval.inloc.verification.dense_pv import DensePVSettings, verify_pose
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import scaled_intrinsics

SCAN = ("DUC1", "000")
SETTINGS = DensePVSettings(**load_benchmark().strategy("dense_pv"))
# The camera of the query stands where the scanner stood.
POSE = pycolmap.Rigid3d(np.linalg.inv(alignment_of(SCAN))[:3])


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A query of 512x384 in front of a wall of which the left part has no points."""
    folder = InlocFolder(tmp_path / "data")
    folder.write()
    x, y = np.meshgrid(np.linspace(-0.6, 2, 260), np.linspace(-1.5, 1.5, 300))
    folder.write_scan(SCAN, np.stack([x, y, np.full(x.shape, 2.0)], axis=2).reshape(-1, 3))
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise).resize((512, 384), Image.Resampling.BICUBIC).save(folder.query(Q1))
    return load_dataset(folder.root, load_benchmark())


def candidate(index: int, pose: pycolmap.Rigid3d | None, score: float) -> Candidate:
    return Candidate(Q1, CUTOUTS[index], 0.5, 9, 9, 1, 9, 9, pose, 9.5, score)


def test_views(dataset: Dataset, tmp_path: Path) -> None:
    small = shrink(load_image_file(dataset.queries[Q1]).decode(), SETTINGS.scale)
    K = scaled_intrinsics(dataset.query_camera(Q1, (512, 384)), SETTINGS.scale)
    spatial = Database3D(dataset)
    verified = verify_pose(small, spatial.scan(*SCAN), K, POSE, SETTINGS)
    assert verified.score > 0 and verified.view is not None
    listed = [candidate(0, POSE, verified.score), candidate(2, None, 0.0), candidate(1, POSE, 0.0)]
    path = tmp_path / "run/views.h5"
    write_views(path, dataset, spatial, {Q1: listed, Q2: []}, SETTINGS)
    with h5py.File(path) as file:
        first, second = file["0"], file["1"]
        assert (first.attrs["name"], second.attrs["name"]) == (Q1, Q2)
        # The second has no pose, the third is none of the best.
        assert BEST == 2 and set(first) == {"image", "1"} and set(second) == {"image"}
        image = np.asarray(Image.open(io.BytesIO(first["image"][()].tobytes())))
        assert image.shape == small.shape == (48, 64, 3)
        assert np.abs(image.astype(int) - small).mean() < 6
        view = first["1"]
        assert view.attrs["name"] == CUTOUTS[0]
        assert view.attrs["score"] == verified.score
        np.testing.assert_array_equal(view["valid"], verified.view.valid)
        assert 0.1 < verified.view.valid.mean() < 0.9
        rendered = np.asarray(Image.open(io.BytesIO(view["image"][()].tobytes())))
        assert rendered.shape == small.shape
        centers, distances = view["centers"][()], view["distances"][()]
        assert verified.view.valid[centers[:, 1], centers[:, 0]].all()
        assert math.isclose(1 / np.median(distances), verified.score, rel_tol=2e-3)


def test_a_pose_that_sees_nothing(dataset: Dataset, tmp_path: Path) -> None:
    away = pycolmap.Rigid3d(np.diag([-1.0, 1, -1, 1])[:3]) * POSE  # turned around
    path = tmp_path / "views.h5"
    write_views(path, dataset, Database3D(dataset), {Q1: [candidate(0, away, 0.0)]}, SETTINGS)
    with h5py.File(path) as file:
        view = file["0/1"]
        assert not view["valid"][()].any()
        assert view["centers"].shape == (0, 2) and view["distances"].shape == (0,)
