"""Database images held out as queries with known poses, to score without the benchmark's site."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from d2eval.aachen.data.dataset import Dataset
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import center

SPLIT = "holdout"
MIN_NEIGHBORS = 2  # a point needs two images with a pose


def _neighbors(dataset: Dataset) -> dict[str, set[str]]:
    """By database image with a pose, those that the pair list pairs it with."""
    neighbors: dict[str, set[str]] = {name: set() for name in sorted(dataset.poses)}
    for a, b in dataset.pairs:
        if a in neighbors and b in neighbors:
            neighbors[a].add(b)
            neighbors[b].add(a)
    return neighbors


def _choose(
    centers: Mapping[str, np.ndarray], neighbors: Mapping[str, set[str]], count: int
) -> list[str]:
    """Farthest-point sampling of cameras, from the one nearest the mean of the centres.

    Each choice is the image farthest from all chosen ones, ties by name, among those that leave
    every chosen image `MIN_NEIGHBORS` posed neighbours; images that are paired with a chosen one
    come last.
    """
    names = list(neighbors)
    points = np.array([centers[name] for name in names])
    distance = -np.linalg.norm(points - points.mean(axis=0), axis=1)  # of the first: nearness
    chosen: list[str] = []
    for k in range(count):
        held = set(chosen)

        def keeps(name: str, held: set[str] = held) -> bool:
            after = held | {name}
            near = [name, *(neighbors[name] & held)]
            return all(len(neighbors[n] - after) >= MIN_NEIGHBORS for n in near)

        candidates = [i for i, n in enumerate(names) if n not in held and keeps(n)]
        apart = [i for i in candidates if not neighbors[names[i]] & held]
        if not candidates:
            raise D2EvalError(
                f"--holdout {count}: only {k} database images can be held out so that each keeps "
                f"{MIN_NEIGHBORS} paired images with a pose; hold out fewer"
            )
        best = max(apart or candidates, key=lambda i: distance[i])
        chosen.append(names[best])
        to_best = np.linalg.norm(points - points[best], axis=1)
        distance = to_best if k == 0 else np.minimum(distance, to_best)
    return chosen


def hold_out(dataset: Dataset, count: int) -> Dataset:
    """The dataset with ``count`` of its posed database images as its only queries.

    Their poses become the references, of the split "holdout"; the dataset's own queries leave
    with their pairs, and pairs of two held-out images are dropped. The choice is spread over the
    camera centres and always the same.

    Raises:
        D2EvalError: ``count`` is below 1, or so many can't be held out.
    """
    if count < 1:
        raise D2EvalError(f"--holdout {count}: hold out at least one database image")
    if count >= len(dataset.poses):
        raise D2EvalError(
            f"--holdout {count}: there are {len(dataset.poses)} database images with a pose; "
            "hold out fewer"
        )
    centers = {name: center(pose) for name, pose in dataset.poses.items()}
    held = sorted(_choose(centers, _neighbors(dataset), count))
    pairs = [pair for pair in dataset.pairs if not dataset.queries.keys() & set(pair)]
    kept = [pair for pair in pairs if not set(pair) <= set(held)]
    notes = [
        f"{count} database images held out as queries; the dataset's own {len(dataset.queries)} "
        f"queries and their {len(dataset.pairs) - len(pairs)} pairs are left out"
    ]
    if len(kept) < len(pairs):
        notes.append(f"{len(pairs) - len(kept)} pairs of two held-out images are dropped")
    return replace(
        dataset,
        poses={name: pose for name, pose in dataset.poses.items() if name not in held},
        queries=dict.fromkeys(held, SPLIT),
        pairs=tuple(kept),
        references={name: dataset.poses[name] for name in held},
        notes=(*dataset.notes, *notes),
    )
