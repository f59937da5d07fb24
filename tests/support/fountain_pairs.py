"""All pairs of posed images of aachen-fountain, as a folder for ``d2eval twoview``."""

from itertools import combinations
from pathlib import Path

import numpy as np

from d2eval.foundation.formats.poses import pose_from_wxyz
from d2eval.twoview.dataset import COLUMNS

INTRINSICS = (1044.88, 1044.88, 576.0, 380.0)  # of all images


def posed_images(fountain: Path) -> dict[str, np.ndarray]:
    """(3, 4) poses by name; those of the night are their day's, in the same place."""
    poses = {}
    for line in (fountain / "3D-models/aachen_cvpr2018_db.nvm").read_text().splitlines():
        if line.startswith("db/"):
            name, *numbers = line.split()
            q, center = np.array(numbers[1:5], float), np.array(numbers[5:8], float)
            rotation = pose_from_wxyz(q, np.zeros(3), name).rotation.matrix()
            poses[name] = np.column_stack([rotation, -rotation @ center])
    for line in (fountain / "reference_poses.txt").read_text().splitlines():
        name, *numbers = line.split()
        values = np.array(numbers, float)
        poses[name] = pose_from_wxyz(values[:4], values[4:], name).matrix()
    return poses


def make_fountain_pairs(fountain: Path, root: Path) -> Path:
    """``root`` with links to the images and ``pairs.csv``; a day and its night are no pair."""
    poses = posed_images(fountain)
    lines = []
    for (first, a), (second, b) in combinations(poses.items(), 2):
        rotation = b[:, :3] @ a[:, :3].T
        translation = b[:, 3] - rotation @ a[:, 3]
        if np.linalg.norm(translation) < 1e-3:
            continue
        pose = np.column_stack([rotation, translation]).ravel()
        numbers = (*INTRINSICS, *INTRINSICS, *pose)
        lines.append(",".join(["fountain", first, second, *(f"{n:.12g}" for n in numbers)]))
    root.mkdir(parents=True, exist_ok=True)
    for folder in ("db", "query"):
        (root / folder).symlink_to(fountain / "images/images_upright" / folder)
    (root / "pairs.csv").write_text("\n".join([",".join(COLUMNS), *lines, ""]))
    return root
