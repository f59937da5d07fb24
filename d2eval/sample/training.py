"""The embedded scene in the layout that D2-Net is trained from: posed images.

The cameras look at the square of the Aachen sample by day, without distortion, so images, depth
and poses are exact.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2eval.contracts.features import Float32Array
from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import Lighting, photograph
from d2eval.foundation.terminal.progress import progress
from d2eval.sample.photos import build_sample, encoded, load_photo
from d2eval.sample.scene import Camera, FloatArray, Point, look_at, render
from d2eval.sample.square import PHOTOS, SKY, WALLS, make_square

GENERATOR_VERSION = 1  # to be raised when the same recipe gives other images

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
    """What a shot gave."""

    cam_from_world: FloatArray  # (4, 4)
    image: RgbImage  # (H, W, 3) uint8
    depth: Float32Array  # (H, W) float32, metres; 0 where nothing is
    xyz: Float32Array  # (H, W, 3) float32 in the world


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

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    recipe = (GENERATOR_VERSION, WALLS, SKY, SCENES, CAMERA)

    def build(folder: Path) -> None:
        for name, shots in SCENES.items():
            write_posed_scene(folder / name, take(shots))

    return build_sample(cache, "training", recipe, map(load_photo, PHOTOS), build)


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


def write_posed_scene(folder: Path, taken: Mapping[str, Taken]) -> None:
    """Writes a scene as ``d2eval train --data posed:`` reads it, without pairs.txt.

    Raises:
        D2EvalError: the folder can't be written.
    """
    intrinsics = [[CAMERA.focal, 0, CAMERA.cx], [0, CAMERA.focal, CAMERA.cy], [0, 0, 1]]
    cameras = {}
    for name, shot in taken.items():
        write_bytes(folder / "images" / name, encoded(shot.image))
        buffer = io.BytesIO()
        np.save(buffer, shot.depth)
        write_bytes(folder / "depth" / f"{Path(name).stem}.npy", buffer.getvalue())
        cameras[name] = {"intrinsics": intrinsics, "cam_from_world": shot.cam_from_world.tolist()}
    write_text(folder / "cameras.json", json.dumps(cameras, indent=1) + "\n")
