"""PyTorch's own files (.pth, .pt): read without running anything that they name."""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.reading import open_bytes, read_bytes, require_file

_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # that a file of the older format begins with
_LONGEST_NAME = 1000  # of a class or function
# What training scripts save beside tensors: settings, losses, paths. It is read over. NumPy 1 and 2
# name their scalars differently, and so do Python 3.13 and earlier ones paths.
_READ_OVER = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)


class _ReadOver:
    """Stands where a file has something else than tensors, numbers and text; keeps nothing."""

    def __new__(cls, *_: object) -> "_ReadOver":
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forgets ``state``."""


def _stand_ins() -> list[Any]:
    """Classes with the names of what is read over, by which PyTorch finds them."""
    named = (name.rpartition(".") for name in _READ_OVER)
    return [type(name, (_ReadOver,), {"__module__": module}) for module, _, name in named]


def read_torch(path: Path, kind: str, remedy: str) -> object:
    """What ``torch.save`` wrote, on the CPU.

    Only tensors, numbers, text and containers of them are made (``weights_only``). Of a few plain
    types, which training scripts save beside weights, an empty object is left; anything else that
    the file names is refused. Of the zip format all checksums are verified. The indices of sparse
    tensors are not. ``kind`` is what it should be, as "weights"; ``remedy`` ends the message if it
    is damaged.

    Raises:
        D2EvalError: no regular file, damaged, or with objects that only running code could make.
    """
    import torch

    size = require_file(path, remedy)
    try:
        # Of the older format, whose texts may claim any length, no more is read than is there.
        content: Any = path
        if not _is_sound_archive(path, size):
            content = io.BytesIO(read_bytes(path, remedy))
            _check_names(content, _LEGACY_PICKLES)
            content.seek(0)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
            warnings.simplefilter("ignore")  # on pickles that it refuses in the next moment
            return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise D2EvalError(
                f"{path}: refused: broken {kind}, or none of PyTorch's; {remedy}"
            ) from error
        raise D2EvalError(
            f"{path}: refused: it holds a {named[1]}, and unpickling that would run code; save a "
            "state_dict of tensors, or use safetensors"
        ) from error
    except D2EvalError:
        raise
    except Exception as error:  # damaged bytes make torch.load raise almost anything
        raise D2EvalError(f"{path}: broken {kind} ({reason_of(error)}); {remedy}") from error
    finally:
        # PyTorch would hold what a broken file has left of sparse tensors against the next one.
        getattr(torch._utils, "_sparse_tensors_to_validate", []).clear()


def _is_sound_archive(path: Path, size: int) -> bool:
    """Whether it is a zip archive, its parts whole and no larger than they lie there.

    PyTorch doesn't verify the checksums, and a block of zeros would pass for weights.

    Raises:
        zipfile.BadZipFile: it is one, and they aren't.
    """
    with open_bytes(path) as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False  # PyTorch's format before 1.6
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > size:
                raise zipfile.BadZipFile("it declares more bytes than it holds")
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{damaged} differs from its checksum")
            for member in members:
                if member.filename.endswith("/data.pkl"):
                    with archive.open(member) as data:
                        _check_names(data, 1)
    return True


def _check_names(file: IO[bytes], pickles: int) -> None:
    """Goes through pickles, running nothing, for a name that no class has.

    PyTorch searches its own message on such a name in a time that grows with the length's square:
    minutes for 100 kB.

    Raises:
        pickle.UnpicklingError: there is one, or these are no pickles.
    """
    try:
        for _ in range(pickles):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL" and len(str(argument)) > _LONGEST_NAME:
                    raise pickle.UnpicklingError("a name without end")
    except (ValueError, OverflowError) as error:
        raise pickle.UnpicklingError(reason_of(error)) from error
