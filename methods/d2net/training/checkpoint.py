"""Checkpoints from which a training goes on exactly, and the weights that it gives.

All random numbers of a training are functions of its seed, the epoch and the pair's index, so the
position in the data says what comes next, and no generator's state needs to be kept.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from d2eval.contracts.weights import to_safetensors
from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.formats.torchfiles import read_torch

FILE = "checkpoint.pt"
BEST, BEST_AS_THEIRS = "best.safetensors", "best.pth"
ANEW = "remove it to start anew"


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
    try:
        content = read_torch(path, "checkpoint", ANEW)
    except MissingFileError:
        return None
    try:
        held, progress, parts = _parts(content)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise D2EvalError(f"{path}: broken checkpoint ({reason_of(error)}); {ANEW}") from error
    if held != json.loads(work):
        raise D2EvalError(
            f"{path}: is of another training ({_difference(held, json.loads(work))}); give another "
            "--output, or the same options to go on"
        )
    return progress, parts


def _parts(content: object) -> tuple[dict[str, Any], Progress, dict[str, Any]]:
    """What is trained, where it is, and the state dicts.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: they aren't there, or make no sense.
    """
    if not isinstance(content, dict):
        raise TypeError("it is no checkpoint")
    held, progress = json.loads(content.pop("work")), content.pop("progress")
    for entry in fields(Progress):
        value = progress[entry.name]
        sound = isinstance(value, int | float) and type(value) is type(entry.default)
        if not (sound and value >= 0):
            raise ValueError(f"its {entry.name} is {str(value)[:30]!r}")
    if not isinstance(held, dict):
        raise TypeError("its settings are none")
    return held, Progress(**progress), content


def weights_files(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> dict[str, bytes]:
    """Files of trained weights by name: as safetensors, and as the authors' own code reads them.

    Args:
        tensors: by the authors' names.
        metadata: what they are, for the header.
    """
    buffer = io.BytesIO()
    torch.save({"model": dict(tensors)}, buffer)
    return {BEST: to_safetensors(tensors, metadata), BEST_AS_THEIRS: buffer.getvalue()}


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Names the first setting that differs."""
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            return f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
    return "settings differ"
