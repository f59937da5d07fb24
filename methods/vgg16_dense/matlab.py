"""NetVLAD's own weights: the MATLAB file of its authors, its classes turned into structs.

For example Pitts30K_struct.mat, which the hloc toolbox downloads from
https://cvg-data.inf.ethz.ch/hloc/netvlad/. Its network takes RGB minus mean.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.reading import require_file
from d2eval.foundation.formats.matfiles import as_numbers, read_structs
from methods.vgg16.layers import CONVOLUTIONS

SUFFIX = ".mat"
# Counted from 0; the convolutions stand where torchvision's do.
VLAD_LAYER, WHITENING_LAYER = 30, 33


def _layers(path: Path) -> list[Any]:
    """The structs of all layers, each of them a list of one."""
    (network,) = read_structs(path, "net", ("layers",))
    return list(network["layers"])


def _weights(layers: list[Any], index: int, dimensions: tuple[int, int]) -> list[npt.NDArray[Any]]:
    """Both arrays of a layer, in float32, which must have so many dimensions."""
    (layer,) = layers[index]
    parts = [as_numbers(part, f"layer {index + 1}") for part in layer["weights"]]
    if any(part.dtype.kind != "f" for part in parts):
        raise ValueError(f"layer {index + 1} holds whole numbers, which are no weights")
    found = [np.asarray(part, np.float32).squeeze() for part in parts]
    if tuple(part.ndim for part in found) != dimensions:
        raise ValueError(f"layer {index + 1} has weights of other dimensions")
    return found


def read_netvlad(path: Path) -> dict[str, torch.Tensor]:
    """The weights by the names that `trunk` and `netvlad` beside this file know.

    Source of the layout: hloc, ``extractors/netvlad.py``. Centroids are stored with the opposite
    sign, and the whitening takes all clusters of a channel one after the other; both are turned.

    Args:
        path: the file; not run, as MATLAB files hold data alone.

    Raises:
        D2EvalError: it can't be read, or isn't such a network.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    require_file(path)
    try:
        layers = _layers(path)
        for name, index, _, _ in CONVOLUTIONS:
            weight, bias = _weights(layers, index, (4, 1))
            found[f"{name}.weight"], found[f"{name}.bias"] = weight.transpose(3, 2, 0, 1), bias
        assignment, negative = _weights(layers, VLAD_LAYER, (2, 2))
        found["conv.weight"], found["centroids"] = assignment.T, -negative.T
        if len(layers) > WHITENING_LAYER:
            weight, bias = _weights(layers, WHITENING_LAYER, (2, 1))
            by_channel = weight.T.reshape(len(bias), *assignment.shape)
            found["pca_layer.weight"] = by_channel.transpose(0, 2, 1).reshape(len(bias), -1)
            found["pca_layer.bias"] = bias
    except (D2EvalError, ValueError, TypeError, LookupError) as error:
        reason = reason_of(error).removeprefix(f"{path}: ")
        raise D2EvalError(
            f"{path}: no NetVLAD network in a MATLAB file of structs ({reason}); take "
            "Pitts30K_struct.mat of the hloc toolbox"
        ) from error
    return {name: torch.from_numpy(np.array(part, order="C")) for name, part in found.items()}
