"""The files that a benchmark's site scores."""

from collections.abc import Iterable

import pycolmap

from d2eval.foundation.formats.poses import pose_line


def submission(poses: Iterable[tuple[str, pycolmap.Rigid3d | None]]) -> str:
    """The text that visuallocalization.net takes: a line for each query with a pose, in order.

    A line is the query's name as the site knows it (Aachen's without folders) and the pose from
    world (InLoc: the floor's frame) to camera, as quaternion (w, x, y, z) and translation.
    """
    return "".join(f"{pose_line(name, pose)}\n" for name, pose in poses if pose is not None)
