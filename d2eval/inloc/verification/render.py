"""Views of a coloured point cloud: every point colours one pixel, the nearest one stays."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycolmap
import torch

from d2eval.foundation.arrays.compiled import compiled

Points = npt.NDArray[np.float32]
Colors = npt.NDArray[np.uint8]
Projection = npt.NDArray[np.float64]
Nearest = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RenderedView:
    """What a camera sees of the points."""

    rgb: Colors  # (H, W, 3) uint8, black where there is no point
    # (H, W) float32, metres along the camera's axis, NaN where there is no point
    depth: npt.NDArray[np.float32]

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(H, W), where there is a point."""
        return np.isfinite(self.depth)


def scaled_intrinsics(camera: pycolmap.Camera, factor: int) -> npt.NDArray[np.float64]:
    """(3, 3) calibration matrix of an image that is smaller by ``factor``.

    All of it is divided, as in InLoc_demo's parfor_densePV; its pixels are counted by `render` in
    the same way. Where a side isn't a multiple of ``factor``, the demo would take half of the
    rounded size as principal point.
    """
    K = np.asarray(camera.calibration_matrix(), np.float64) / factor
    K[2, 2] = 1
    return K


@compiled(nogil=True)
def _splat(points, P, depth, nearest):  # type: ignore[no-untyped-def]
    """Writes each pixel's least depth and the point that has it; of equal ones the last stays."""
    height, width = depth.shape
    p00, p01, p02, p03 = P[0, 0], P[0, 1], P[0, 2], P[0, 3]
    p10, p11, p12, p13 = P[1, 0], P[1, 1], P[1, 2], P[1, 3]
    p20, p21, p22, p23 = P[2, 0], P[2, 1], P[2, 2], P[2, 3]
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        w = p20 * x + p21 * y + p22 * z + p23
        if not w > 0:  # NaN included
            continue
        u = p00 * x + p01 * y + p02 * z + p03
        v = p10 * x + p11 * y + p12 * z + p13
        u, v = u / w, v / w  # before they are compared, as theirs: it rounds
        if not (u >= 0 and v >= 0 and u < width and v < height):
            continue
        column, row = int(u), int(v)
        if w <= depth[row, column]:
            depth[row, column] = w
            nearest[row, column] = i


def _nearest_on_cpu(
    points: Points, P: Projection, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], Nearest]:
    """Depth (inf where there is no point) and index (-1) of each pixel's nearest point."""
    width, height = size
    depth = np.full((height, width), np.inf)
    nearest = np.full((height, width), -1, np.int64)
    _splat(points, P, depth, nearest)
    return depth, nearest


def _nearest_by_torch(
    points: Points, P: Projection, size: tuple[int, int], device: str
) -> tuple[npt.NDArray[np.float64], Nearest]:
    """The same by scattered minima, to the last bit: sums are taken in the same order."""
    width, height = size
    x, y, z = torch.tensor(points, device=device).double().T
    u, v, w = (a * x + b * y + c * z + d for a, b, c, d in P.tolist())
    u, v = u / w, v / w
    inside = (w > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    ids = inside.nonzero()[:, 0]
    w = w[ids]
    pixels = v[ids].long() * width + u[ids].long()
    depth = torch.full((height * width,), math.inf, dtype=torch.float64, device=device)
    depth.scatter_reduce_(0, pixels, w, "amin")
    at_front = w == depth[pixels]
    nearest = torch.full((height * width,), -1, dtype=torch.int64, device=device)
    nearest.scatter_reduce_(0, pixels[at_front], ids[at_front], "amax")
    return (depth.view(height, width).cpu().numpy(), nearest.view(height, width).cpu().numpy())


def render(
    points: Points,
    colors: Colors,
    K: npt.NDArray[np.float64],
    pose: pycolmap.Rigid3d,
    size: tuple[int, int],
    device: str = "cpu",
) -> RenderedView:
    """The view of a camera, one pixel for each point.

    A point in front of the camera lies in pixel (floor(u), floor(v)) of its projection (u, v), if
    that is in the image. Of several the nearest counts, and of equally near ones the last. Holes
    stay. A pose of NaN sees nothing. Source: InLoc_demo, ht_Points2Persp.

    Args:
        points: (N, 3) float32, world frame.
        colors: (N, 3) uint8.
        K: (3, 3) calibration matrix; pixel (0, 0) is where 0 <= u < 1 and 0 <= v < 1.
        pose: cam_from_world.
        size: (width, height) of the view.
        device: a torch device.
    """
    P = np.ascontiguousarray(np.asarray(K, np.float64) @ np.asarray(pose.matrix(), np.float64))
    on_cpu = torch.device(device).type == "cpu"
    points = np.ascontiguousarray(points, np.float32)
    depth, nearest = (
        _nearest_on_cpu(points, P, size) if on_cpu else _nearest_by_torch(points, P, size, device)
    )
    known = nearest >= 0
    rgb = np.zeros((*known.shape, 3), np.uint8)
    rgb[known] = colors[nearest[known]]
    return RenderedView(rgb, np.where(known, depth, np.nan).astype(np.float32))
