"""A laser scanner in a rendered scene: its frame, what it measures and what it can't."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import to_srgb8
from d2eval.sample.rooms import Station
from d2eval.sample.scene import Camera, FloatArray, Scene, View, look_at, render, to_camera
from d2eval.sample.walls import Wall

FACE = Camera(160, 160, 80.0, 80.0, 80.0)  # a side of the cube of pictures around a scanner
# x and z of the cameras of the cube's sides, in the scanner's frame
FACES = (
    ((0, -1, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (-1, 0, 0)),
    ((-1, 0, 0), (0, -1, 0)), ((1, 0, 0), (0, 0, 1)), ((1, 0, 0), (0, 0, -1)),
)  # fmt: skip
RANGE = (0.4, 6.3)  # metres
LOWEST_DEG = -62.0  # elevation under which the tripod stands
STEP = 1 / 512  # metres; coordinates are rounded to it, also for the sake of the files' size
GLASS_TOLERANCE = 0.002  # metres between a point and the pane that it lies on


def scan_from_room(station: Station) -> FloatArray:
    """(4, 4) from the room's frame to the scan's: the scanner is its origin, z is up."""
    angle = np.deg2rad(station.heading_deg)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[:3, :3] = [[c, s, 0], [-s, c, 0], [0, 0, 1]]
    matrix[:3, 3] = -matrix[:3, :3] @ station.center
    return matrix


def cutout_pose(station: Station, yaw_deg: float, pitch_deg: float) -> FloatArray:
    """(3, 4) ``cam_from_room`` of a cutout; angles as in `Station`."""
    yaw, pitch = np.deg2rad(station.heading_deg + yaw_deg), np.deg2rad(pitch_deg)
    x, y, z = station.center
    target = (
        x + float(np.cos(pitch) * np.cos(yaw)),
        y + float(np.cos(pitch) * np.sin(yaw)),
        z + float(np.sin(pitch)),
    )
    return look_at(station.center, target)


def measure(view: View, station: Station, panes: Sequence[Wall]) -> FloatArray:
    """(H, W, 3) what the scanner measures of a view from its place, in its frame.

    NaN where it measures nothing: on glass, too near, too far, and under its tripod.
    """
    room = view.xyz.astype(np.float64)
    matrix = scan_from_room(station)
    xyz = room @ matrix[:3, :3].T + matrix[:3, 3]
    distance = np.linalg.norm(xyz, axis=2)
    measured = (distance >= RANGE[0]) & (distance <= RANGE[1])
    measured &= xyz[..., 2] >= distance * np.sin(np.deg2rad(LOWEST_DEG))
    for pane in panes:
        measured &= ~_lies_on(room, pane)
    rounded = np.rint(xyz / STEP) * STEP
    return np.where(measured[..., None], rounded, np.nan)


def _lies_on(points: FloatArray, pane: Wall) -> npt.NDArray[np.bool_]:
    u, v = np.array(pane.edge_u), np.array(pane.edge_v)
    normal = np.cross(u, v)
    basis = np.column_stack([u, v, normal / np.linalg.norm(normal)])
    along_u, along_v, off = np.moveaxis((points - pane.corner) @ np.linalg.inv(basis).T, -1, 0)
    inside = (along_u >= 0) & (along_u <= 1) & (along_v >= 0) & (along_v <= 1)
    return np.asarray(inside & (np.abs(off) < GLASS_TOLERANCE), np.bool_)


def scan(scene: Scene, station: Station, panes: Sequence[Wall]) -> tuple[FloatArray, RgbImage]:
    """What the scanner measures all around it.

    Returns:
        (N, 3) points in its frame and their (N, 3) uint8 colours.
    """
    points, colors = [], []
    for right, forward in FACES:
        rotation = np.array([right, np.cross(forward, right), forward], np.float64)
        view = render(scene, FACE, rotation @ scan_from_room(station)[:3])
        xyz = measure(view, station, panes)
        measured = np.isfinite(xyz).all(axis=2)
        points.append(xyz[measured])
        colors.append(to_srgb8(view.rgb)[measured])
    return np.concatenate(points), np.concatenate(colors)


def overlap(
    points: FloatArray,
    camera: Camera,
    cam_from_room: FloatArray,
    depth: FloatArray,
    tolerance_m: float,
) -> float:
    """The share of points that a camera sees.

    Args:
        points: (N, 3) in the room.
        camera: of the view.
        cam_from_room: (3, 4) pose.
        depth: (H, W) of its view, metres; NaN where there is none, and nothing is seen there.
        tolerance_m: between the depth of a point and that of the view where it would be seen.
    """
    local = to_camera(cam_from_room, points)
    local = local[local[:, 2] > 0]
    x, y = np.floor(camera.img_from_cam(local)).T  # COLMAP's pixels
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    rows, columns = y[inside].astype(int), x[inside].astype(int)
    agrees = np.abs(depth[rows, columns] - local[inside, 2]) < tolerance_m
    return float(np.count_nonzero(agrees) / len(points))
