"""Posed pairs of a query and a cutout of inloc-hololens, as a folder for ``d2eval twoview``.

Queries have reference poses. A cutout's follows from its depth, which says where each of its pixels
lies in its scan, and from the scan's alignment to the floor.
"""

from pathlib import Path

import cv2
import numpy as np
from inloc_hololens import HOLOLENS, SIZE, database, dataset

from d2eval.inloc.data.files import floor_of
from d2eval.twoview.dataset import COLUMNS

LEAST_OVERLAP = 0.2  # of the views, as the list of cutouts says it, which knows no occlusion ...
MOST_ANGLE_DEG = 60  # ... between optical axes, so that both see the same side of things
LEAST_BASELINE_M = 0.2  # below, poses don't tell the direction of the translation well
STEP_PX = 3  # from pixel to pixel whose depth is used


def intrinsics() -> np.ndarray:
    """(3, 3) of all images, whose first pixel has its centre at (0, 0)."""
    return dataset().query_camera(next(iter(dataset().queries)), SIZE).calibration_matrix()


def points_of(cutout: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels with depth and (N, 3) where they lie, in metres, in the floor's frame."""
    xyz = database().xyz(cutout)[::STEP_PX, ::STEP_PX]
    rows, columns = np.nonzero(np.isfinite(xyz).all(axis=2))
    return STEP_PX * np.column_stack([columns, rows]).astype(float), xyz[rows, columns]


def pose_of(cutout: str) -> np.ndarray:
    """(3, 4) from the floor to the camera, by the least error of reprojection."""
    pixels, points = points_of(cutout)
    center = points.mean(axis=0)  # scans lie tens of metres from the floor's origin
    found, turn, shift = cv2.solvePnP(points - center, pixels, intrinsics(), None)
    assert found
    rotation = cv2.Rodrigues(turn)[0]
    return np.column_stack([rotation, shift.ravel() - rotation @ center])


def posed_pairs() -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Query, cutout, and the (3, 4) pose of each, from the floor to the camera."""
    poses = {name: pose_of(name) for name in dataset().cutouts}
    found = []
    for query, reference in dataset().references.items():
        first = reference.pose.matrix()
        for own in dataset().retrieval[query]:
            second = poses[own.cutout]
            centers = [-pose[:, :3].T @ pose[:, 3] for pose in (first, second)]
            if (
                floor_of(own.cutout) == reference.floor
                and own.score >= LEAST_OVERLAP
                and first[2, :3] @ second[2, :3] >= np.cos(np.radians(MOST_ANGLE_DEG))
                and np.linalg.norm(np.subtract(*centers)) >= LEAST_BASELINE_M
            ):
                found.append((query, own.cutout, first, second))
    return found


def make_hololens_pairs(root: Path) -> Path:
    """``root`` with links to the images and ``pairs.csv``; a scene is a floor."""
    matrix = intrinsics()
    camera = (matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5)
    lines = []
    for query, cutout, first, second in posed_pairs():
        rotation = second[:, :3] @ first[:, :3].T
        translation = second[:, 3] - rotation @ first[:, 3]
        pose = np.column_stack([rotation, translation]).ravel()
        names = (
            (HOLOLENS / "query", dataset().queries[query]),
            (HOLOLENS / "database/cutouts", dataset().cutouts[cutout]),
        )
        images = [f"{top.name}/{path.relative_to(top)}" for top, path in names]
        numbers = (*camera, *camera, *pose)
        lines.append(",".join([floor_of(cutout), *images, *(f"{n:.12g}" for n in numbers)]))
    root.mkdir(parents=True, exist_ok=True)
    for folder in (HOLOLENS / "query", HOLOLENS / "database/cutouts"):
        (root / folder.name).symlink_to(folder)
    (root / "pairs.csv").write_text("\n".join([",".join(COLUMNS), *lines, ""]))
    return root
