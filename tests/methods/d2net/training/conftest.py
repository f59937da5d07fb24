"""Random weights; the embedded scene, rendered once for all tests, and a judge of its pairs."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import d2net_reference as reference
import numpy as np
import pytest
import torch
from PIL import Image

from d2eval.contracts.method import Runtime
from d2eval.contracts.training import trainer_class
from d2eval.foundation.images.decoding import read_image
from d2eval.foundation.machine.processes import Rank
from d2eval.sample.photos import load_photo
from d2eval.sample.training import CAMERA, TRAINING_SHOTS, VALIDATION_SHOTS, Shot, Taken, take
from methods.d2net.training.data import depth_files, homographies
from methods.vgg16.layers import THROUGH_CONV4

CROP, STRIDE = 256, 8
# Pixels: a third of the computations of a training, over as many pairs and steps.
TRAINED_CROP = 160
PHOTOS = ("astronaut", "chelsea", "coffee")
# Others show most of c0 and it shows little of them; c1 shows what lies beside the square.
SHOTS = (
    *TRAINING_SHOTS,
    Shot("c0.jpg", (-0.6, 4.6, 1.5), (-0.3, 10.0, 1.8)),
    Shot("c1.jpg", (1.6, 1.2, 1.7), (4.9, 8.5, 1.5)),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads may depend on the machine's load, and they wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    """Random weights by the authors' names."""
    return reference.random_state(seed=7)


@pytest.fixture(scope="module")
def narrow() -> Iterator[dict[str, torch.Tensor]]:
    """Random weights of an eighth of the channels, which D2-Net has meanwhile."""
    layers = [
        (name, index, inputs if inputs == 3 else inputs // 8, outputs // 8)
        for name, index, inputs, outputs in THROUGH_CONV4
    ]
    with pytest.MonkeyPatch.context() as patch:
        for user in ("methods.d2net.network", "methods.d2net.training.network"):
            patch.setattr(f"{user}.THROUGH_CONV4", layers)
        yield reference.random_state(seed=7, narrower=8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Three small photos, of which one is held out."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(PHOTOS):
        crop = load_photo(name).decode()[60:160, 80:200]
        Image.fromarray(np.ascontiguousarray(crop)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def run_training(photos):
    """Trains an epoch of two pairs, if nothing else is said, without MMA, which takes its time."""

    def run(output, cache, lines, seed=0, data=None, **options):
        trainer = trainer_class("d2net")
        settings = {"epochs": 1, "weights": "bundled", "validation_photos": 0}
        settings |= {"learning_rate": 1e-5, "checkpoint_every": 1} | options
        runtime = Runtime(seed=seed, cache=cache)
        given = [data or f"homographies:{photos}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(homographies, "CROP", TRAINED_CROP)
            opened = trainer(trainer.Config(**settings), given, output, runtime, 0, Rank())
            opened.train(lambda: {"by": "test"}, lines.append)
        return output

    return run


@pytest.fixture(scope="session")
def taken() -> dict[str, Taken]:
    """The images of training and two more, by name."""
    return take(SHOTS)


@pytest.fixture(scope="session")
def taken_for_validation() -> dict[str, Taken]:
    """The images of validation, by name."""
    return take(VALIDATION_SHOTS)


@pytest.fixture
def read_once() -> Iterator[None]:
    """Many draws from a scene read each image and depth map of it once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("read_image", "read_depth"):
            patch.setattr(depth_files, name, functools.cache(getattr(depth_files, name)))
        yield


def find_crop(crop: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """(left, top) of the one place in an image where a crop was cut out."""
    tops = image[: len(image) - CROP + 1, :, 0]
    rows = np.lib.stride_tricks.sliding_window_view(tops, CROP, axis=1)
    places = np.argwhere((rows == crop[0, :, 0]).all(axis=2))
    (found,) = [
        (int(left), int(top))
        for top, left in places
        if np.array_equal(image[top : top + CROP, left : left + CROP], crop)
    ]
    return found


def between_pixels(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, C) bilinear values of (H, W, C) at (N, 2) points; NaN where a pixel around is NaN."""
    height, width = values.shape[:2]
    outside = ~((points >= 0) & (points <= (width - 1, height - 1))).all(axis=1)
    x, y = np.where(outside[:, None], 0, points).T
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = values[top, left] * (1 - u) + values[top, left + 1] * u
    lower = values[top + 1, left] * (1 - u) + values[top + 1, left + 1] * u
    return np.where(outside[:, None], np.nan, upper * (1 - v) + lower * v)


def pixels_of(shot: Taken, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels, from the first one's centre, and (N,) depths of (N, 3) places before it."""
    x, y, z = (places @ shot.cam_from_world[:3, :3].T + shot.cam_from_world[:3, 3]).T
    z = np.where(z > 0, z, np.nan)
    pixels = [CAMERA.focal * x / z + CAMERA.cx - 0.5, CAMERA.focal * y / z + CAMERA.cy - 0.5]
    return np.stack(pixels, axis=1), z


@pytest.fixture(scope="session")
def judge() -> Callable[..., SimpleNamespace]:
    """See `judge_pair`."""
    return judge_pair


def judge_pair(pair, folder: Path, taken: Mapping[str, Taken]) -> SimpleNamespace:
    """Compares a pair's cells with the world coordinates that its images were rendered with.

    Args:
        pair: whose name ends in the names of its images.
        folder: of the images.
        taken: what they show.

    Returns:
        origins: (left, top) of both crops; wrong: cells of the pair whose places differ by more
        than 6 cm in depth; missing: cells left out although the depths differ by less than 4 cm
        (either may happen at an outline, where between pixels is no place); off: pixels from the
        second cell's centre to the place, at most, in x or y; count: cells of the pair.
    """
    names = pair.name.partition("/")[2].split()
    first, second = (taken[name] for name in names)
    crops = (pair.image_1, pair.image_2)
    origins = tuple(
        find_crop(crop, read_image(folder / name)) for crop, name in zip(crops, names, strict=True)
    )
    maps = [
        np.where(shot.depth[:, :, None] > 0, shot.xyz.astype(float), np.nan)[
            top : top + CROP, left : left + CROP
        ]
        for shot, (left, top) in zip((first, second), origins, strict=True)
    ]
    cells = np.array([(i, j) for i in range(CROP // STRIDE) for j in range(CROP // STRIDE)])
    centers = cells[:, ::-1] * STRIDE + 3.5
    places = between_pixels(maps[0], centers)
    pixels, depth = pixels_of(second, places)
    pixels = pixels - origins[1]
    _, measured = pixels_of(second, between_pixels(maps[1], pixels))
    differ = np.abs(depth - measured)
    matched = {
        (int(i), int(j)): target
        for (i, j), target in zip(pair.cells_1, pair.cells_2[:, ::-1] * STRIDE + 3.5, strict=True)
    }
    assert len(matched) == len(pair.cells_1)  # distinct
    inside = np.array([(int(i), int(j)) in matched for i, j in cells])
    off = [
        np.abs(pixel - matched[int(i), int(j)]).max()
        for (i, j), pixel in zip(cells[inside], pixels[inside], strict=True)
    ]
    return SimpleNamespace(
        origins=origins,
        wrong=int(np.count_nonzero(inside & ~(differ < 0.06))),
        missing=int(np.count_nonzero(~inside & (differ < 0.04))),
        off=max(off),
        count=len(matched),
    )
