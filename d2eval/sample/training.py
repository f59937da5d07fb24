"""The embedded scene in the layouts that D2-Net is trained from: MegaDepth's, and posed images.

The cameras look at the square of the Aachen sample by day, without distortion, so images, depth,
poses and the sparse model are exact.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pycolmap
from PIL import Image

from d2eval.contracts.features import Float32Array
from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.files.folders import build_once
from d2eval.foundation.formats.poses import wxyz
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import Lighting, photograph
from d2eval.foundation.terminal.progress import progress
from d2eval.sample.photos import load_photo
from d2eval.sample.scene import Camera, FloatArray, Point, look_at, render, to_camera
from d2eval.sample.square import PHOTOS, SKY, WALLS, make_square

GENERATOR_VERSION = 1  # to be raised when the same recipe gives other images
JPEG_QUALITY = 95
MILLIMETRES = 1000  # to a metre
POINT_STRIDE = 12  # pixels between the places of an image that become 3D points
VISIBLE_M = 0.02  # difference of depth up to which a 3D point is seen in another image

DAYLIGHT = Lighting()
CAMERA = Camera(384, 288, 330.0, 192.0, 144.0)


@dataclass(frozen=True)
class Shot:
    """An image to be taken; see `look_at`."""

    name: str
    center: Point
    target: Point
    roll_deg: float = 0.0
    lighting: Lighting = DAYLIGHT


@dataclass(frozen=True, eq=False)
class Taken:
    """What a shot gave.

    Attributes:
        cam_from_world: (4, 4).
        image: (H, W, 3) uint8.
        depth: (H, W) float32, metres; 0 where nothing is.
        xyz: (H, W, 3) float32 in the world.
    """

    cam_from_world: FloatArray
    image: RgbImage
    depth: Float32Array
    xyz: Float32Array


# Two walks before the square; images next to each other show more than half of one another.
TRAINING_SHOTS = (
    Shot("a0.jpg", (-1.8, 1.6, 1.6), (-1.0, 8.5, 1.7)),
    Shot("a1.jpg", (-0.9, 0.7, 1.7), (-0.5, 8.5, 1.6), 3.0, Lighting(stops=-0.3)),
    Shot("a2.jpg", (0.2, 1.5, 1.5), (0.2, 8.5, 1.7), -2.0, Lighting(balance=(1.05, 1.0, 0.93))),
    Shot("a3.jpg", (1.2, 0.9, 1.8), (0.6, 8.5, 1.6), 0.0, Lighting(stops=0.2)),
)
VALIDATION_SHOTS = (
    Shot("b0.jpg", (-0.6, 1.9, 1.6), (0.2, 8.5, 1.6), 1.0),
    Shot("b1.jpg", (0.5, 1.2, 1.7), (0.4, 8.5, 1.7), -2.0, Lighting(stops=-0.2)),
    Shot("b2.jpg", (1.4, 1.7, 1.6), (0.7, 8.5, 1.6)),
)
SCENES = {"held_out": VALIDATION_SHOTS, "walk": TRAINING_SHOTS}  # by folder


def make_training_sample(cache: Path) -> Path:
    """Renders `SCENES` on first use, as ``d2eval train --data posed:`` reads them.

    Args:
        cache: the cache folder; the set is ``sample/training-<hash>`` in it, where the hash is that
            of the recipe and of the photos.

    Returns:
        The folder of the scenes.

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    recipe = [repr((GENERATOR_VERSION, WALLS, SKY, SCENES, CAMERA))]
    recipe += [load_photo(name).sha256 for name in PHOTOS]
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]

    def build(folder: Path) -> None:
        for name, shots in SCENES.items():
            write_posed_scene(folder / name, take(shots))

    return build_once(cache / "sample" / f"training-{digest}", build)


def take(shots: Sequence[Shot]) -> dict[str, Taken]:
    """Renders the shots; by name.

    Raises:
        D2EvalError: a photo of the sample can't be read.
    """
    scene = make_square({name: load_photo(name).decode() for name in PHOTOS})
    taken = {}
    for number, shot in enumerate(progress(shots, "rendering the sample")):
        pose = np.eye(4)
        pose[:3] = look_at(shot.center, shot.target, shot.roll_deg)
        view = render(scene, CAMERA, pose[:3])
        image = photograph(view.rgb, shot.lighting, np.random.default_rng(number))
        taken[shot.name] = Taken(pose, image, np.nan_to_num(view.depth), view.xyz)
    return taken


def _jpeg(image: RgbImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_posed_scene(folder: Path, taken: Mapping[str, Taken], png: bool = False) -> None:
    """Writes a scene as ``d2eval train --data posed:`` reads it, without pairs.txt.

    Args:
        folder: of the scene.
        taken: the images.
        png: depth as 16-bit millimetres instead of .npy.

    Raises:
        D2EvalError: the folder can't be written.
    """
    intrinsics = [[CAMERA.focal, 0, CAMERA.cx], [0, CAMERA.focal, CAMERA.cy], [0, 0, 1]]
    cameras = {}
    for name, shot in taken.items():
        write_bytes(folder / "images" / name, _jpeg(shot.image))
        depth, buffer = folder / "depth" / Path(name).stem, io.BytesIO()
        if png:
            millimetres = np.rint(shot.depth * MILLIMETRES).astype(np.uint16)
            Image.fromarray(millimetres).save(buffer, "PNG")
        else:
            np.save(buffer, shot.depth)
        write_bytes(depth.with_suffix(".png" if png else ".npy"), buffer.getvalue())
        cameras[name] = {"intrinsics": intrinsics, "cam_from_world": shot.cam_from_world.tolist()}
    write_text(folder / "cameras.json", json.dumps(cameras, indent=1) + "\n")


def write_megadepth_scene(root: Path, name: str, taken: Mapping[str, Taken]) -> None:
    """Writes a scene as it is in MegaDepth's folder after COLMAP's image_undistorter.

    Args:
        root: MegaDepth's folder.
        name: of the scene.
        taken: the images.

    Raises:
        D2EvalError: the folder can't be written.
    """
    undistorted = root / "Undistorted_SfM" / name
    for image, shot in taken.items():
        write_bytes(undistorted / "images" / image, _jpeg(shot.image))
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["depth"] = shot.depth
        depth = root / "MegaDepth_v1" / name / "dense0/depths" / Path(image).with_suffix(".h5")
        write_bytes(depth, buffer.getvalue())
    _write_model(undistorted / "sparse-txt", taken)


def _write_model(folder: Path, taken: Mapping[str, Taken]) -> None:
    """Cameras, images and 3D points as COLMAP writes them as text."""
    places, c = _places(taken), CAMERA
    camera = f"1 PINHOLE {c.width} {c.height} {c.focal:.17g} {c.focal:.17g} {c.cx:.17g} {c.cy:.17g}"
    images, tracks = [], [""] * len(places)
    for number, (name, shot) in enumerate(taken.items(), 1):
        pose = pycolmap.Rigid3d(shot.cam_from_world[:3])
        numbers = " ".join(f"{value:.17g}" for value in (*wxyz(pose), *pose.translation))
        images.append(f"{number} {numbers} 1 {name}")
        shown, pixels = _visible(shot, places)
        rows = zip(pixels, shown, strict=True)
        images.append(" ".join(f"{x:.6f} {y:.6f} {point + 1}" for (x, y), point in rows))
        for index, point in enumerate(shown):
            tracks[point] += f" {number} {index}"
    points = [
        f"{number} {x:.9g} {y:.9g} {z:.9g} 128 128 128 0{track}"
        for number, ((x, y, z), track) in enumerate(zip(places, tracks, strict=True), 1)
    ]
    for file, lines in (("cameras", [camera]), ("images", images), ("points3D", points)):
        write_text(folder / f"{file}.txt", "\n".join(lines) + "\n")


def _places(taken: Mapping[str, Taken]) -> FloatArray:
    """(N, 3) places on a grid of each image."""
    grid = slice(POINT_STRIDE // 2, None, POINT_STRIDE)
    found = [shot.xyz[grid, grid][shot.depth[grid, grid] > 0] for shot in taken.values()]
    return np.concatenate(found).astype(np.float64)


def _visible(shot: Taken, places: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Which places (M,) a shot shows, and where: (M, 2) in COLMAP's pixels."""
    local = to_camera(shot.cam_from_world[:3], places)
    before = np.flatnonzero(local[:, 2] > 0)
    pixels = CAMERA.img_from_cam(local[before])
    x, y = np.floor(pixels).astype(np.int64).T
    inside = (x >= 0) & (x < CAMERA.width) & (y >= 0) & (y < CAMERA.height)
    before, pixels = before[inside], pixels[inside]
    agrees = np.abs(shot.depth[y[inside], x[inside]] - local[before, 2]) < VISIBLE_M
    return before[agrees], pixels[agrees]
