"""Pairs of images with intrinsics and relative poses: the list, and what of it lies on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.evaluation.pair_list import OWN, PAIR, read_pair_list
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.text.words import check_name, reals
from d2eval.metrics.relative_pose import CameraPair
from d2eval.twoview.protocol import TwoViewProtocol, list_path

INTRINSICS = tuple(f"{name}{view}" for view in "01" for name in ("fx", "fy", "cx", "cy"))
POSE = tuple(name for row in "123" for name in (f"r{row}1", f"r{row}2", f"r{row}3", f"t{row}"))
NUMBERS = (*INTRINSICS, *POSE)
COLUMNS = (*PAIR, *NUMBERS)
ROTATION_TOLERANCE = 1e-3  # of R R^T from the identity


@dataclass(frozen=True)
class ListedPair:
    """A line of a list."""

    scene: str
    names: tuple[str, str]  # of the images, from the data's folder on
    cameras: CameraPair


def read_list(path: Path, size_px: Sequence[int] = ()) -> list[ListedPair]:
    """Reads a CSV file of pairs with the columns `COLUMNS`.

    Its intrinsics are of images of ``size_px``, see `CameraPair`.

    Raises:
        D2EvalError: as `read_pair_list`.
    """
    return read_pair_list(path, COLUMNS, lambda row, where: _pair(row, where, size_px))


def _pair(row: dict[str, str], where: str, size_px: Sequence[int]) -> ListedPair:
    numbers = reals([row[name] for name in NUMBERS], len(NUMBERS))
    if numbers is None or not np.isfinite(numbers).all():
        raise D2EvalError(f"{where}: intrinsics and pose must be numbers; mend it")
    intrinsics = np.array(numbers[:8]).reshape(2, 4)
    pose = np.array(numbers[8:]).reshape(3, 4)
    rotation, translation = pose[:, :3], pose[:, 3]
    if (intrinsics[:, :2] <= 0).any():
        raise D2EvalError(f"{where}: a focal length isn't positive; mend it")
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise D2EvalError(f"{where}: r11 to r33 are no rotation; mend it")
    if not translation.any():
        raise D2EvalError(f"{where}: both cameras are in one place; leave the pair out")
    names = [check_name(row[name], where) for name in ("image0", "image1")]
    cameras = CameraPair(intrinsics, rotation, translation, size_px)
    return ListedPair(row["scene"], (names[0], names[1]), cameras)


def load_pairs(root: Path, protocol: TwoViewProtocol, *, sample: bool = False) -> PairDataset:
    """The pairs of ``root/pairs.csv``, or else those of the protocol whose images are there.

    Raises:
        D2EvalError: there are none, or an image of a list of the user's is missing.
    """
    listed, own = find_list(root, protocol)
    present = [pair for pair in listed if not absent(root, pair)]
    if own and len(present) < len(listed):
        name = next(name for pair in listed for name in absent(root, pair))
        raise D2EvalError(f"{root / name}: no such image; mend {root / OWN}")
    if not present:
        raise D2EvalError(
            f"{root}: holds no pair of {protocol.name}; the first would be "
            f"{root / listed[0].names[0]}"
        )
    by_scene = protocol.pairs.by_scene if protocol.pairs and not own else False
    pairs = [
        ImagePair(
            root / pair.names[0], root / pair.names[1], pair.scene if by_scene else "pairs",
            {"scene": pair.scene, "image0": pair.names[0], "image1": pair.names[1]}, pair.cameras,
        )
        for pair in present
    ]  # fmt: skip
    scenes = len({pair.scene for pair in present})
    complete = "sample" if sample else completeness(len(present), len(listed))
    return PairDataset(
        root=root,
        pairs=pairs,
        completeness=complete,
        counts={"scenes": scenes, "own_pairs": own},
        lines=[
            f"{protocol.name}, {'own pairs' if own else complete}: {len(pairs)} pairs of "
            f"{scenes} scenes"
        ],
    )


def find_list(root: Path, protocol: TwoViewProtocol) -> tuple[list[ListedPair], bool]:
    """The list in ``root``, or else the protocol's, and whether it is the one in ``root``.

    Raises:
        D2EvalError: there is none, or it is broken.
    """
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; --data takes the folder that holds the images")
    if is_there(root / OWN):
        return read_list(root / OWN), True
    path = list_path(protocol)
    if path is None or protocol.pairs is None:
        raise D2EvalError(
            f"{root / OWN}: is missing; write it, or choose a --protocol that has a list"
        )
    listed = read_list(path, protocol.pairs.intrinsics_size_px)
    if len(listed) != protocol.pairs.count:
        raise D2EvalError(f"{path}: {len(listed)} pairs, not {protocol.pairs.count}; restore it")
    return listed, False


def absent(root: Path, pair: ListedPair) -> list[str]:
    """Images of a pair that aren't there."""
    return [name for name in pair.names if not (root / name).is_file()]


def completeness(present: int, listed: int) -> str:
    """Either "complete" or "partial (7 of 1500 pairs)"."""
    return "complete" if present == listed else f"partial ({present} of {listed} pairs)"
