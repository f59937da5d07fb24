"""Features in hloc's layout: one HDF5 file with a group for each image, named by its path.

Source: hloc at c13273b, ``hloc/extract_features.py``. A group holds ``keypoints`` (N, 2) from the
centre of the top-left pixel (hloc adds the half pixel that COLMAP needs itself), ``scores`` (N,),
``descriptors`` (D, N) and ``image_size`` (width, height); ``scales`` (N,) and ``oris`` (N,) degrees
where a method has them. hloc writes 16 bits by default.
"""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import OPTIONAL as FEATURES_OPTIONAL
from d2eval.contracts.features import PIXEL_CENTER, Features
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import require_file
from d2eval.foundation.formats.hdf5 import member, open_hdf5, plain_attribute, read_dataset
from d2eval.foundation.machine.apart import run_apart

Arrays = dict[str, npt.NDArray[Any]]

SUFFIX = ".h5"
REQUIRED = ("keypoints", "descriptors", "scores", "image_size")
# Radians beside hloc's degrees, since the way there and back would move their last bits
OPTIONAL = (*FEATURES_OPTIONAL, "oris")
OWN_CENTER = "own_pixel_center"  # attribute of keypoints: where a method's own files have it
WHAT, REMEDY = "file of features", "write it again"


def write_group(file: h5py.File, name: str, features: Features) -> None:
    """Adds an image's features, float32: 16 bits would move keypoints of large images.

    What hloc has no name for stands beside: ``orientations`` (N,) in radians, ``affine_shapes`` (N,
    2, 2), and as an attribute of the keypoints where the method's own files have the centre of the
    top-left pixel, if not at (0, 0). It passes over them.
    """
    group = file.create_group(name)
    group["keypoints"] = features.keypoints
    group["scores"] = features.scores
    group["descriptors"] = np.ascontiguousarray(features.descriptors.T)
    group["image_size"] = np.array(features.image_size, np.int64)
    for optional in FEATURES_OPTIONAL:
        if getattr(features, optional) is not None:
            group[optional] = getattr(features, optional)
    if features.origin != "center":
        group["keypoints"].attrs[OWN_CENTER] = PIXEL_CENTER[features.origin]


def read_group(path: Path, name: str) -> tuple[Arrays, str]:
    """An image's arrays as the file holds them, and the SHA-256 of their content.

    Returns:
        Those of `REQUIRED` and `OPTIONAL` that are there, and `OWN_CENTER` if it is.

    Raises:
        D2EvalError: the file is missing or broken, has no such image, or lacks an array.
    """
    arrays = run_apart(_read_arrays, path, require_file(path, REMEDY), name)
    digest = hashlib.sha256()
    for key, array in sorted(arrays.items()):
        digest.update(f"{key} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return arrays, digest.hexdigest()


def _read_arrays(path: Path, name: str) -> Arrays:
    with open_hdf5(path, WHAT, REMEDY) as (file, budget):
        group: Any = file
        for part in name.split("/"):
            group = member(group, part) if isinstance(group, h5py.Group) else None
        if not isinstance(group, h5py.Group):
            raise D2EvalError(f"{path}: holds no features of {name}; extract them first")
        items = {key: member(group, key) for key in (*REQUIRED, *OPTIONAL)}
        missing = [key for key in REQUIRED if items[key] is None]
        if missing:
            raise D2EvalError(
                f"{path}: {name} has no {' and no '.join(missing)}; expected hloc's layout"
            )
        arrays = {
            key: read_dataset(item, budget) for key, item in items.items() if item is not None
        }
        center = plain_attribute(items["keypoints"], OWN_CENTER)
        if center is not None:
            arrays[OWN_CENTER] = np.asarray(center)
    return arrays
