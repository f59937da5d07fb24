"""Checkpoints from which a training goes on exactly, and the weights that it gives.

All random numbers of a training are functions of its seed, the epoch and the pair's index, so the
position in the data says what comes next, and no generator's state needs to be kept.
"""

import io
import json
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from d2eval.atomic import write_bytes
from d2eval.errors import D2EvalError

FILE = "checkpoint.pt"


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        epoch: the epoch under way, from 1; in epoch 0 the start is validated.
        batch: its batches that are done.
        step: steps that were taken in all.
        loss_sum, pairs, skipped: over the epoch's pairs so far.
        best_epoch, best_loss: of the lowest validation loss so far; epoch 0 is the start.
        seconds: that the epochs took which are done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    pairs: int = 0
    skipped: int = 0
    best_epoch: int = 0
    best_loss: float = field(default=float("inf"))
    seconds: float = 0.0


def save(path: Path, work: str, progress: Progress, parts: dict[str, Any]) -> None:
    """Writes a checkpoint; the one before stays whole until this one is.

    Args:
        path: the file.
        work: what is being trained, as text; another training's checkpoint is refused by it.
        progress: where it is.
        parts: state dicts.

    Raises:
        D2EvalError: the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"work": work, "progress": asdict(progress), **parts}, buffer)
    write_bytes(path, buffer.getbuffer())


def load(path: Path, work: str) -> tuple[Progress, dict[str, Any]] | None:
    """The checkpoint at ``path``, or None if there is none.

    Raises:
        D2EvalError: it is broken, or of another training.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        held, progress = content.pop("work"), Progress(**content.pop("progress"))
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, AttributeError,
            pickle.UnpicklingError) as error:  # fmt: skip
        raise D2EvalError(
            f"{path}: broken checkpoint ({type(error).__name__}); remove it to start anew"
        ) from error
    if held != work:
        raise D2EvalError(
            f"{path}: is of another training ({_difference(held, work)}); give another --output, "
            "or the same options to go on"
        )
    return progress, content


def _difference(held: str, work: str) -> str:
    """Names the first setting that differs."""
    old, new = json.loads(held), json.loads(work)
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            return f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
    return "settings differ"
