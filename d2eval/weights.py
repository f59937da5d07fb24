"""Weights files: loaded without running code, identified by their SHA-256."""

import hashlib
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.errors import D2EvalError, reason_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a result was made with.

    Attributes:
        name: short name for tables, e.g. "bundled" or "official d2_ots.pth".
        description: one sentence on what they are and where they are from.
        sha256: of the file.
        stand_in: True if they replace the published weights of the method.
    """

    name: str
    description: str
    sha256: str
    stand_in: bool = False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        D2EvalError: the file can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise D2EvalError(f"{path}: weights can't be read ({error.strerror})") from error


def load_state_dict(path: Path, suffix: str | None = None) -> "dict[str, torch.Tensor]":
    """Reads tensors by name from safetensors, or from a PyTorch file in the authors' layout.

    A PyTorch file may be a plain state dict or hold one under ``model`` or ``state_dict``. It is
    read with ``weights_only=True``, so a pickle that would run code is refused.

    Args:
        path: the file.
        suffix: ".safetensors" or another, if the file is not named by its format.

    Raises:
        D2EvalError: missing, corrupted, pickled with code, or no tensors in it.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise D2EvalError(f"{path}: no such weights file; check --weights")
    try:
        if (suffix or path.suffix) == ".safetensors":
            content: object = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on pickles that it refuses in the next moment
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise D2EvalError(
            f"{path}: refused: this file is no plain weights file (it is corrupted, or unpickling "
            "it would run code); save a state_dict of tensors, or use safetensors"
        ) from error
    except Exception as error:  # damaged bytes make torch.load raise almost anything
        reason = reason_of(error)
        raise D2EvalError(f"{path}: corrupted weights ({reason}); get the file again") from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise D2EvalError(f"{path}: holds no tensors; expected a state_dict")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise D2EvalError(f"{path}: holds no tensors; expected a state_dict")
    return tensors
