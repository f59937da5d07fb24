"""The embedded set in the layout of Aachen Day-Night: a rendered square by day and by night.

Poses, intrinsics and depth are exact because the images are made from them. Folders, file names
and line formats are those of Aachen Day-Night v1.
"""

import contextlib
import math
import sqlite3
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.formats.poses import center, pose_line, wxyz
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.images.photometry import (
    Color,
    Lamp,
    Lighting,
    add_lamp,
    photograph,
    scale_channels,
)
from d2eval.foundation.terminal.progress import progress
from d2eval.sample.photos import build_sample, encoded, load_photo
from d2eval.sample.scene import Camera, FloatArray, Point, View, look_at, render, to_camera
from d2eval.sample.square import PHOTOS, SKY, WALLS, make_square

GENERATOR_VERSION = 1  # to be raised when the same recipe gives other images
IMAGES = "images/images_upright"
MODEL = "3D-models/aachen_cvpr2018_db.nvm"
DB_INTRINSICS = "3D-models/database_intrinsics.txt"
DATABASE = "database.db"
PAIRS = "image_pairs_to_match.txt"
REFERENCES = "reference_poses.txt"

RETRIEVED = 6  # database images that each query is matched with
PLACEHOLDER_FOCAL = 1.2  # of an unknown camera, in image widths: COLMAP's default
ID_SEED = 0  # of the order of the database's ids, which is not that of the names
DAYLIGHT = Lighting()


@dataclass(frozen=True)
class Lantern:
    """A street lantern."""

    position: Point  # of the brightest point under it
    height: float  # in metres, see `Lamp`
    color: Color  # see `Lamp`


@dataclass(frozen=True)
class Shot:
    """An image to be taken.

    Attributes:
        name: below the image folder.
        camera, center, target, roll_deg: see `look_at`.
        lighting: of the picture; by night what the camera does with the light that is left.
        night: whether the scene is lit by the night sky and the lanterns.
    """

    name: str
    camera: Camera
    center: Point
    target: Point
    roll_deg: float = 0.0
    lighting: Lighting = DAYLIGHT
    night: bool = False

    @property
    def cam_from_world(self) -> FloatArray:
        """(3, 4) pose."""
        return look_at(self.center, self.target, self.roll_deg)


_COMPACT = Camera(512, 384, 432.0, 256.0, 192.0, -0.02)
_REFLEX = Camera(512, 384, 456.0, 256.0, 192.0, 0.008)
_UPRIGHT = Camera(384, 512, 432.0, 192.0, 256.0, -0.02)
_NEXUS = Camera(512, 384, 384.0, 256.0, 192.0, -0.0324)  # Aachen's, at this size

NIGHT_SKY: Color = (0.022, 0.030, 0.056)
LANTERNS = (
    Lantern((-3.6, 7.5, 2.6), 1.2, (0.75, 0.48, 0.20)),
    Lantern((0.4, 10.0, 2.8), 1.4, (0.70, 0.46, 0.20)),
    Lantern((4.0, 8.2, 2.4), 1.2, (0.55, 0.50, 0.38)),
    Lantern((1.4, 5.8, 1.0), 0.7, (0.30, 0.20, 0.10)),
)
_DUSK = Lighting(stops=-0.3, balance=(0.85, 0.97, 1.25), blur=0.6, vignette=0.4, sensor_gain=5.0)

DB_SHOTS = (
    Shot("db/0000.jpg", _COMPACT, (-4.3, 1.2, 1.60), (-1.1, 8.5, 1.7)),
    Shot("db/0001.jpg", _REFLEX, (-3.2, 0.5, 1.70), (-0.9, 8.5, 1.8), 1.0),
    Shot("db/0002.jpg", _COMPACT, (-2.1, 1.6, 1.65), (-0.6, 8.5, 1.7), -1.0),
    Shot("db/0003.jpg", _REFLEX, (-1.0, 0.4, 1.55), (-0.3, 8.5, 1.6)),
    Shot("db/0004.jpg", _COMPACT, (0.1, 1.4, 1.75), (0.0, 8.5, 1.6), 1.5),
    Shot("db/0005.jpg", _REFLEX, (1.2, 0.5, 1.60), (0.3, 8.5, 1.8)),
    Shot("db/0006.jpg", _COMPACT, (2.3, 1.5, 1.70), (0.7, 8.5, 1.6), -1.5),
    Shot("db/0007.jpg", _REFLEX, (3.4, 0.6, 1.65), (0.9, 8.5, 1.7)),
    Shot("db/0008.jpg", _COMPACT, (4.5, 1.3, 1.60), (1.1, 8.5, 1.7), 1.0),
    Shot("db/0009.jpg", _UPRIGHT, (0.4, -0.6, 1.80), (0.1, 8.5, 1.6)),
)
DAY_SHOTS = (
    Shot(
        "query/day/nexus5x/day_0000.jpg", _NEXUS, (-2.7, 1.9, 1.5), (-0.9, 8.5, 1.5), 2.0,
        Lighting(stops=0.3, balance=(1.04, 1.0, 0.95)),
    ),
    Shot(
        "query/day/nexus5x/day_0001.jpg", _NEXUS, (0.6, 2.1, 1.8), (0.3, 8.5, 1.9), -3.0,
        Lighting(stops=-0.4, balance=(0.96, 1.0, 1.05)),
    ),
    Shot(
        "query/day/nexus5x/day_0002.jpg", _NEXUS, (2.9, 1.0, 1.6), (0.5, 8.5, 1.6), 3.0,
        Lighting(stops=-0.2, gamma=1.1),
    ),
)  # fmt: skip
NIGHT_SHOTS = (
    Shot(
        "query/night/nexus5x/night_0000.jpg", _NEXUS, (-1.6, 1.4, 1.7), (-0.7, 8.5, 1.7), -2.0,
        _DUSK, night=True,
    ),
    Shot(
        "query/night/nexus5x/night_0001.jpg", _NEXUS, (0.5, 1.0, 1.5), (0.2, 8.5, 1.7), 2.0,
        replace(_DUSK, stops=-0.6, blur=0.8), night=True,
    ),
    Shot(
        "query/night/nexus5x/night_0002.jpg", _NEXUS, (2.2, 2.0, 1.7), (0.9, 8.5, 1.6), 3.0,
        replace(_DUSK, sensor_gain=8.0), night=True,
    ),
)  # fmt: skip
SHOTS = DB_SHOTS + DAY_SHOTS + NIGHT_SHOTS
_QUERY_LISTS = {
    "queries/day_time_queries_with_intrinsics.txt": DAY_SHOTS,
    "queries/night_time_queries_with_intrinsics.txt": NIGHT_SHOTS,
}


def make_aachen_sample(cache: Path) -> Path:
    """Renders the set on first use; the same recipe gives the same images and texts.

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    photos = {name: load_photo(name) for name in PHOTOS}
    recipe = (GENERATOR_VERSION, WALLS, SKY, LANTERNS, NIGHT_SKY, SHOTS, RETRIEVED)

    def build(folder: Path) -> None:
        scene = make_square({name: photo.decode() for name, photo in photos.items()})
        for index, shot in enumerate(progress(SHOTS, "rendering the sample")):
            view = render(scene, shot.camera, shot.cam_from_world)
            image = take_picture(shot, view, np.random.default_rng(index))
            write_bytes(folder / IMAGES / shot.name, encoded(image))
        _write_cameras(folder)
        write_text(folder / PAIRS, _pair_lines())
        _write_database(folder / DATABASE)

    return build_sample(cache, "aachen", recipe, photos.values(), build)


def take_picture(shot: Shot, view: View, rng: np.random.Generator) -> RgbImage:
    """The image of a view in the light of its shot; by night lanterns add to what is left."""
    if not shot.night:
        return photograph(view.rgb, shot.lighting, rng)
    lit = scale_channels(view.rgb, NIGHT_SKY)
    solid = view.rgb * np.isfinite(view.depth)[..., None]  # lanterns don't light the sky
    for lantern in LANTERNS:
        lit = add_lamp(lit, solid, _lamp(lantern, shot))
    return photograph(lit, shot.lighting, rng)


def _lamp(lantern: Lantern, shot: Shot) -> Lamp:
    """The lantern as the camera sees it; all of them stand before every camera."""
    camera = shot.camera
    local = to_camera(shot.cam_from_world, np.array([lantern.position]))
    x, y = camera.img_from_cam(local)[0]
    unit = float(np.hypot(camera.width, camera.height)) / 2
    return Lamp(
        ((x - camera.width / 2) / unit, (y - camera.height / 2) / unit),
        lantern.height * camera.focal / local[0, 2] / unit,
        lantern.color,
    )


def _pair_lines() -> str:
    """Each query with the database images nearest to it, and the union of those images' pairs."""
    retrieved = {
        query.name: sorted(shot.name for shot in _nearest(query))
        for query in NIGHT_SHOTS + DAY_SHOTS
    }
    pairs = sorted({pair for names in retrieved.values() for pair in combinations(names, 2)})
    pairs += [(query, name) for query, names in retrieved.items() for name in names]
    return "".join(f"{first} {second}\n" for first, second in pairs)


def _nearest(query: Shot) -> list[Shot]:
    return sorted(DB_SHOTS, key=lambda shot: math.dist(shot.center, query.center))[:RETRIEVED]


def _intrinsics_line(shot: Shot) -> str:
    c = shot.camera
    return (
        f"{shot.name} SIMPLE_RADIAL {c.width} {c.height} "
        f"{c.focal:.12g} {c.cx:.12g} {c.cy:.12g} {c.radial:.12g}\n"
    )


def _pose(shot: Shot) -> pycolmap.Rigid3d:
    return pycolmap.Rigid3d(shot.cam_from_world)


def _nvm_line(shot: Shot) -> str:
    pose = _pose(shot)
    rotation = " ".join(f"{value:.12f}" for value in wxyz(pose))
    position = " ".join(f"{value:.12f}" for value in center(pose))
    # VisualSfM's distortion undoes what COLMAP's does: to first order the opposite number.
    return (
        f"{shot.name} {shot.camera.focal:.8f} {rotation} {position} {-shot.camera.radial:.12f} 0\n"
    )


def _write_cameras(folder: Path) -> None:
    cameras = "".join(_nvm_line(shot) for shot in DB_SHOTS)
    write_text(folder / MODEL, f"NVM_V3\n\n{len(DB_SHOTS)}\n{cameras}\n0\n")
    for name, shots in ({DB_INTRINSICS: DB_SHOTS} | _QUERY_LISTS).items():
        write_text(folder / name, "".join(_intrinsics_line(shot) for shot in shots))
    queries = DAY_SHOTS + NIGHT_SHOTS
    poses = "".join(pose_line(shot.name, _pose(shot)) + "\n" for shot in queries)
    write_text(folder / REFERENCES, poses)


def _write_database(path: Path) -> None:
    """Cameras and images alone; as in Aachen's the database cameras are placeholders."""
    order = np.random.default_rng(ID_SEED).permutation(len(DB_SHOTS))
    shots = [DB_SHOTS[i] for i in order] + list(DAY_SHOTS + NIGHT_SHOTS)
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for shot in shots:
            c = shot.camera
            parameters = [c.focal, c.cx, c.cy, c.radial]
            if shot in DB_SHOTS:
                parameters = [PLACEHOLDER_FOCAL * max(c.width, c.height), c.cx, c.cy, 0.0]
            camera = pycolmap.Camera(
                model="SIMPLE_RADIAL", width=c.width, height=c.height, params=parameters,
                has_prior_focal_length=False,
            )  # fmt: skip
            camera_id = database.write_camera(camera)
            database.write_image(pycolmap.Image(name=shot.name, camera_id=camera_id))
    # COLMAP leaves write-ahead logging on, with which even a reader writes beside the file.
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
