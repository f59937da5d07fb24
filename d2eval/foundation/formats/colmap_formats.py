"""The entries of COLMAP's model files, binary or text, read strictly.

The layouts are COLMAP's (``src/colmap/scene/reconstruction_io_binary.cc`` and
``reconstruction_io_text.cc``), binary ones little-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_bytes, read_lines
from d2eval.foundation.formats.poses import pose_from_wxyz
from d2eval.foundation.text.words import check_name

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NO_POINT = -1  # of a keypoint that belongs to no 3D point
PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4}  # focal length(s), then the principal point
LINE_BYTES = 2**26  # an image's keypoints are one line
LARGEST = 2**53  # id that a text file's number is exact to
_MODELS = ("SIMPLE_PINHOLE", "PINHOLE")  # by COLMAP's number
_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")  # id, model, width, height
_IMAGE = struct.Struct("<I7dI")  # id, quaternion w x y z, translation, camera
_POINT = struct.Struct("<Q3d3BdQ")  # id, position, colour, error, track length
_OBSERVATIONS = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
REMEDY = "replace the model"


@dataclass(frozen=True)
class ModelCamera:
    """An undistorted camera; ``model`` is one of `PARAMETERS`, whose numbers are finite."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]

    def matrix(self) -> FloatArray:
        """(3, 3) intrinsics, from the top-left pixel's upper left corner."""
        fx, fy, cx, cy = self.parameters[:1] + self.parameters[-3:]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


@dataclass(frozen=True, eq=False)
class ModelImage:
    """An image of a model."""

    number: int  # its id
    name: str  # its path below the images' folder
    camera: int  # its camera's id
    cam_from_world: pycolmap.Rigid3d  # its pose
    xy: FloatArray  # (K, 2) keypoints, from the top-left pixel's upper left corner
    points: IntArray  # (K,) ids of their 3D points, or `NO_POINT`


@dataclass(frozen=True, eq=False)
class ModelPoint:
    """(3,) place in the world, and (T, 2) which keypoints of which images show it, by number."""

    xyz: FloatArray
    track: IntArray


def _camera(path: Path, model: str, size: tuple[int, int], numbers: FloatArray) -> ModelCamera:
    if model not in PARAMETERS:
        raise D2EvalError(
            f"{path.parent}: has a {model[:30]!a} camera; undistort the model with COLMAP's "
            "image_undistorter".replace("'", "", 2)
        )
    if len(numbers) != PARAMETERS[model] or not np.isfinite(numbers).all() or min(size) < 1:
        raise ValueError(f"a camera of {size} pixels with {numbers.tolist()} is none")
    return ModelCamera(model, *size, tuple(numbers.tolist()))


def _image(
    path: Path, number: int, name: str, pose: Any, camera: int, seen: tuple[FloatArray, IntArray]
) -> tuple[str, ModelImage]:
    check_name(name, str(path))
    placed = pose_from_wxyz(pose[:4], pose[4:7], f"{path}: {name}")
    if not np.isfinite(seen[0]).all():
        raise ValueError(f"{name} has a keypoint that isn't finite")
    return name, ModelImage(number, name, camera, placed, *seen)


def _point(number: int, xyz: Any, track: Any) -> tuple[int, ModelPoint]:
    place = np.asarray(xyz, np.float64)
    if not np.isfinite(place).all():
        raise ValueError(f"point {number} isn't finite")
    if number > np.iinfo(np.int64).max:  # COLMAP's mark of no point, or damage
        raise ValueError(f"{number} is no point's id")
    return number, ModelPoint(place, np.asarray(track, np.int64).reshape(-1, 2))


class _Bytes:
    """The entries of a binary file, in their order."""

    def __init__(self, path: Path) -> None:
        self._data, self._offset = read_bytes(path), 0

    def skip(self, count: int) -> int:
        """Where the ``count`` bytes that are next begin."""
        start, self._offset = self._offset, self._offset + count
        if self._offset > len(self._data):
            raise ValueError("is cut short")
        return start

    def next(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack_from(self._data, self.skip(layout.size))

    def array(self, dtype: Any, count: int) -> npt.NDArray[Any]:
        start = self.skip(np.dtype(dtype).itemsize * count)
        return np.frombuffer(self._data, dtype, count, start)

    def name(self) -> str:
        end = self._data.find(b"\0", self._offset)
        if end < 0:
            raise ValueError("is cut short")
        start = self.skip(end + 1 - self._offset)
        return self._data[start:end].decode()

    def counted(self) -> Iterator[None]:
        """As often as the file's count says, which its end must agree with."""
        for _ in range(self.next(_COUNT)[0]):
            yield
        if self._offset != len(self._data):
            raise ValueError(f"has {len(self._data)} bytes, not the {self._offset} of its entries")


def binary_cameras(path: Path) -> Iterator[tuple[int, ModelCamera]]:
    """The cameras by id, of ``cameras.bin``."""
    data = _Bytes(path)
    for _ in data.counted():
        number, kind, width, height = data.next(_CAMERA)
        model = _MODELS[kind] if 0 <= kind < len(_MODELS) else pycolmap.CameraModelId(kind).name
        numbers = data.array("<f8", PARAMETERS.get(model, 0))
        yield number, _camera(path, model, (width, height), numbers)


def binary_images(path: Path) -> Iterator[tuple[str, ModelImage]]:
    """The images by name, of ``images.bin``."""
    data = _Bytes(path)
    for _ in data.counted():
        fields = data.next(_IMAGE)
        name = data.name()
        found = data.array(_OBSERVATIONS, data.next(_COUNT)[0])
        seen = (found["xy"], found["point"])
        yield _image(path, fields[0], name, fields[1:8], fields[8], seen)


def binary_points(path: Path) -> Iterator[tuple[int, ModelPoint]]:
    """The 3D points by id, of ``points3D.bin``."""
    data = _Bytes(path)
    for _ in data.counted():
        fields = data.next(_POINT)
        yield _point(fields[0], fields[1:4], data.array("<u4", 2 * fields[8]))


def _lines(path: Path) -> Iterator[str]:
    return (line for _, line in read_lines(path, REMEDY, LINE_BYTES))


def _fields(path: Path, lines: Iterator[str], least: int) -> Iterator[list[str]]:
    """The words of lines that are no comment and not empty."""
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < least:
            raise ValueError(f"{line[:80]!a} has {len(words)} fields, not {least} or more")
        yield words


def _number(text: str) -> int:
    number = int(text) if len(text) < 20 else LARGEST
    if not 0 <= number < LARGEST:
        raise ValueError(f"{text[:30]!a} is no id or size")
    return number


def text_cameras(path: Path) -> Iterator[tuple[int, ModelCamera]]:
    """The cameras by id, of ``cameras.txt``."""
    for words in _fields(path, _lines(path), 4):
        numbers = np.array(words[4:], np.float64)
        size = (_number(words[2]), _number(words[3]))
        yield _number(words[0]), _camera(path, words[1], size, numbers)


def text_images(path: Path) -> Iterator[tuple[str, ModelImage]]:
    """The images by name, of ``images.txt``."""
    lines = _lines(path)
    for words in _fields(path, lines, 10):
        observations = np.array(next(lines, "").split(), np.float64)
        if len(observations) % 3:
            raise ValueError(f"the keypoints of {words[9][:80]!a} aren't X, Y and a 3D point each")
        found = observations.reshape(-1, 3)
        ids = found[:, 2]
        whole = (ids >= NO_POINT) & (ids < LARGEST) & (ids == np.floor(ids))
        if not whole.all():
            raise ValueError(f"a keypoint of {words[9][:80]!a} has a 3D point that is no id")
        pose = np.array(words[1:8], np.float64)
        name = " ".join(words[9:])
        seen = (found[:, :2], ids.astype(np.int64))
        yield _image(path, _number(words[0]), name, pose, _number(words[8]), seen)


def text_points(path: Path) -> Iterator[tuple[int, ModelPoint]]:
    """The 3D points by id, of ``points3D.txt``."""
    for words in _fields(path, _lines(path), 8):
        if len(words) % 2:
            raise ValueError(f"the track of point {words[0][:20]!a} lacks a number")
        xyz = np.array(words[1:4], np.float64)
        yield _point(_number(words[0]), xyz, [_number(word) for word in words[8:]])
