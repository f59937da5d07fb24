"""Arrays from HDF5 files of others, which can declare more than memory holds, or lead elsewhere."""

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import Budget
from d2eval.foundation.files.reading import read_bytes, require_file
from d2eval.foundation.files.sealed import DamagedError, unseal
from d2eval.foundation.machine.apart import run_apart

SIGNATURE = b"\x89HDF\r\n\x1a\n"

OTHERS = {  # types that are no numbers
    h5py.h5t.STRING: "text",
    h5py.h5t.TIME: "times",
    h5py.h5t.OPAQUE: "opaque bytes",
    h5py.h5t.COMPOUND: "complex numbers or records",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.VLEN: "lists",
}
ATTRIBUTE_BYTES = 1024  # of one that is read
# What h5py raises on bytes that aren't what they should be
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    MemoryError,
    OverflowError,
    RuntimeError,
)


@contextlib.contextmanager
def open_hdf5(
    path: Path, what: str, remedy: str, data: bytes | None = None
) -> Iterator[tuple[h5py.File, Budget]]:
    """A file, and how much of it may be read; damage that the block meets becomes one line.

    HDF5's library may crash or loop on files that others wrote: they are opened only by functions
    that `run_apart` calls. ``what`` it is, as "depth map", and ``remedy``, as "replace it", stand
    in the message of an error; ``data`` are its bytes, where they are read already.

    Raises:
        D2EvalError: it is missing, no regular file, or damaged.
    """
    size = require_file(path, remedy) if data is None else len(data)
    try:
        with h5py.File(path if data is None else io.BytesIO(data), "r") as file:
            yield file, Budget(path, size)
    except DAMAGE as error:
        raise D2EvalError(f"{path}: broken {what} ({reason_of(error)}); {remedy}") from error


@contextlib.contextmanager
def open_own_hdf5(path: Path, what: str, remedy: str) -> Iterator[tuple[h5py.File, Budget]]:
    """A file that d2eval wrote, sealed: HDF5's library may not end on one that is damaged.

    Raises:
        D2EvalError: as of `open_hdf5`, or it is not what was written.
    """
    data = read_bytes(path, remedy)
    if data.startswith(SIGNATURE):
        raise D2EvalError(
            f"{path}: {what} of an earlier version, without the SHA-256 that tells damage; {remedy}"
        )
    try:
        unseal(path.name, data)
    except DamagedError as error:
        raise D2EvalError(f"{path}: broken {what} ({error}); {remedy}") from error
    with open_hdf5(path, what, remedy, data) as opened:
        yield opened


def group_names(path: Path, what: str, remedy: str) -> list[str]:
    """The attribute ``name`` of each group of a file that d2eval wrote.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    with open_own_hdf5(path, what, remedy) as (file, _):
        return [text_attribute(member(file, name), "name") for name in file]


def member(group: h5py.Group, name: str) -> Any:
    """The dataset or group called ``name`` within the file itself, or None.

    Raises:
        ValueError: it lies in another file.
    """
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link")
    return group[name]


def read_dataset(item: Any, budget: Budget) -> npt.NDArray[Any]:
    """All values of a dataset of numbers.

    Raises:
        ValueError: it is no dataset, of another type, or its values lie in other files.
        D2EvalError: it is larger than the file may come to.
    """
    kind = _checked(item).id.get_type()
    while isinstance(kind, h5py.h5t.TypeArrayID):
        kind = kind.get_super()
    if (words := OTHERS.get(kind.get_class())) is not None:
        raise ValueError(f"{item.name} holds {words}, not numbers")
    return read_values(item, budget)


def read_values(item: Any, budget: Budget) -> npt.NDArray[Any]:
    """All values of a dataset of any type of fixed length, references to objects among them.

    Raises:
        ValueError: it is no dataset, of another type, or its values lie in other files.
        D2EvalError: it is larger than the file may come to.
    """
    dtype = _checked(item).dtype
    if dtype.hasobject and not is_reference(item):
        raise ValueError(f"{item.name} has values of varying length, or references into others")
    if item.is_virtual or item.external:
        raise ValueError(f"{item.name} lies in other files")
    # HDF5 itself divides by zero, loops or reads elsewhere where they don't go together
    if item.chunks is not None and not (
        len(item.chunks) == len(item.shape) and all(length > 0 for length in item.chunks)
    ):
        raise ValueError(f"{item.name} is of {item.shape} in parts of {item.chunks}")
    budget.take(math.prod(item.shape) * dtype.itemsize)
    budget.take(math.prod(item.chunks or (0,)) * dtype.itemsize)  # held while it unpacks
    return np.asarray(item[()])


def is_reference(item: h5py.Dataset) -> bool:
    """Whether a dataset holds references to objects; numpy can't tell them from text."""
    return h5py.check_ref_dtype(item.dtype) is h5py.Reference


def _checked(item: Any) -> h5py.Dataset:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise ValueError(f"{getattr(item, 'name', 'a member')} is no array")
    return item


def plain_attribute(item: Any, name: str) -> Any:
    """An attribute of fixed length, of a file that others wrote, or None if it isn't there.

    Raises:
        ValueError: it is large, or of varying length, on which HDF5 can loop without end where a
            file is damaged.
    """
    if not h5py.h5a.exists(item.id, name.encode()):
        return None
    attribute = h5py.h5a.open(item.id, name.encode())
    kind = attribute.get_type()
    varies = isinstance(kind, h5py.h5t.TypeVlenID) or (
        isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    )
    if varies or attribute.get_storage_size() > ATTRIBUTE_BYTES:
        raise ValueError(f"{item.name}: the attribute {name} is of varying length, or large")
    return item.attrs[name]


def read_array(path: Path, name: str, what: str, remedy: str) -> npt.NDArray[Any]:
    """A dataset at the top of a file that others wrote, read in a process apart.

    Raises:
        D2EvalError: the file is missing or damaged, or has no such dataset.
    """
    size = require_file(path, remedy)
    return np.asarray(run_apart(_read_array, path, size, name, what, remedy))


def array_shape(path: Path, name: str, what: str, remedy: str) -> tuple[int, ...]:
    """The shape of that dataset, from the file's headers; raises as `read_array`."""
    size = require_file(path, remedy)
    return tuple(run_apart(_array_shape, path, size, name, what, remedy))


def _read_array(path: Path, name: str, what: str, remedy: str) -> npt.NDArray[Any]:
    with open_hdf5(path, what, remedy) as (file, budget):
        return read_dataset(_dataset(file, path, name, remedy), budget)


def _array_shape(path: Path, name: str, what: str, remedy: str) -> list[int]:
    with open_hdf5(path, what, remedy) as (file, _):
        return [int(length) for length in _dataset(file, path, name, remedy).shape]


def _dataset(file: h5py.File, path: Path, name: str, remedy: str) -> Any:
    found = member(file, name)
    if found is None:
        raise D2EvalError(f"{path}: holds no dataset {name!r}; {remedy}")
    return found


def text_attribute(group: Any, name: str) -> str:
    """An attribute of a group or file that is text.

    Raises:
        ValueError: it isn't there or is something else.
    """
    if name not in group.attrs:
        raise ValueError(f"{group.name} lacks the attribute {name}")
    value = group.attrs[name]
    if not isinstance(value, str):
        raise ValueError(f"{group.name}: the attribute {name} is no text")
    return value
