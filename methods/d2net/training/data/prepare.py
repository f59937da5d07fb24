"""MegaDepth made ready for training, as D2-Net's code does (megadepth_utils/preprocess_scene.py).

A scene's undistorted COLMAP model tells which images see the same places: the overlap of an
ordered pair is the number of 3D points that both show over the number that the first one shows.
The scale ratio of a pair is the least max(d1/d2, d2/d1) of those points, d being depth / focal
length. Images without a depth map, or with a mask instead of one (a small file), are left out.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2eval.contracts.preparation import Preparer
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import exclusive, write_bytes
from d2eval.foundation.files.paths import listed
from d2eval.foundation.formats.colmap_formats import NO_POINT, ModelCamera, ModelImage
from d2eval.foundation.formats.colmap_model import ColmapModel, read_model
from d2eval.foundation.terminal.progress import progress
from methods.d2net.training.data.depth_files import h5_depth_size
from methods.d2net.training.data.megadepth import Observations, load_recipe
from methods.d2net.training.data.pairs import FloatArray, IntArray
from methods.d2net.training.data.scene_file import FORMAT, read_scene_file

NAMES_SHOWN = 10  # in a message

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SceneFolders:
    """Where a scene's parts lie."""

    images: Path
    model: Path
    depth: Path


@dataclass(frozen=True, eq=False)
class Pairs:
    """Ordered pairs of images that share a 3D point.

    Attributes:
        images: (P, 2) indices, sorted.
        overlaps: (P,) shared 3D points / those of the first image.
        scale_ratios: (P,) least ratio of a shared point's normalized depths.
    """

    images: IntArray
    overlaps: Float32Array
    scale_ratios: Float32Array


class MegaDepthPreparer(Preparer):
    """Writes <scene>.npz for each scene of MegaDepth."""

    description = "MegaDepth: overlaps and cameras of each undistorted scene"

    def prepare(self, data: Path, output: Path, scenes: Sequence[str]) -> list[str]:
        """Prepares scenes; see `d2eval.contracts.preparation.Preparer`."""
        root = data.resolve()
        found, lacking = find_scenes(root, scenes)
        done = 0
        with exclusive(output):
            missing = [name for name in found if not _is_done(output / f"{name}.npz", root)]
            for name in progress(missing, "preparing scenes"):
                arrays = read_scene(root, found[name])
                if arrays is None:
                    lacking.append(name)
                    continue
                buffer = io.BytesIO()
                np.savez(buffer, **arrays)
                write_bytes(output / f"{name}.npz", buffer.getbuffer())
                done += 1
        lines = [f"{output}: {done} scenes prepared, {len(found) - len(missing)} were there"]
        if lacking:
            shown = ", ".join(lacking[:NAMES_SHOWN])
            shown += ", ..." if len(lacking) > NAMES_SHOWN else ""
            lines.append(f"left out, no model, images or depth: {len(lacking)} scenes ({shown})")
        return lines


def find_scenes(root: Path, names: Sequence[str] = ()) -> tuple[dict[str, SceneFolders], list[str]]:
    """The scenes of MegaDepth's folder that are whole, and the names of those that are not.

    Args:
        root: the folder.
        names: only these; then each must be whole.

    Raises:
        D2EvalError: there is no scene, or one that is named is not whole.
    """
    layout = load_recipe()["layout"]
    undistorted = root / layout["undistorted"]
    if not undistorted.is_dir():
        raise D2EvalError(
            f"{undistorted}: no such folder; undistort MegaDepth's models with COLMAP's "
            "image_undistorter (--max_image_size: the depth maps' largest side) first"
        )
    found, lacking = {}, []
    for name in names or [p.name for p in listed(undistorted) if p.is_dir()]:
        places = {
            "images": [undistorted / name / layout["images"]],
            "model": [undistorted / name / model for model in layout["models"]],
            "depth": [root / depth / name / layout["depth_maps"] for depth in layout["depth"]],
        }
        there = {part: [p for p in paths if p.is_dir()] for part, paths in places.items()}
        for part, paths in there.items():
            if names and not paths:
                raise D2EvalError(f"{places[part][0]}: no such folder; scene {name} has no {part}")
        if all(there.values()):
            found[name] = SceneFolders(**{part: paths[0] for part, paths in there.items()})
        else:
            lacking.append(name)
    if not found:
        raise D2EvalError(f"{root}: holds no scene with model, images and depth maps")
    return found, lacking


def _is_done(path: Path, root: Path) -> bool:
    if not path.exists():
        return False
    try:
        return str(read_scene_file(path)["root"]) == str(root)
    except D2EvalError:
        return False  # broken, or of an older version: written anew


def read_scene(root: Path, scene: SceneFolders) -> dict[str, Any] | None:
    """The arrays of a scene's file; None if none of its images has a depth map.

    See `methods.d2net.training.data.scene_file.FIELDS` for what they are.

    Raises:
        D2EvalError: the model is broken or not of undistorted images, an image is missing, or a
            depth map is broken or of another size than its image.
    """
    model = read_model(scene.model)
    least = load_recipe()["usable"]["least_depth_bytes"]
    images = []
    for _, image in sorted(model.images.items()):
        depth = (scene.depth / image.name).with_suffix(".h5")
        if not depth.is_file() or depth.stat().st_size < least:
            continue
        if not (scene.images / image.name).is_file():
            raise D2EvalError(f"{scene.images / image.name}: no such image, but its model has it")
        images.append((image, depth))
    if not images:
        return None
    cameras = [model.cameras[image.camera] for image, _ in images]
    for camera, (_, depth) in zip(cameras, images, strict=True):
        _check_camera(scene, camera, depth)
    intrinsics = np.stack([camera.matrix() for camera in cameras])
    poses = np.stack([np.vstack([i.cam_from_world.matrix(), [0, 0, 0, 1]]) for i, _ in images])
    seen = [
        _observations(model, image, pose, (k[0, 0] + k[1, 1]) / 2)
        for (image, _), pose, k in zip(images, poses, intrinsics, strict=True)
    ]
    pairs = pair_up(seen)
    return {
        "format": np.array(FORMAT),
        "root": np.array(str(root)),
        "image_paths": np.array(
            [(scene.images / image.name).relative_to(root).as_posix() for image, _ in images]
        ),
        "depth_paths": np.array([depth.relative_to(root).as_posix() for _, depth in images]),
        "intrinsics": intrinsics,
        "poses": poses,
        "pairs": pairs.images,
        "overlaps": pairs.overlaps,
        "scale_ratios": pairs.scale_ratios,
        "offsets": np.cumsum([0, *(len(observed.ids) for observed in seen)]),
        "point_ids": np.concatenate([observed.ids for observed in seen]),
        "points": np.concatenate([observed.points for observed in seen]),
        "normalized_depths": np.concatenate([observed.normalized_depths for observed in seen]),
    }


def _check_camera(scene: SceneFolders, camera: ModelCamera, depth: Path) -> None:
    width, height = h5_depth_size(depth)
    if (width, height) != (camera.width, camera.height):
        raise D2EvalError(
            f"{depth}: is {width}x{height}, but {scene.model} says {camera.width}x"
            f"{camera.height}; undistort with --max_image_size {max(width, height)}"
        )


def _observations(
    model: ColmapModel, image: ModelImage, pose: FloatArray, focal: float
) -> Observations:
    """What an image shows; a point that it shows twice counts once, where it is listed last."""
    listed = {
        number: xy
        for number, xy in zip(image.points.tolist(), image.xy, strict=True)
        if number != NO_POINT
    }
    ids = sorted(listed)
    places = np.array([model.points[number].xyz for number in ids]).reshape(-1, 3)
    return Observations(
        np.array(ids, np.int64),
        np.array([listed[number] for number in ids], np.float32).reshape(-1, 2),
        np.asarray((places @ pose[2, :3] + pose[2, 3]) / focal, np.float32),
    )


def pair_up(seen: Sequence[Observations]) -> Pairs:
    """Overlaps and scale ratios of all ordered pairs that share a 3D point.

    Args:
        seen: what each image shows.
    """
    ids = np.concatenate([observed.ids for observed in seen])
    depths = np.concatenate([observed.normalized_depths for observed in seen]).astype(np.float64)
    owners = np.repeat(np.arange(len(seen)), [len(observed.ids) for observed in seen])
    _, point = np.unique(ids, return_inverse=True)
    # Observations by point: those of point p are by_point[first[p] : first[p + 1]].
    by_point = np.argsort(point, kind="stable")
    first = np.searchsorted(point[by_point], np.arange(point.max(initial=-1) + 2))
    images, overlaps, ratios = [], [], []
    for index in range(len(seen)):
        mine = np.flatnonzero(owners == index)
        lengths = first[point[mine] + 1] - first[point[mine]]
        starts = np.repeat(first[point[mine]] - np.cumsum(lengths) + lengths, lengths)
        others = by_point[starts + np.arange(lengths.sum())]
        ratio = depths[others] / np.repeat(depths[mine], lengths)
        least = np.full(len(seen), np.inf)
        np.minimum.at(least, owners[others], np.maximum(ratio, 1 / ratio))
        shared = np.bincount(owners[others], minlength=len(seen))
        shared[index] = 0
        partners = np.flatnonzero(shared)
        images.append(np.column_stack([np.full(len(partners), index), partners]))
        overlaps.append(shared[partners] / max(len(mine), 1))
        ratios.append(least[partners])
    return Pairs(
        np.concatenate(images).astype(np.int64),
        np.concatenate(overlaps).astype(np.float32),
        np.concatenate(ratios).astype(np.float32),
    )
