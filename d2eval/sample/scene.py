"""A scene of textured rectangles and its exact picture: colour, depth and world coordinates.

The world is right-handed, in metres, with z up. A pose ``cam_from_world`` is the (3, 4) matrix
[R | t] that takes world coordinates to the camera's (x right, y down, z forward). Image
coordinates are COLMAP's: (0, 0) is the upper left corner of the first pixel, whose centre is
(0.5, 0.5).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import Float32Array

FloatArray = npt.NDArray[np.float64]
Point = tuple[float, float, float]

SUPERSAMPLING = 3  # odd: the middle sample of a pixel is its centre
NEWTON_STEPS = 5  # of the inverse distortion; float64 is exhausted for any sensible lens
UP = (0.0, 0.0, 1.0)
LEAST_DETERMINANT = 1e-9  # of a rectangle's two edges and the way to it: below it is seen edge-on
NEAR_PLANE = 1e-3  # metres before the camera, where rectangles are cut off
BAND = 2**16  # samples whose computations stay in the processor's cache
MARGIN = 1e-4  # of rays around a rectangle's outline, for float32's rounding


@dataclass(frozen=True)
class Camera:
    """COLMAP's SIMPLE_RADIAL camera: a pinhole with one term of radial distortion.

    Attributes:
        width, height: of the image in pixels.
        focal: in pixels.
        cx, cy: principal point, from the image's upper left corner.
        radial: a point at distance r from the axis of the ideal image (z = 1) is seen at
            r (1 + radial r^2).
    """

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    radial: float = 0.0

    def img_from_cam(self, points: npt.NDArray[np.floating]) -> FloatArray:
        """(N, 2) image coordinates of (N, 3) points in the camera's frame, before it."""
        ideal = points[:, :2] / points[:, 2:]
        stretch = 1 + self.radial * (ideal**2).sum(axis=1, keepdims=True)
        return self.focal * ideal * stretch + np.array([self.cx, self.cy])

    def rays(self, samples: int = 1) -> FloatArray:
        """(3, samples height, samples width) points at z = 1 that are seen at each sample.

        Args:
            samples: rows and columns of the grid inside each pixel; with one (or any odd number)
                a pixel's centre is among them.
        """
        x = ((np.arange(self.width * samples) + 0.5) / samples - self.cx) / self.focal
        y = ((np.arange(self.height * samples) + 0.5) / samples - self.cy) / self.focal
        rays = np.ones((3, len(y), len(x)))
        rays[0], rays[1] = x, y[:, None]
        if self.radial:
            for band in _bands(*rays.shape[1:]):
                rays[:2, band] *= self._shrink(x**2 + y[band, None] ** 2)
        return rays

    def _shrink(self, squared: FloatArray) -> FloatArray:
        # The s that solves s (1 + radial s^2 r^2) = 1, for squared distorted radii r^2.
        bend = self.radial * squared
        s = np.ones_like(bend)
        for _ in range(NEWTON_STEPS):
            bent = bend * s * s
            s -= (s * (1 + bent) - 1) / (1 + 3 * bent)
        return s


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A flat picture, seen from both sides."""

    corner: Point  # of the texture's upper left corner
    edge_u: Point  # from there along the texture's first row, as long as the rectangle
    edge_v: Point  # from there down its first column
    # (h, w, 3), linear light; it fills the rectangle, pixels being little squares
    texture: Float32Array


@dataclass(frozen=True, eq=False)
class Scene:
    """Opaque rectangles before an endless background of one colour (linear light)."""

    rectangles: tuple[Rectangle, ...]
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees."""

    rgb: Float32Array  # (H, W, 3) float32, linear light, the mean over each pixel
    # (H, W) float32, z of the camera's frame at the pixel's centre in metres; NaN where nothing is
    # hit
    depth: Float32Array
    xyz: Float32Array  # (H, W, 3) float32, the same point in the world


def look_at(center: Point, target: Point, roll_deg: float = 0.0) -> FloatArray:
    """(3, 4) ``cam_from_world`` of a camera at ``center`` whose axis meets ``target``.

    Args:
        center: of the camera; not straight above or below the target.
        target: any point on the optical axis.
        roll_deg: turns the camera clockwise about the axis, so the picture anticlockwise.
    """
    forward = np.subtract(target, center)
    forward /= np.linalg.norm(forward)
    level = np.cross(forward, UP)
    level /= np.linalg.norm(level)
    down = np.cross(forward, level)
    c, s = np.cos(np.deg2rad(roll_deg)), np.sin(np.deg2rad(roll_deg))
    rotation = np.stack([c * level + s * down, c * down - s * level, forward])
    return np.column_stack([rotation, -rotation @ np.asarray(center)])


def _bands(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows, all rows together, of about `BAND` samples."""
    step = max(1, BAND // columns)
    return (slice(top, top + step) for top in range(0, rows, step))


def to_camera(cam_from_world: FloatArray, points: npt.NDArray[np.floating]) -> FloatArray:
    """(N, 3) world points in the camera's frame."""
    return points @ cam_from_world[:, :3].T + cam_from_world[:, 3]


def render(scene: Scene, camera: Camera, cam_from_world: FloatArray) -> View:
    """Casts the rays of ``camera`` into ``scene``; the nearest rectangle is seen.

    Each pixel's colour is the mean over a grid of samples inside it, so a texture may have up to
    `SUPERSAMPLING` texels to a pixel without aliasing.
    """
    n = SUPERSAMPLING
    rays = camera.rays(n).astype(np.float32)
    nearness = np.zeros(rays.shape[1:], np.float32)  # 1 / depth; what is nowhere hit is far away
    fine = np.empty((*nearness.shape, 3), np.float32)
    fine[:] = scene.background
    columns = rays[0].min(axis=0), rays[0].max(axis=0)
    rows = rays[1].min(axis=1), rays[1].max(axis=1)
    for rectangle in scene.rectangles:
        box = _box(rectangle, cam_from_world, rows, columns)
        _draw(rectangle, cam_from_world, rays[:, box[0], box[1]], nearness[box], fine[box])
    rgb = cv2.resize(fine, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    seen = nearness[n // 2 :: n, n // 2 :: n].astype(np.float64)
    depth = np.divide(1.0, seen, out=np.full_like(seen, np.nan), where=seen > 0)
    points = (depth * camera.rays()).reshape(3, -1) - cam_from_world[:, 3:]
    xyz = (cam_from_world[:, :3].T @ points).T.reshape(camera.height, camera.width, 3)
    return View(np.asarray(rgb, np.float32), depth.astype(np.float32), xyz.astype(np.float32))


def _box(
    rectangle: Rectangle,
    cam_from_world: FloatArray,
    rows: tuple[Float32Array, Float32Array],
    columns: tuple[Float32Array, Float32Array],
) -> tuple[slice, slice]:
    """The rows and columns of rays outside of which ``rectangle`` is not seen.

    Args:
        rectangle: it may reach behind the camera.
        cam_from_world: (3, 4) pose.
        rows: the least and the greatest y of the rays of each row.
        columns: the least and the greatest x of the rays of each column.
    """
    u, v = np.array(rectangle.edge_u), np.array(rectangle.edge_v)
    corners = np.array(rectangle.corner) + np.array([0 * u, u, u + v, v])
    ring = to_camera(cam_from_world, corners)
    following = np.roll(ring, -1, axis=0)
    # What is before the near plane: corners, and where an edge passes through it.
    z, z_next = ring[:, 2] - NEAR_PLANE, following[:, 2] - NEAR_PLANE
    crossing = z * z_next < 0
    share = (z[crossing] / (z[crossing] - z_next[crossing]))[:, None]
    passing = ring[crossing] + share * (following[crossing] - ring[crossing])
    before = np.concatenate([ring[z >= 0], passing])
    if not len(before):
        return slice(0), slice(0)
    x, y = (before[:, :2] / before[:, 2:]).T
    return _span(*rows, y), _span(*columns, x)


def _span(least: Float32Array, greatest: Float32Array, outline: FloatArray) -> slice:
    met = (greatest >= outline.min() - MARGIN) & (least <= outline.max() + MARGIN)
    found = np.flatnonzero(met)
    return slice(found[0], found[-1] + 1) if len(found) else slice(0)


def _draw(
    rectangle: Rectangle,
    cam_from_world: FloatArray,
    rays: Float32Array,
    nearness: Float32Array,
    fine: Float32Array,
) -> None:
    """Paints ``rectangle`` where it is nearer than what is there."""
    # The ray (x, y, 1) hits corner + u edge_u + v edge_v at depth z, all in the camera's frame:
    # z (x, y, 1) = [edge_u edge_v corner] (u, v, 1), so the inverse of that matrix takes the ray
    # to (u, v, 1) / z.
    rotation = cam_from_world[:, :3]
    corner = rotation @ rectangle.corner + cam_from_world[:, 3]
    basis = np.column_stack([rotation @ rectangle.edge_u, rotation @ rectangle.edge_v, corner])
    if not nearness.size or abs(np.linalg.det(basis)) < LEAST_DETERMINANT:
        return
    from_ray = np.linalg.inv(basis).astype(np.float32)
    for band in _bands(*nearness.shape):
        _paint(rectangle.texture, from_ray, rays[:, band], nearness[band], fine[band])


def _paint(
    texture: Float32Array,
    from_ray: Float32Array,
    rays: Float32Array,
    nearness: Float32Array,
    fine: Float32Array,
) -> None:
    """Paints a rectangle, whose ``from_ray`` takes rays to (u, v, 1) / z, on some of the rays."""
    u, v, near = (from_ray @ rays.reshape(3, -1)).reshape(rays.shape)
    visible = (near > nearness) & (u >= 0) & (u <= near) & (v >= 0) & (v <= near)
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    visible, depth = visible[box], 1 / np.where(visible[box], near[box], 1)
    mask = visible.view(np.uint8)
    cv2.copyTo(near[box], mask, nearness[box])  # a seventh of the time of NumPy's masks
    cv2.copyTo(_sample(texture, u[box] * depth, v[box] * depth), mask, fine[box])


def _sample(texture: Float32Array, u: Float32Array, v: Float32Array) -> Float32Array:
    """The texture at (u, v), its width and height being one; outside it is anything."""
    height, width = texture.shape[:2]
    # OpenCV counts from the centre of the first texel.
    return np.asarray(
        cv2.remap(
            texture,
            np.asarray(u * width - 0.5, np.float32),
            np.asarray(v * height - 0.5, np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )
