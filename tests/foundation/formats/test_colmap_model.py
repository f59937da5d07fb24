"""COLMAP models in text by hand; binary ones, and damage of both, are in the fuzz tests."""

import struct

import numpy as np
import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.colmap_model import read_model, read_model_points

CAMERAS = "# a comment\n7 PINHOLE 640 480 500 501 320 240\n"
IMAGES = "3 1 0 0 0 1 2 3 7 a b.jpg\n{keypoints}\n"
POINTS = "5 1.5 2.5 3.5 255 0 0 0.7 3 0\n"


def write(folder, keypoints):
    (folder / "cameras.txt").write_text(CAMERAS)
    (folder / "images.txt").write_text(IMAGES.format(keypoints=keypoints))
    (folder / "points3D.txt").write_text(POINTS)
    return folder


def test_a_model_by_hand(tmp_path):
    model = read_model(write(tmp_path, "10.5 20.5 5 30 40 -1"))
    assert model.cameras[7].matrix().tolist() == [[500, 0, 320], [0, 501, 240], [0, 0, 1]]
    image = model.images["a b.jpg"]
    assert (image.number, image.camera) == (3, 7)
    assert image.cam_from_world.translation.tolist() == [1, 2, 3]
    assert image.xy.tolist() == [[10.5, 20.5], [30, 40]]
    assert image.points.tolist() == [5, -1]
    assert model.points[5].xyz.tolist() == [1.5, 2.5, 3.5]
    assert model.points[5].track.tolist() == [[3, 0]]


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "5.5", "-2", str(2**53)])
def test_numbers_that_are_no_3d_point(tmp_path, number):
    with np.errstate(all="raise"), pytest.raises(D2EvalError, match="has a 3D point that is no id"):
        read_model(write(tmp_path, f"1 2 5 3 4 {number}"))


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_points_beyond_all_numbers(tmp_path, number):
    for name in ("cameras", "images"):
        (tmp_path / f"{name}.bin").write_bytes(struct.pack("<Q", 0))
    point = struct.pack("<QQ3d3BdQ", 1, number, 1, 2, 3, 0, 0, 0, 0.5, 0)
    (tmp_path / "points3D.bin").write_bytes(point)
    for read in (read_model, read_model_points):
        with pytest.raises(D2EvalError, match=f"points3D.bin: {number} is no point's id"):
            read(tmp_path)
