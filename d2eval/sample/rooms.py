"""What a building is described by: rooms and furniture, scanners and photos to be taken.

Everything is in metres in the floor's room frame: x east, y north, z up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from d2eval.foundation.images.photometry import Lighting
from d2eval.sample.scene import Camera, Point
from d2eval.sample.walls import Paint, Wall


@dataclass(frozen=True)
class Box:
    """A room or a piece of furniture: sides along the axes, each divided into equal panels.

    Attributes:
        low, high: opposite corners.
        south, east, north, west, bottom, top: the panels of a side, those of an upright one from
            left to right as seen from outside, others from west to east; none: the side is open.
    """

    low: Point
    high: Point
    south: tuple[Paint, ...] = ()
    east: tuple[Paint, ...] = ()
    north: tuple[Paint, ...] = ()
    west: tuple[Paint, ...] = ()
    bottom: tuple[Paint, ...] = ()
    top: tuple[Paint, ...] = ()

    def walls(self) -> Iterator[Wall]:
        """All panels."""
        (x0, y0, z0), (x1, y1, z1) = self.low, self.high
        down = (0.0, 0.0, z0 - z1)
        south = (0.0, y0 - y1, 0.0)
        yield from _panels((x0, y0, z1), (x1 - x0, 0.0, 0.0), down, self.south)
        yield from _panels((x1, y0, z1), (0.0, y1 - y0, 0.0), down, self.east)
        yield from _panels((x1, y1, z1), (x0 - x1, 0.0, 0.0), down, self.north)
        yield from _panels((x0, y1, z1), (0.0, y0 - y1, 0.0), down, self.west)
        yield from _panels((x0, y1, z0), (x1 - x0, 0.0, 0.0), south, self.bottom)
        yield from _panels((x0, y1, z1), (x1 - x0, 0.0, 0.0), south, self.top)


def _panels(corner: Point, edge_u: Point, edge_v: Point, paints: tuple[Paint, ...]) -> list[Wall]:
    count = len(paints)
    x, y, z = edge_u
    step = (x / count, y / count, z / count) if count else edge_u
    return [
        Wall(
            (corner[0] + k * step[0], corner[1] + k * step[1], corner[2] + k * step[2]),
            step, edge_v, paint,
        )
        for k, paint in enumerate(paints)
    ]  # fmt: skip


@dataclass(frozen=True)
class Station:
    """Where a scanner stood."""

    center: Point  # of the scanner
    heading_deg: float  # its zero direction, anticlockwise from east; yaws count from there
    # (yaw, pitch) of the views cut out of its panorama, in degrees; a positive yaw is anticlockwise
    # from above, a positive pitch up
    cutouts: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Query:
    """A photo to be taken.

    Attributes:
        name: of the file.
        camera: in COLMAP's pixels.
        center, target, roll_deg: see `look_at`.
        lighting: of the picture.
    """

    name: str
    camera: Camera
    center: Point
    target: Point
    roll_deg: float
    lighting: Lighting


@dataclass(frozen=True)
class Floor:
    """A floor."""

    name: str  # "DUC1"
    boxes: tuple[Box, ...]  # rooms and furniture
    walls: tuple[Wall, ...]  # what stands or hangs askew or free
    # glass, in front of a wall or free: seen by cameras, but it gives a scanner no depth
    panes: tuple[Wall, ...]
    stations: tuple[Station, ...]  # of the scanners
    queries: tuple[Query, ...]  # of the floor

    def all_walls(self) -> tuple[Wall, ...]:
        """Everything there is to see."""
        return (*(wall for box in self.boxes for wall in box.walls()), *self.walls, *self.panes)
