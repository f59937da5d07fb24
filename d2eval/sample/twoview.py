"""The embedded set of image pairs with poses: the rendered square by day, seen by pinholes."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.terminal.progress import progress
from d2eval.sample.aachen import DB_SHOTS, Shot, take_picture
from d2eval.sample.photos import build_sample, encoded, load_photo
from d2eval.sample.scene import Camera, render
from d2eval.sample.square import PHOTOS, SKY, WALLS, make_square

GENERATOR_VERSION = 1  # to be raised when the same recipe gives other images
CAMERA = Camera(320, 240, 280.0, 160.0, 120.0)
SHOTS = tuple(replace(s, name=Path(s.name).name, camera=CAMERA) for s in DB_SHOTS[1:5])
STEPS = (1, 2, 3)  # pairs are so many shots apart
HEADER = (
    "scene,image0,image1,fx0,fy0,cx0,cy0,fx1,fy1,cx1,cy1,"
    "r11,r12,r13,t1,r21,r22,r23,t2,r31,r32,r33,t3"
)


def make_twoview_sample(cache: Path) -> Path:
    """Renders the set on first use; the same recipe gives the same images and list.

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    photos = {name: load_photo(name) for name in PHOTOS}
    recipe = (GENERATOR_VERSION, SHOTS, STEPS, WALLS, SKY)

    def build(folder: Path) -> None:
        scene = make_square({name: photo.decode() for name, photo in photos.items()})
        for index, shot in enumerate(progress(SHOTS, "rendering the sample")):
            view = render(scene, shot.camera, shot.cam_from_world)
            image = take_picture(shot, view, np.random.default_rng(index))
            write_bytes(folder / shot.name, encoded(image))
        lines = [_line(*pair) for step in STEPS for pair in zip(SHOTS, SHOTS[step:], strict=False)]
        write_text(folder / "pairs.csv", "\n".join([HEADER, *lines, ""]))

    return build_sample(cache, "twoview", recipe, photos.values(), build)


def _line(first: Shot, second: Shot) -> str:
    from_first, from_second = first.cam_from_world, second.cam_from_world
    rotation = from_second[:, :3] @ from_first[:, :3].T
    pose = np.column_stack([rotation, from_second[:, 3] - rotation @ from_first[:, 3]])
    numbers = [*_intrinsics(first.camera), *_intrinsics(second.camera), *pose.ravel()]
    return ",".join(["square", first.name, second.name, *(f"{n:.12g}" for n in numbers)])


def _intrinsics(camera: Camera) -> list[float]:
    return [camera.focal, camera.focal, camera.cx, camera.cy]
