"""Training's rendered images in the layout of MegaDepth, and with depth as PNG."""

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pycolmap
from PIL import Image

from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.formats.poses import wxyz
from d2eval.sample.photos import encoded
from d2eval.sample.scene import FloatArray, to_camera
from d2eval.sample.training import CAMERA, Taken

POINT_STRIDE = 12  # pixels between the places of an image that become 3D points
VISIBLE_M = 0.02  # difference of depth up to which a 3D point is seen in another image
MILLIMETRES = 1000  # to a metre


def depth_to_png(scene: Path) -> None:
    """Writes the depth of a posed scene as 16-bit millimetres instead of .npy."""
    for path in sorted((scene / "depth").glob("*.npy")):
        millimetres = np.rint(np.load(path) * MILLIMETRES).astype(np.uint16)
        Image.fromarray(millimetres).save(path.with_suffix(".png"))
        path.unlink()


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
        write_bytes(undistorted / "images" / image, encoded(shot.image))
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
