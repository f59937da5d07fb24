"""Depth maps from disk, and posed views made of them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError, MissingFileError
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.formats import npz
from d2eval.foundation.formats.hdf5 import array_shape, read_array
from d2eval.foundation.images.decoding import read_image, read_samples
from methods.d2net.training.data.depth_warp import DepthMap, PosedView
from methods.d2net.training.data.pairs import FloatArray

WHAT, REMEDY = "depth map", "replace the file"
MILLIMETRES = 1000.0  # to a metre
H5_DATASET = "depth"  # of MegaDepth's files
ROTATION_TOLERANCE = 1e-3  # of R R^T against the identity


def _read_npy(path: Path) -> npt.NDArray[np.generic]:
    return npz.read_npy(path, read_bytes(path), REMEDY, WHAT)


def _read_h5(path: Path) -> npt.NDArray[np.generic]:
    return read_array(path, H5_DATASET, WHAT, REMEDY)


def h5_depth_size(path: Path) -> tuple[int, int]:
    """(width, height) of MegaDepth's depth map, from the file's header alone.

    Raises:
        D2EvalError: the file is broken or holds no depth map.
    """
    shape = array_shape(path, H5_DATASET, WHAT, REMEDY)
    if len(shape) != 2:
        raise D2EvalError(f"{path}: a {WHAT} of shape {shape}; {REMEDY}")
    return shape[1], shape[0]


def _read_png(path: Path) -> npt.NDArray[np.generic]:
    return read_samples(path, "(millimetres); write it as one or as .npy") / MILLIMETRES


READERS = {".npy": _read_npy, ".png": _read_png, ".h5": _read_h5}


def read_depth(path: Path) -> DepthMap:
    """Reads .npy (any unit), .png (16 bits, millimetres, given in metres) or .h5 (any unit).

    Returns:
        (H, W) float32; 0 where the file has 0, NaN or infinity.

    Raises:
        D2EvalError: the file is missing or broken, or holds no depth map.
    """
    try:
        values = READERS[path.suffix](path)
    except MissingFileError as error:
        raise D2EvalError(f"{path}: no such depth map; every image needs one") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise D2EvalError(
            f"{path}: holds {'x'.join(map(str, values.shape))} values of type {values.dtype}, not "
            "a depth for each pixel; replace the file"
        )
    with np.errstate(over="ignore"):
        depth = values.astype(np.float32)
    depth[~np.isfinite(depth)] = 0
    if depth.min(initial=0) < 0:
        raise D2EvalError(f"{path}: holds negative depths; use 0 where the depth is not known")
    return depth


def read_view(
    image_path: Path, depth_path: Path, intrinsics: FloatArray, cam_from_world: FloatArray
) -> PosedView:
    """An image with its depth map.

    Raises:
        D2EvalError: a file is missing or broken, or their sizes differ.
    """
    image, depth = read_image(image_path), read_depth(depth_path)
    if depth.shape != image.shape[:2]:
        (height, width), (image_height, image_width) = depth.shape, image.shape[:2]
        raise D2EvalError(
            f"{depth_path}: is {width}x{height}, but {image_path.name} is "
            f"{image_width}x{image_height}; a depth map has the size of its image"
        )
    return PosedView(image, depth, intrinsics, cam_from_world)


def check_camera(intrinsics: FloatArray, cam_from_world: FloatArray) -> str | None:
    """What is wrong with a pinhole camera and its rigid pose, or None."""
    for name, matrix, shape in (
        ("intrinsics", intrinsics, (3, 3)),
        ("cam_from_world", cam_from_world, (4, 4)),
    ):
        if matrix.shape != shape:
            return f"{name} is not {shape[0]}x{shape[1]} numbers"
        if not np.isfinite(matrix).all():
            return f"{name} holds NaN or infinite values"
    focal, skew = np.diag(intrinsics)[:2], intrinsics[[0, 1], [1, 0]]
    if (focal <= 0).any() or skew.any() or not np.array_equal(intrinsics[2], [0, 0, 1]):
        return "intrinsics is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
    rotation = cam_from_world[:3, :3]
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    rigid = off < ROTATION_TOLERANCE and np.linalg.det(rotation) > 0
    if not rigid or not np.array_equal(cam_from_world[3], [0, 0, 0, 1]):
        return "cam_from_world is not a rotation and translation [[R, t], [0, 0, 0, 1]]"
    return None
