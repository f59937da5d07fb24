"""The file of a prepared scene of MegaDepth: its arrays, and whether they go together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import open_bytes
from d2eval.foundation.formats import npz

FORMAT = 1  # of the files; others are written anew
REMEDY = "run 'd2eval prepare megadepth' again"

# What a file holds beside "format", for I images, P pairs and M observations of 3D points:
# name -> (kinds of type, number of dimensions).
FIELDS = {
    "root": ("U", 0),  # MegaDepth's folder; the paths are below it
    "image_paths": ("U", 1),  # (I,)
    "depth_paths": ("U", 1),  # (I,)
    "intrinsics": ("f", 3),  # (I, 3, 3), COLMAP's pixels
    "poses": ("f", 3),  # (I, 4, 4), world to camera
    "pairs": ("iu", 2),  # (P, 2), ordered, all that share a 3D point
    "overlaps": ("f", 1),  # (P,), shared 3D points / those of the first image
    "scale_ratios": ("f", 1),  # (P,), the least of a shared 3D point, see `prepare`
    "offsets": ("iu", 1),  # (I + 1,), where each image's observations begin
    "point_ids": ("iu", 1),  # (M,), ascending in each image
    "points": ("f", 2),  # (M, 2), COLMAP's pixels
    "normalized_depths": ("f", 1),  # (M,), depth / focal length
}
# The lengths of their dimensions, by what is counted.
SHAPES: Mapping[str, tuple[str | int, ...]] = {
    "image_paths": ("images",),
    "depth_paths": ("images",),
    "intrinsics": ("images", 3, 3),
    "poses": ("images", 4, 4),
    "pairs": ("pairs", 2),
    "overlaps": ("pairs",),
    "scale_ratios": ("pairs",),
    "point_ids": ("observations",),
    "points": ("observations", 2),
    "normalized_depths": ("observations",),
}

# What a pair is drawn from, without what chooses the pairs: most of a large scene's file.
DRAWN_FROM = tuple(name for name in FIELDS if name not in ("pairs", "overlaps", "scale_ratios"))


def read_scene_file(path: Path, names: Sequence[str] = tuple(FIELDS)) -> dict[str, Any]:
    """Some arrays of a scene's file, by name; see `FIELDS`.

    Raises:
        D2EvalError: the file is missing, broken or of another version, or its arrays don't go
            together.
    """
    wanted = ("format", *names)
    with open_bytes(path, REMEDY) as file:
        arrays = npz.read_npz(path, file, wanted, REMEDY, "scene file")
    lacking = [name for name in wanted if name not in arrays]
    if lacking:
        raise D2EvalError(f"{path}: broken scene file (lacks {', '.join(lacking)}); {REMEDY}")
    version = arrays.pop("format")
    if version.shape != () or version.dtype.kind not in "iu" or int(version) != FORMAT:
        raise D2EvalError(f"{path}: is of another version; {REMEDY}")
    for name, array in arrays.items():
        kinds, dimensions = FIELDS[name]
        if array.dtype.kind not in kinds or array.ndim != dimensions:
            raise D2EvalError(f"{path}: broken scene file ({name} is of another type); {REMEDY}")
    problem = _misfit(arrays)
    if problem:
        raise D2EvalError(f"{path}: broken scene file ({problem}); {REMEDY}")
    return arrays


def _misfit(arrays: Mapping[str, Any]) -> str | None:
    """What of the arrays doesn't go together, or None."""
    counts: dict[str, tuple[str, int]] = {}  # of images, pairs, observations: from which array
    for name, array in arrays.items():
        for size, expected in zip(array.shape, SHAPES.get(name, ()), strict=False):
            if isinstance(expected, int):
                if size != expected:
                    return f"{name} is {'x'.join(map(str, array.shape))}"
                continue
            other, known = counts.setdefault(expected, (name, size))
            if known != size:
                return f"{name} has {size} {expected}, {other} {known}"
    if "offsets" in arrays:
        offsets = arrays["offsets"]
        images = counts.get("images", ("", len(offsets) - 1))[1]
        if len(offsets) != images + 1 or (np.diff(offsets) < 0).any() or offsets[0]:
            return "offsets don't rise from 0 over the images"
        if "observations" in counts and offsets[-1] != counts["observations"][1]:
            return f"offsets end at {offsets[-1]}, not at {counts['observations'][1]}"
    return None
