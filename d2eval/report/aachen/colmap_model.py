"""Reads poses and points of a COLMAP model, strictly.

pycolmap takes what is left of a file that was cut short for the whole of it, or reads on for ever.
The layout is COLMAP's (``src/colmap/scene/reconstruction_io_binary.cc``), little-endian.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.files import read_bytes
from d2eval.localization import pose_from_wxyz
from d2eval.words import check_name

_COUNT = struct.Struct("<Q")
_IMAGE = struct.Struct("<I7dI")  # id, quaternion w x y z, translation, camera
_POINT = struct.Struct("<Q3d3BdQ")  # id, position, colour, error, track length
_OBSERVATION_BYTES, _TRACK_ELEMENT_BYTES = 24, 8


def read_model_poses(folder: Path) -> dict[str, pycolmap.Rigid3d]:
    """``cam_from_world`` of the model's images by name.

    Raises:
        ValueError: ``images.bin`` is cut short or too long.
        D2EvalError: a pose is not finite, or a name isn't that of an image.
        OSError: it can't be read.
    """
    path = folder / "images.bin"
    data = read_bytes(path)
    poses = {}
    count, offset = _start(data, path)
    for _ in range(count):
        fields, offset = _next(_IMAGE, data, offset, path)
        end = data.find(b"\0", offset)
        if end < 0:
            raise ValueError(f"{path.name} is cut short")
        name = check_name(data[offset:end].decode(), f"{path}: byte {offset}")
        (observations,), offset = _next(_COUNT, data, end + 1, path)
        offset += observations * _OBSERVATION_BYTES
        poses[name] = pose_from_wxyz(fields[1:5], fields[5:8], f"{path}: {name}")
    _end(data, offset, path)
    return poses


def read_model_points(folder: Path) -> npt.NDArray[np.float64]:
    """(P, 3) the model's points, in the world.

    Raises:
        ValueError: ``points3D.bin`` is cut short or too long.
        OSError: it can't be read.
    """
    path = folder / "points3D.bin"
    data = read_bytes(path)
    points = []
    count, offset = _start(data, path)
    for _ in range(count):
        fields, offset = _next(_POINT, data, offset, path)
        points.append(fields[1:4])
        offset += fields[8] * _TRACK_ELEMENT_BYTES
    _end(data, offset, path)
    return np.array(points, np.float64).reshape(-1, 3)


def _start(data: bytes, path: Path) -> tuple[int, int]:
    (count,), offset = _next(_COUNT, data, 0, path)
    return int(count), offset


def _next(
    layout: struct.Struct, data: bytes, offset: int, path: Path
) -> tuple[tuple[Any, ...], int]:
    if offset + layout.size > len(data):
        raise ValueError(f"{path.name} is cut short")
    return layout.unpack_from(data, offset), offset + layout.size


def _end(data: bytes, offset: int, path: Path) -> None:
    if offset != len(data):
        raise ValueError(f"{path.name} has {len(data)} bytes, not the {offset} of its entries")
