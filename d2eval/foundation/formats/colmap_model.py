"""Reads COLMAP's models, strictly, from their binary or text files.

pycolmap takes what is left of a file that was cut short for the whole of it, reads on for ever, or
ends the process. A text file of images has no count that is to be trusted; that one was cut shows
where points or images lack what the others name.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.formats.colmap_formats import (
    NO_POINT,
    REMEDY,
    FloatArray,
    ModelCamera,
    ModelImage,
    ModelPoint,
    binary_cameras,
    binary_images,
    binary_points,
    text_cameras,
    text_images,
    text_points,
)


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """An undistorted model: cameras and points by id, images by name."""

    cameras: dict[int, ModelCamera]
    images: dict[str, ModelImage]
    points: dict[int, ModelPoint]


def read_model(folder: Path) -> ColmapModel:
    """An undistorted model, from its binary files or, where there is none, its text files.

    Raises:
        D2EvalError: a file is missing, damaged, cut short or too long, a camera has distortion, or
            what an image or a 3D point names isn't there.
    """
    suffix = ".bin" if is_there(folder / "images.bin") else ".txt"
    paths = [folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D")]
    readers: Any = (
        (binary_cameras, binary_images, binary_points)
        if suffix == ".bin"
        else (text_cameras, text_images, text_points)
    )
    tables: list[dict[Any, Any]] = []
    for path, read in zip(paths, readers, strict=True):
        table: dict[Any, Any] = {}
        for key, value in _entries(path, read):
            if key in table:
                raise D2EvalError(f"{path}: {key} stands twice; {REMEDY}")
            table[key] = value
        tables.append(table)
    model = ColmapModel(*tables)
    _check_images(model, paths)
    _check_tracks(model, paths[2])
    return model


def _check_images(model: ColmapModel, paths: list[Path]) -> None:
    known = np.fromiter(model.points, np.int64, len(model.points))
    for name, image in model.images.items():
        if image.camera not in model.cameras:
            raise D2EvalError(
                f"{paths[1]}: {name} has camera {image.camera}, which {paths[0].name} lacks; "
                f"{REMEDY}"
            )
        named = image.points[image.points != NO_POINT]
        if not np.isin(named, known).all():
            raise D2EvalError(
                f"{paths[1].parent}: {name} shows a 3D point that points3D lacks; {REMEDY}"
            )


def _check_tracks(model: ColmapModel, path: Path) -> None:
    """Raises where points are shown by what isn't there, as after images were cut."""
    tracks = [point.track for point in model.points.values()]
    images, keypoints = np.concatenate([np.zeros((0, 2), np.int64), *tracks]).T
    counts = {image.number: len(image.xy) for image in model.images.values()}
    known = np.array(sorted(counts), np.int64)
    most = np.array([counts[number] for number in known.tolist()], np.int64)
    place = np.searchsorted(known, images)
    there = np.isin(images, known)
    there[there] = keypoints[there] < most[place[there]]
    if len(counts) < len(model.images) or not there.all():
        raise D2EvalError(
            f"{path}: its tracks don't fit the images' file ({np.count_nonzero(~there)} name an "
            f"image or keypoint that isn't there); {REMEDY}"
        )


def read_model_poses(folder: Path) -> dict[str, pycolmap.Rigid3d]:
    """``cam_from_world`` by name of the images in ``images.bin``.

    Raises:
        D2EvalError: it is missing, damaged, cut short or too long.
    """
    images = _entries(folder / "images.bin", binary_images)
    return {name: image.cam_from_world for name, image in images}


def read_model_points(folder: Path) -> FloatArray:
    """(P, 3) the points in ``points3D.bin``, in the world.

    Raises:
        D2EvalError: it is missing, damaged, cut short or too long.
    """
    points = [point.xyz for _, point in _entries(folder / "points3D.bin", binary_points)]
    return np.array(points, np.float64).reshape(-1, 3)


def _entries(path: Path, read: Any) -> Iterator[tuple[Any, Any]]:
    """What ``read`` yields of a file; damage becomes one line."""
    try:
        yield from read(path)
    except (ValueError, OverflowError, MemoryError, struct.error) as error:
        raise D2EvalError(f"{path}: {reason_of(error)}; {REMEDY}") from error
