"""3D points at keypoints of a cutout, read from its map of coordinates."""

from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Mode = Literal["bilinear", "nearest", "hloc"]


def _bilinear(xyz: npt.NDArray[np.floating], points: FloatArray) -> FloatArray:
    """(M, 3) for points within the map; a neighbour without depth spoils it even at weight 0."""
    limit = np.array([xyz.shape[1] - 2, xyz.shape[0] - 2])
    corner = np.clip(np.floor(points).astype(np.int64), 0, np.maximum(limit, 0))
    (x, y), (right, below) = (points - corner).T[:, :, None], np.minimum(limit + 1, 1)
    column, row = corner.T
    return np.asarray(
        xyz[row, column] * (1 - x) * (1 - y)
        + xyz[row, column + right] * x * (1 - y)
        + xyz[row + below, column] * (1 - x) * y
        + xyz[row + below, column + right] * x * y
    )


def interpolate_xyz(
    xyz: npt.NDArray[np.floating], points: npt.NDArray[np.floating], mode: Mode
) -> FloatArray:
    """The map's coordinates at ``points``.

    Sources: InLoc_demo's interp2, linear (parfor_sparsePE) and nearest (parfor_densePE); hloc at
    c13273b, interpolate_scan. interp2 counts pixels from 1, here they count from 0.

    Args:
        xyz: (H, W, 3), NaN where there is no depth.
        points: (M, 2) pixels, origin at the centre of the map's top-left pixel.
        mode: "bilinear" of the four neighbours, all of which need depth; "nearest", of two equally
            near ones the right or lower; "hloc", bilinear, but the nearest where that fails.

    Returns:
        (M, 3) in the map's unit and frame. NaN where a coordinate is unknown and beyond the
        centres of the map's border pixels; with "hloc" on them too, where hloc stops.
    """
    at = points.astype(np.float64)
    last = np.array([xyz.shape[1], xyz.shape[0]]) - 1
    inside = ((at >= 0) & (at <= last)).all(axis=1)
    if mode == "hloc":
        inside = ((at > 0) & (at < last)).all(axis=1)
    at = at[inside]
    if mode == "nearest":
        column, row = np.floor(at + 0.5).astype(np.int64).T
        values = xyz[row, column].astype(np.float64)
    else:
        values = _bilinear(xyz, at)
    if mode == "hloc":
        column, row = np.rint(at).astype(np.int64).T
        values = np.where(np.isnan(values), xyz[row, column], values)
    values[np.isnan(values).any(axis=1)] = np.nan
    found = np.full((len(points), 3), np.nan)
    found[inside] = values
    return found
