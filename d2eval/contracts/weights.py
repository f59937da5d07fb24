"""Weights files: loaded without running code, identified by their SHA-256."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import Budget
from d2eval.foundation.files.reading import require_file
from d2eval.foundation.formats.torchfiles import read_torch

if TYPE_CHECKING:
    import torch

AGAIN = "get the file again"
HEADER = 8  # bytes of the length of safetensors' header, and what that is a multiple of
# Keys under which checkpoints hold weights; the last is DISK's.
NESTED = ("model", "state_dict", "model_state_dict", "extractor")
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before names


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a result was made with.

    Attributes:
        name: short name for tables, e.g. "bundled" or "official d2_ots.pth".
        description: one sentence on what they are and where they are from.
        sha256: of the file; empty where there is none.
        stand_in: True if they replace the published weights of the method.
        trained_on: data sets, as a source states them, see `d2eval.contracts.leaks`; () where
            nothing was trained, None where no source says.
    """

    name: str
    description: str
    sha256: str
    stand_in: bool = False
    trained_on: tuple[str, ...] | None = None


NONE_NEEDED = WeightsInfo("none needed", "it has no weights", "", trained_on=())
NOT_STATED = WeightsInfo("not stated", "nothing says which weights it was made with, if any", "")


def check_values(name: str, tensor: "torch.Tensor") -> None:
    """Makes sure that a tensor holds weights: finite floating-point numbers of 16 bits or more.

    Whole, complex or 8-bit numbers would be cast in silence and stand for other ones.

    Raises:
        D2EvalError: it holds others; names the tensor, not the file.
    """
    import torch

    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise D2EvalError(f"{name} holds {kind} values, which are no weights; save it as float32")
    # The least and the greatest value are NaN where one is.
    if tensor.numel() and not all(map(torch.isfinite, torch.aminmax(tensor.float()))):
        raise D2EvalError(f"weights hold NaN or infinite values in float32 ({name})")


def check_tensor(state: "Mapping[str, torch.Tensor]", name: str, shape: tuple[int, ...]) -> None:
    """Makes sure that a tensor is there, of the shape that an architecture wants.

    Raises:
        D2EvalError: it isn't, or its values are refused by `check_values`.
    """
    if name not in state:
        raise D2EvalError(f"weights of another architecture: {name} is missing")
    found = tuple(state[name].shape)
    if found != shape:
        raise D2EvalError(f"weights of another architecture: {name} is {found}, not {shape}")
    check_values(name, state[name])


def load_state_dict(path: Path, suffix: str | None = None) -> "dict[str, torch.Tensor]":
    """Reads tensors by name from safetensors, or from a PyTorch file in the authors' layout.

    A PyTorch file may be a plain state dict or hold one under ``model`` or ``state_dict``, beside
    what a training saved; nothing in it is run, see `d2eval.foundation.formats.torchfiles`. Where
    all names begin with ``module.`` (DataParallel) or ``_orig_mod.`` (torch.compile), that is left
    out.

    Args:
        path: the file.
        suffix: ".safetensors" or another, if the file is not named by its format.

    Returns:
        Plain, dense tensors with memory of their own, in the file's precision. Their values are as
        `check_values` wants them, but for single whole numbers, which are counters.

    Raises:
        D2EvalError: missing, corrupted, pickled with code, no tensors in it, or no weights.
    """
    if not path.exists():
        raise D2EvalError(f"{path}: no such weights file; check --weights")
    size = require_file(path, AGAIN)
    if (suffix or path.suffix) == ".safetensors":
        content = _read_safetensors(path)
    else:
        content = read_torch(path, "weights", AGAIN)
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = _tensors(path, content, Budget(path, size))
    try:
        plain = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    except D2EvalError as error:
        raise D2EvalError(f"{path}: {error}") from error
    while wrapper := next((w for w in WRAPPERS if all(n.startswith(w) for n in plain)), None):
        plain = {name.removeprefix(wrapper): tensor for name, tensor in plain.items()}
    return plain


def to_safetensors(tensors: "Mapping[str, torch.Tensor]", metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of these tensors, equal to the byte for equal ones.

    The library writes metadata in an order that changes from call to call; here it is sorted.
    """
    from safetensors.torch import save

    content = save(dict(tensors))
    length = int.from_bytes(content[:HEADER], "little")
    header = json.loads(content[HEADER : HEADER + length])
    held = dict(sorted(metadata.items()))
    text = json.dumps({"__metadata__": held, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER)
    return len(text).to_bytes(HEADER, "little") + text + content[HEADER + length :]


def _read_safetensors(path: Path) -> object:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # damaged headers make it raise several kinds
        raise D2EvalError(f"{path}: broken weights ({reason_of(error)}); {AGAIN}") from error


def _tensors(path: Path, content: object, budget: Budget) -> "dict[str, torch.Tensor]":
    """The tensors of a state dict; sparse or repeated values may be more than the file has.

    Raises:
        D2EvalError: there are none, or far more than the file could hold.
    """
    import torch

    entries = content.items() if isinstance(content, dict) else ()
    found = {str(name): value for name, value in entries if isinstance(value, torch.Tensor)}
    if not found:
        raise D2EvalError(f"{path}: holds no tensors; expected a state_dict")
    for tensor in found.values():
        budget.take(math.prod(tensor.shape) * tensor.element_size())
    return found


def _plain(name: str, tensor: "torch.Tensor") -> "torch.Tensor":
    """A contiguous copy, whose memory is aligned as PyTorch aligns it.

    Sums of vectors, and so trainings, may depend on how memory is aligned.
    """
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
        raise D2EvalError(f"{name} is no plain tensor with values; save it as one")
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = _dense(name, tensor)
    counter = tensor.ndim == 0 and tensor.dtype == torch.int64
    if not counter:
        check_values(name, tensor)
    return tensor.clone(memory_format=torch.contiguous_format)


def _dense(name: str, tensor: "torch.Tensor") -> "torch.Tensor":
    """A sparse tensor as a dense one, its indices checked, which may be anything in a file."""
    import torch

    try:
        with torch.sparse.check_sparse_tensor_invariants(True):
            if tensor.layout is torch.sparse_coo:
                parts = tensor._indices(), tensor._values()
                return torch.sparse_coo_tensor(*parts, tensor.shape).to_dense()
            by_rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
            indices = (
                (tensor.crow_indices(), tensor.col_indices())
                if by_rows
                else (tensor.ccol_indices(), tensor.row_indices())
            )
            return torch.sparse_compressed_tensor(
                *indices, tensor.values(), tensor.shape, layout=tensor.layout
            ).to_dense()
    except RuntimeError as error:
        raise D2EvalError(f"{name} is no sound sparse tensor ({reason_of(error)})") from error
