"""Training pairs from posed images with depth: RGB-D sequences, renderings, SfM with dense depth.

The folder holds a folder for each scene, or is itself one scene:

    <scene>/images/<name>.jpg or .png
    <scene>/depth/<name>.npy or .png   of the same size as the image: .npy holds (H, W) numbers in
                                       the unit of the poses, .png 16-bit millimetres (the poses
                                       are in metres then); 0, NaN or infinity: not known. It is z
                                       in the camera's frame, not the distance along the ray.
    <scene>/cameras.json               {"<name>.jpg": {"intrinsics": [[fx, 0, cx], [0, fy, cy],
                                       [0, 0, 1]], "cam_from_world": [[R, t], [0, 0, 0, 1]]}, ...}
    <scene>/pairs.txt                  optional: two image names a line, which are the pairs

Images without an entry in cameras.json are not used. cam_from_world takes world coordinates to the
camera's (x right, y down, z forward). The origin of intrinsics is COLMAP's, the upper left corner
of the first pixel; where cx and cy count from that pixel's centre, add 0.5. There is no distortion.
A place counts as seen where the depths of both images agree to 0.05 of the poses' unit, so metres
are a good one.

Without pairs.txt the pairs are all those in which each image shows half of the other or more,
measured on 16x16 points of each; with many images that takes a while, and pairs.txt saves it.

Held out for validation is every tenth scene, beginning with the first in the order of their names;
of a single scene it is every tenth pair, whose images may be in pairs that are trained on.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import find
from d2eval.foundation.files.reading import is_there, read_json, read_lines
from d2eval.foundation.terminal.progress import progress
from d2eval.foundation.text.words import check_name
from methods.d2net.training.data.depth_files import check_camera, read_view
from methods.d2net.training.data.depth_warp import (
    PosedView,
    crop_pair,
    seen_at,
    shared_point,
    unproject,
)
from methods.d2net.training.data.pairs import FloatArray, PairSource, TrainingPair, hash_of_files

CAMERAS, PAIRS = "cameras.json", "pairs.txt"
IMAGES, DEPTH = "images", "depth"
DEPTH_SUFFIXES = (".npy", ".png")
HELD_OUT = 10  # every tenth scene, or pair of a single scene, is for validation
LEAST_OVERLAP = 0.5  # as in D2-Net's training on MegaDepth
GRID = 16  # points across an image, and down, that its overlap is measured on


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image, its depth map and its camera; see `PosedView`."""

    image: Path
    depth: Path
    intrinsics: FloatArray
    cam_from_world: FloatArray

    def read(self) -> PosedView:
        """Reads both files.

        Raises:
            D2EvalError: one is missing or broken, or their sizes differ.
        """
        return read_view(self.image, self.depth, self.intrinsics, self.cam_from_world)


def find_scenes(folder: Path) -> list[Path]:
    """The folders of the scenes below ``folder``, sorted, or ``folder`` itself.

    Raises:
        D2EvalError: there is no such folder or no scene.
    """
    if not folder.is_dir():
        raise D2EvalError(f"{folder}: no such folder; give a folder of scenes")
    if (folder / CAMERAS).is_file():
        return [folder]
    found = [path.parent for path in find(folder, f"*/{CAMERAS}")]
    if not found:
        raise D2EvalError(f"{folder}: holds no scene, that is no folder with {CAMERAS}")
    return found


def _matrix(entry: dict[str, Any], name: str) -> FloatArray:
    return np.array(entry[name], np.float64)


def read_scene(scene: Path) -> dict[str, PosedImage]:
    """The images of a scene by name, sorted.

    Raises:
        D2EvalError: cameras.json is broken, or an image or depth map in it is missing.
    """
    path = scene / CAMERAS
    images: dict[str, PosedImage] = {}
    depths: dict[Path, str] = {}
    content = read_json(path, "write it again")
    if not isinstance(content, dict):
        raise D2EvalError(f"{path}: is no JSON object by image name; write it again")
    for name, entry in sorted(content.items()):
        check_name(name, str(path))
        try:
            intrinsics, pose = _matrix(entry, "intrinsics"), _matrix(entry, "cam_from_world")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise D2EvalError(
                f"{path}: {name} has no intrinsics (3x3) or cam_from_world (4x4) as numbers"
            ) from error
        wrong = check_camera(intrinsics, pose)
        if wrong:
            raise D2EvalError(f"{path}: {name}: {wrong}")
        image = scene / IMAGES / name
        if not image.is_file():
            raise D2EvalError(f"{image}: no such image, but {path.name} names it")
        depth = _find_depth(scene, name)
        if depth in depths:
            raise D2EvalError(f"{depth}: is it of {depths[depth]} or {name}? rename one of them")
        depths[depth] = name
        images[name] = PosedImage(image, depth, intrinsics, pose)
    if len(images) < 2:
        raise D2EvalError(f"{path}: names fewer than two images; pairs need two")
    return images


def _find_depth(scene: Path, name: str) -> Path:
    paths = [(scene / DEPTH / name).with_suffix(suffix) for suffix in DEPTH_SUFFIXES]
    for path in paths:
        if path.is_file():
            return path
    raise D2EvalError(f"{paths[0]}: no depth map of {name}, nor {paths[1].name} there")


def read_pairs(path: Path, images: dict[str, PosedImage]) -> list[tuple[str, str]]:
    """The pairs that a file lists, each once, in the order of its lines.

    Raises:
        D2EvalError: a line does not name two of the images.
    """
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for number, line in read_lines(path):
        names = line.split()
        if not names:
            continue
        if len(names) != 2 or names[0] == names[1]:
            raise D2EvalError(f"{path}: line {number} does not name two images")
        for name in names:
            if name not in images:
                raise D2EvalError(f"{path}: line {number}: {name} is not in {CAMERAS}")
        pairs.setdefault(frozenset(names), (names[0], names[1]))
    if not pairs:
        raise D2EvalError(f"{path}: names no pair; remove it to have pairs chosen by overlap")
    return list(pairs.values())


def _grid(size: tuple[int, int]) -> FloatArray:
    """(256, 2) pixels all over an image of (height, width)."""
    rows, columns = (np.rint(np.linspace(0, length - 1, GRID + 2)[1:-1]) for length in size)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)


def overlaps(images: list[PosedImage], what: str) -> FloatArray:
    """(N, N): the share of image i's points of known depth that image j shows; 0 if it has none.

    Args:
        images: N of them.
        what: is said beside the progress bar.

    Raises:
        D2EvalError: a file is missing or broken, or sizes differ.
    """
    places, counts = [], []
    for image in progress(images, f"{what}: depth"):
        view = image.read()
        found, known = unproject(view, _grid(view.size))
        places.append(found[known])
        counts.append(np.count_nonzero(known))
    together, owner = np.concatenate(places), np.repeat(np.arange(len(images)), counts)
    shares = np.zeros((len(images), len(images)))
    for column, image in enumerate(progress(images, f"{what}: overlap")):
        _, seen = seen_at(image.read(), together)
        shares[:, column] = np.bincount(owner[seen], minlength=len(images))
    return np.asarray(shares / np.maximum(counts, 1)[:, None], np.float64)


def choose_pairs(scene: Path, images: dict[str, PosedImage]) -> list[tuple[str, str]]:
    """The pairs in which each image shows half of the other or more.

    Raises:
        D2EvalError: there is none.
    """
    names = list(images)
    shares = overlaps(list(images.values()), scene.name)
    mutual = np.minimum(shares, shares.T)
    pairs = [
        (names[i], names[j])
        for i, j in combinations(range(len(names)), 2)
        if mutual[i, j] >= LEAST_OVERLAP
    ]
    if not pairs:
        raise D2EvalError(
            f"{scene}: no two images show half of each other or more; check poses, intrinsics and "
            f"the unit of depth, or name pairs in {PAIRS}"
        )
    return pairs


def _split(scenes: list[Path], held_out: bool) -> list[Path]:
    return [s for n, s in enumerate(scenes) if (n % HELD_OUT == 0) == held_out]


def photos_of_held_out_scenes(folder: Path) -> list[Path]:
    """The images that training never shows; none if there is a single scene.

    Raises:
        D2EvalError: data are missing or broken.
    """
    scenes = find_scenes(folder)
    if len(scenes) < 2:
        return []
    return [i.image for scene in _split(scenes, True) for i in read_scene(scene).values()]


class PosedPairs(PairSource):
    """256x256 crops of two posed images around a place that both show.

    An epoch shows each pair once. Which image comes first, and the place, are drawn.
    """

    def __init__(self, folder: Path, held_out: bool) -> None:
        """Opens the scenes and chooses their pairs.

        Args:
            folder: of scenes, see this module.
            held_out: the pairs for validation instead of those for training.

        Raises:
            D2EvalError: data are missing or broken, or there are no two pairs.
        """
        scenes = find_scenes(folder)
        if len(scenes) > 1:
            chosen = _split(scenes, held_out)
            self._pairs = [pair for scene in chosen for pair in self._open(scene)]
            return
        pairs = self._open(scenes[0])
        if len(pairs) < 2:
            raise D2EvalError(f"{folder}: has a single pair; training needs at least two")
        self._pairs = [p for n, p in enumerate(pairs) if (n % HELD_OUT == 0) == held_out]

    @staticmethod
    def _open(scene: Path) -> list[tuple[str, PosedImage, PosedImage]]:
        images, listed = read_scene(scene), scene / PAIRS
        names = read_pairs(listed, images) if is_there(listed) else choose_pairs(scene, images)
        return [(scene.name, images[a], images[b]) for a, b in names]

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return len(self._pairs)

    def describe(self) -> dict[str, Any]:
        """How many scenes and pairs, and a hash of the pairs' files."""
        images = [image for _, *pair in self._pairs for image in pair]
        return {
            "scenes": len({scene for scene, *_ in self._pairs}),
            "pairs": len(self._pairs),
            "files": hash_of_files(path for image in images for path in (image.image, image.depth)),
        }

    def draw(self, index: int, rng: np.random.Generator) -> TrainingPair | None:
        """Crops of pair ``index``.

        Raises:
            D2EvalError: a file is missing or broken, or sizes differ.
        """
        scene, first, second = self._pairs[index]
        if rng.random() < 0.5:
            first, second = second, first
        views = first.read(), second.read()
        centers = shared_point(*views, rng)
        if centers is None:
            return None
        return crop_pair(f"{scene}/{first.image.name} {second.image.name}", views, centers)
