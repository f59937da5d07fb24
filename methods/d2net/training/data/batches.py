"""Pairs drawn on worker processes and put into batches, from any position of an epoch."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.machine.processes import end_with_parent
from d2eval.foundation.terminal.interrupts import for_children
from methods.d2net.training.data.pairs import PairSource, TrainingPair
from methods.vgg16.preprocessing import preprocess

Drawn = TrainingPair | D2EvalError | None


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs of one step.

    Attributes:
        pairs: B of them; those with too few correspondences are left out.
        images: (2 B, 3, H, W) float32 preprocessed: all first images, then all second ones.
        skipped: how many were left out.
    """

    pairs: list[TrainingPair]
    images: torch.Tensor
    skipped: int


class Draws(torch.utils.data.Dataset[Drawn]):
    """The draws of an epoch in a given order; random numbers depend on seed, epoch and index."""

    def __init__(self, source: PairSource, seed: int, epoch: int, order: Sequence[int]) -> None:
        """Takes the source and which of its pairs to draw."""
        self._source, self._seed, self._epoch, self._order = source, seed, epoch, order

    def __len__(self) -> int:
        """How many draws."""
        return len(self._order)

    def __getitem__(self, position: int) -> Drawn:
        """A draw; an error is given back, since a worker process can't raise it as it is."""
        index = int(self._order[position])
        rng = np.random.default_rng([self._seed, self._epoch, index])
        try:
            return self._source.draw(index, rng)
        except D2EvalError as error:
            return error


class _Collate:
    def __init__(self, preprocessing: str) -> None:
        self._preprocessing = preprocessing

    def __call__(self, drawn: list[Drawn]) -> Batch | D2EvalError:
        pairs = []
        for draw in drawn:
            if isinstance(draw, D2EvalError):
                return draw
            if draw is not None:
                pairs.append(draw)
        images = [pair.image_1 for pair in pairs] + [pair.image_2 for pair in pairs]
        pixels = [torch.from_numpy(preprocess(image, self._preprocessing)) for image in images]
        stacked = torch.stack(pixels).permute(0, 3, 1, 2) if pixels else torch.empty(0)
        return Batch(pairs, stacked, len(drawn) - len(pairs))


def order_of_epoch(length: int, seed: int, epoch: int) -> list[int]:
    """The pairs of an epoch in the random order in which they are shown."""
    order = np.random.default_rng([seed, epoch]).permutation(length)
    return [int(index) for index in order]


def batches(draws: Draws, size: int, workers: int, preprocessing: str) -> Iterator[Batch]:
    """Yields the draws in batches.

    Args:
        draws: what to draw.
        size: draws in a batch; the last one may be smaller.
        workers: processes that draw; 0: this one. The batches don't depend on it.
        preprocessing: see `methods.vgg16.preprocessing.preprocess`.

    Raises:
        D2EvalError: from a draw.
    """
    loader = torch.utils.data.DataLoader(
        draws,
        batch_size=size,
        num_workers=workers,
        collate_fn=_Collate(preprocessing),
        worker_init_fn=end_with_parent,
        # Forked workers of a process whose threads hold locks may hang.
        multiprocessing_context="spawn" if workers else None,
    )
    with for_children():
        waiting = iter(loader)  # starts the workers
    for batch in waiting:
        if isinstance(batch, D2EvalError):
            raise batch
        yield batch


def keep_batch(folder: Path, batch: Batch) -> Path:
    """Writes a batch to ``bad_batch.npz``, to be looked at; the file's path."""
    arrays: dict[str, np.ndarray] = {}
    for number, pair in enumerate(batch.pairs):
        for name in ("image_1", "image_2", "cells_1", "cells_2"):
            arrays[f"{name}_of_pair_{number}"] = getattr(pair, name)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path = folder / "bad_batch.npz"
    write_bytes(path, buffer.getvalue())
    return path
