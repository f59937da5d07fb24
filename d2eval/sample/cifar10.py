"""Ten classes of shapes as small pictures, in the files of CIFAR-10's binary version.

A shape stands somewhere, turned and large or small, in one colour on a ground of two, with noise:
nothing but its outline says which it is.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2eval.sample.photos import build_sample

GENERATOR_VERSION = 1
SIZE_PX, TRAINING_BATCHES, RECORDS = 32, 5, 400  # of each batch, and of the test
EDGE_PX = 1.0  # over which an outline fades
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of points in units of the shape's size


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _radius(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.866 * np.abs(x) + 0.5 * y, -y) - 0.5


def _crossed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(_box(x, y, 1.0, 0.28), _box(x, y, 0.28, 1.0))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _radius(x, y) - 0.65 - 0.35 * np.cos(5 * np.arctan2(y, x))


SHAPES: dict[str, Distance] = {  # negative inside
    "disc": lambda x, y: _radius(x, y) - 0.9,
    "ring": lambda x, y: np.abs(_radius(x, y) - 0.7) - 0.2,
    "half disc": lambda x, y: np.maximum(_radius(x, y) - 1.0, y),
    "crescent": lambda x, y: np.maximum(_radius(x, y) - 1.0, 0.8 - _radius(x - 0.45, y)),
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "frame": lambda x, y: np.abs(_box(x, y, 0.65, 0.65)) - 0.2,
    "bar": lambda x, y: _box(x, y, 1.0, 0.25),
    "triangle": _triangle,
    "cross": _crossed,
    "star": _star,
}


def make_cifar10_sample(cache: Path) -> Path:
    """Renders the batches into the cache on first use; the same recipe gives the same bytes.

    Raises:
        D2EvalError: the folder can't be written.
    """
    names = [*(f"data_batch_{k + 1}.bin" for k in range(TRAINING_BATCHES)), "test_batch.bin"]

    def build(folder: Path) -> None:
        for number, name in enumerate(names):
            (folder / name).write_bytes(_batch(np.random.default_rng(number)))
        text = "".join(f"{shape}\n" for shape in SHAPES)
        (folder / "batches.meta.txt").write_text(text, encoding="utf-8")

    recipe = (GENERATOR_VERSION, SIZE_PX, TRAINING_BATCHES, RECORDS, list(SHAPES))
    return build_sample(cache, "cifar10", recipe, [], build)


def _batch(rng: np.random.Generator) -> bytes:
    """`RECORDS` records, as many of each class, in a random order."""
    labels = rng.permutation(np.arange(RECORDS) % len(SHAPES)).astype(np.uint8)
    x, y = _places(rng, RECORDS)
    inside = np.empty(x.shape)
    size = rng.uniform(7, 12, (RECORDS, 1, 1))  # pixels, half of the shape
    for label, distance in enumerate(SHAPES.values()):
        own = labels == label
        inside[own] = distance(x[own] / size[own], y[own] / size[own]) * size[own]
    covered = np.clip(0.5 - inside / EDGE_PX, 0, 1)[:, None]
    paint, ground, other = rng.uniform(0, 255, (3, RECORDS, 3, 1, 1))
    # Never the ground's own colour: at least so far away in each plane.
    paint = np.where(np.abs(paint - ground) < 60, (ground + 128) % 256, paint)
    ramp = np.linspace(0, 0.5, SIZE_PX)[None, None, None, :]
    image = covered * paint + (1 - covered) * (ground * (1 - ramp) + other * ramp)
    image += rng.normal(0, 12, image.shape)
    pixels = image.round().clip(0, 255).astype(np.uint8).reshape(RECORDS, -1)
    return np.concatenate([labels[:, None], pixels], axis=1).tobytes()


def _places(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel, pixels from the shape's middle along its own axes."""
    middle = (SIZE_PX - 1) / 2 + rng.uniform(-4, 4, (2, count, 1, 1))
    turn = rng.uniform(-np.pi, np.pi, (count, 1, 1))
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    x, y = columns - middle[0], rows - middle[1]
    return np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
