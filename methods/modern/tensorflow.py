"""What networks need that were trained with TensorFlow: its variables, its way to resize."""

import re
from pathlib import Path

import torch

from d2eval.contracts.weights import AGAIN, check_values
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.tensorbundle import read_bundle

# What a training saves beside: counters, and the optimiser's state of each variable
TRAINING = re.compile(r"(.*/)?(global_step2?|beta[12]_power(_\d+)?|Adam(_\d+)?)")
NAMES = {
    "weights": "weight",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load_variables(path: Path, folder: str = "") -> dict[str, torch.Tensor]:
    """Tensors by PyTorch's names of a checkpoint, for a network whose modules are its scopes.

    Every variable is among them but for what a training saves beside; their axes are in PyTorch's
    order.

    Args:
        path: of a checkpoint's ``.index``, or a tar archive.
        folder: of the archive that the checkpoint lies in.

    Raises:
        D2EvalError: a broken checkpoint, or values that are no weights.
    """
    tensors = {}
    for name, array in read_bundle(path, AGAIN, folder).items():
        if TRAINING.fullmatch(name):
            continue
        *scopes, last = name.split("/")
        tensor = torch.from_numpy(array)
        if tensor.ndim == 4:  # rows, columns, inputs, outputs
            tensor = tensor.permute(3, 2, 0, 1)
        elif tensor.ndim == 2:  # inputs, outputs
            tensor = tensor.T
        try:
            check_values(name, tensor)
        except D2EvalError as error:
            raise D2EvalError(f"{path}: {error}") from error
        tensors[".".join([*scopes, NAMES.get(last, last)])] = tensor.contiguous()
    return tensors


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, C, H, W) maps of another (height, width), bilinear, as TensorFlow 1 does it.

    Pixel i of the result is read at i times the ratio of sizes.
    """
    for axis, length in zip((2, 3), size, strict=True):
        own = maps.shape[axis]
        places = torch.arange(length, device=maps.device) * (own / length)
        lower = places.long().clamp(max=own - 1)
        share = (places - lower).view(-1, *[1] * (3 - axis))
        below = maps.index_select(axis, lower)
        above = maps.index_select(axis, (lower + 1).clamp(max=own - 1))
        maps = below + (above - below) * share
    return maps
