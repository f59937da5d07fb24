"""Training pairs from MegaDepth, drawn as in D2-Net's training code (``lib/dataset.py``).

``d2eval prepare megadepth`` (`prepare` beside this file) has written an .npz for each scene. The
scenes for training and for validation, the overlap and the pairs of an epoch are listed in
``megadepth.toml`` beside this file; other scenes in the folder are not used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import check_name
from methods.d2net.training.data.depth_files import check_camera, read_view
from methods.d2net.training.data.depth_warp import PIXEL_CENTER, PosedView, crop_pair
from methods.d2net.training.data.pairs import (
    FloatArray,
    IntArray,
    PairSource,
    TrainingPair,
    hash_of_files,
)
from methods.d2net.training.data.scene_file import DRAWN_FROM, REMEDY, read_scene_file


@dataclass(frozen=True)
class Protocol:
    """Which pairs are drawn; from ``megadepth.toml``.

    Attributes:
        scenes: their names.
        overlap: least and greatest, inclusive.
        max_scale_ratio: of a pair, and of the place its crops show.
        pairs: drawn from each scene in an epoch.
        use: what the scenes are for, "training" or "validation".
    """

    scenes: tuple[str, ...]
    overlap: tuple[float, float]
    max_scale_ratio: float
    pairs: int
    use: str = "training"


def load_recipe() -> dict[str, Any]:
    """The content of ``megadepth.toml``."""
    return load_toml(Path(__file__).with_name("megadepth.toml"))


def load_pair_protocol(held_out: bool) -> Protocol:
    """The protocol of validation or of training."""
    content, use = load_recipe(), "validation" if held_out else "training"
    pairs = content["pairs"]
    least, greatest = pairs["overlap"]
    scenes = tuple(content["scenes"][use])
    return Protocol(scenes, (least, greatest), pairs["max_scale_ratio"], pairs[use], use)


@dataclass(frozen=True, eq=False)
class Observations:
    """The 3D points that an image shows.

    Attributes:
        ids: (M,) distinct, ascending.
        points: (M, 2) where they are, COLMAP's pixels.
        normalized_depths: (M,) depth / focal length.
    """

    ids: IntArray
    points: npt.NDArray[np.float32]
    normalized_depths: npt.NDArray[np.float32]

    @staticmethod
    def of(scene: dict[str, Any], image: int) -> "Observations":
        """Those of an image of a scene's file."""
        part = slice(scene["offsets"][image], scene["offsets"][image + 1])
        return Observations(
            scene["point_ids"][part], scene["points"][part], scene["normalized_depths"][part]
        )


def draw_shared_point(
    first: Observations, second: Observations, max_scale_ratio: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Where a random 3D point that two images show is in each.

    Args:
        first: of one image.
        second: of the other; they share a point within the ratio.
        max_scale_ratio: greatest ratio of the point's normalized depths.
        rng: draws it.

    Returns:
        (x, y) in both, with the origin at the centre of the first pixel.

    Raises:
        D2EvalError: they share none.
    """
    _, in_first, in_second = np.intersect1d(
        first.ids, second.ids, assume_unique=True, return_indices=True
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = first.normalized_depths[in_first] / second.normalized_depths[in_second]
        suits = np.flatnonzero(np.maximum(ratio, 1 / ratio) <= max_scale_ratio)
    if not len(suits):
        raise D2EvalError("two images of a pair show no 3D point in common")
    chosen = rng.choice(suits)
    points = first.points[in_first[chosen]], second.points[in_second[chosen]]
    return points[0] - np.float64(PIXEL_CENTER), points[1] - np.float64(PIXEL_CENTER)


def scene_files(folder: Path, protocol: Protocol) -> list[Path]:
    """The files of those scenes of the protocol that are in ``folder``.

    Raises:
        D2EvalError: there is none.
    """
    if not folder.is_dir():
        raise D2EvalError(f"{folder}: no such folder; run 'd2eval prepare megadepth' first")
    scenes = protocol.scenes
    found = [path for path in (folder / f"{scene}.npz" for scene in scenes) if path.exists()]
    if not found:
        raise D2EvalError(
            f"{folder}: holds none of the {len(scenes)} scenes {scenes[0]} to {scenes[-1]}; "
            f"prepare them by 'd2eval prepare megadepth', {protocol.use} takes them"
        )
    return found


def photo_of_each_scene(folder: Path, protocol: Protocol) -> list[Path]:
    """The first image of each scene that is there.

    Raises:
        D2EvalError: no scene is there, or a file is broken.
    """
    photos = []
    for path in scene_files(folder, protocol):
        scene = read_scene_file(path, ("root", "image_paths"))
        if not len(scene["image_paths"]):
            raise D2EvalError(f"{path}: broken scene file (no image); {REMEDY}")
        name = check_name(str(scene["image_paths"][0]), str(path))
        photos.append(Path(str(scene["root"])) / name)
    return photos


class MegaDepthPairs(PairSource):
    """256x256 crops of two images of a scene around a 3D point that both show.

    An epoch takes so many random pairs of each scene, with replacement, and of each pair a random
    3D point. D2-Net's code draws them anew in each epoch, too.
    """

    def __init__(self, folder: Path, protocol: Protocol) -> None:
        """Opens the scenes of the protocol that are there.

        Args:
            folder: with a file <scene>.npz for each.
            protocol: which pairs.

        Raises:
            D2EvalError: no scene is there, none has such a pair, or a file is broken.
        """
        self._protocol = protocol
        self._scenes: list[tuple[Path, IntArray]] = []
        least, greatest = protocol.overlap
        for path in scene_files(folder, protocol):
            scene = read_scene_file(path, ("pairs", "overlaps", "scale_ratios"))
            suits = (scene["overlaps"] >= least) & (scene["overlaps"] <= greatest)
            suits &= scene["scale_ratios"] <= protocol.max_scale_ratio
            if suits.any():  # as in D2-Net's code a scene without such pairs is left out
                self._scenes.append((path, scene["pairs"][suits]))
        if not self._scenes:
            raise D2EvalError(
                f"{folder}: has no two images with an overlap of {least:g} to {greatest:g}; "
                "prepare more scenes"
            )

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return len(self._scenes) * self._protocol.pairs

    def describe(self) -> dict[str, Any]:
        """Which share of the protocol's scenes there is, and a hash of their files."""
        files = [path for path, _ in self._scenes]
        share = f"{len(files)} of {len(self._protocol.scenes)}"
        complete = len(files) == len(self._protocol.scenes)
        return {
            "scenes": "complete" if complete else f"partial ({share})",
            "pairs": self._protocol.pairs,
            "files": hash_of_files(files),
        }

    def draw(self, index: int, rng: np.random.Generator) -> TrainingPair | None:
        """A random pair of the scene that ``index`` stands for.

        Raises:
            D2EvalError: a file is missing or broken, or sizes differ.
        """
        path, pairs = self._scenes[index // self._protocol.pairs]
        first, second = (int(image) for image in rng.choice(pairs))
        scene = read_scene_file(path, DRAWN_FROM)
        if max(first, second) >= len(scene["image_paths"]) or min(first, second) < 0:
            raise D2EvalError(f"{path}: broken scene file (a pair's image is none); {REMEDY}")
        try:
            centers = draw_shared_point(
                Observations.of(scene, first),
                Observations.of(scene, second),
                self._protocol.max_scale_ratio,
                rng,
            )
        except D2EvalError as error:
            raise D2EvalError(f"{path}: broken scene file ({error}); {REMEDY}") from error
        names = [Path(str(scene["image_paths"][image])).name for image in (first, second)]
        views = self._view(path, scene, first), self._view(path, scene, second)
        return crop_pair(f"{path.stem}/{names[0]} {names[1]}", views, centers)

    @staticmethod
    def _view(path: Path, scene: dict[str, Any], image: int) -> PosedView:
        root = Path(str(scene["root"]))
        if not root.is_dir():
            raise D2EvalError(f"{root}: {path} was prepared from this folder; {REMEDY}")
        intrinsics, pose = scene["intrinsics"][image], scene["poses"][image]
        wrong = check_camera(intrinsics, pose)
        if wrong:
            raise D2EvalError(f"{path}: broken scene file ({wrong}); {REMEDY}")
        return read_view(
            root / check_name(str(scene["image_paths"][image]), str(path)),
            root / check_name(str(scene["depth_paths"][image]), str(path)),
            intrinsics,
            pose,
        )
