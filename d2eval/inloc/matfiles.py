"""MATLAB files as plain values, of versions 5 to 7 and of version 7.3, which is HDF5.

A cell array is a list, a struct array a list of dicts, both in MATLAB's (column) order; text is a
string, numbers are an array. Nothing in a file is ever executed or unpickled, and a damaged file is
an error of one line.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.errors import D2EvalError
from d2eval.inloc.mat5 import Version73Error, list_mat5, read_mat5

T = TypeVar("T")
Numbers = npt.NDArray[Any]
# What the readers raise on bytes that aren't what they should be
DAMAGE = (
    zlib.error,
    struct.error,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    MemoryError,
    OverflowError,
    RuntimeError,
)


def read_variable(path: Path, name: str) -> Any:
    """One variable of a file.

    Raises:
        D2EvalError: the file is missing or damaged, or has no such variable.
    """
    values = _read(path, lambda: read_mat5(path, name), lambda: _load_hdf5(path, name))
    if name not in values:
        raise D2EvalError(f"{path}: has no {name}; replace the file")
    return values[name]


def read_numbers(path: Path, name: str) -> Numbers:
    """A numeric variable, of MATLAB's shape and whatever real type it is stored in.

    Raises:
        D2EvalError: as `read_variable`, or it isn't numeric.
    """
    return as_numbers(read_variable(path, name), f"{path}: {name}")


def as_numbers(value: Any, what: str) -> Numbers:
    """``value`` if it is an array of real numbers.

    Raises:
        D2EvalError: it isn't; begins with ``what``.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise D2EvalError(f"{what} doesn't hold real numbers; replace the file")
    return value


def read_cells(path: Path, name: str) -> list[Any]:
    """The elements of a cell array.

    Raises:
        D2EvalError: as `read_variable`, or it is no cell array.
    """
    value = read_variable(path, name)
    if not isinstance(value, list):
        raise D2EvalError(f"{path}: {name} is no cell array; replace the file")
    return value


def read_strings(path: Path, name: str) -> list[str]:
    """A cell array of text.

    Raises:
        D2EvalError: as `read_cells`, or something in it is no text.
    """
    cells = read_cells(path, name)
    if not all(isinstance(cell, str) for cell in cells):
        raise D2EvalError(f"{path}: {name} doesn't hold text alone; replace the file")
    return cells


def read_structs(path: Path, name: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """A struct array with at least ``fields``.

    Raises:
        D2EvalError: as `read_variable`, or it is no struct array, or lacks a field.
    """
    value = read_variable(path, name)
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, dict) and set(fields) <= set(entry) for entry in entries):
        raise D2EvalError(
            f"{path}: {name} is no struct array with {', '.join(fields)}; replace the file"
        )
    return entries


def list_variables(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every variable, from the headers alone.

    Raises:
        D2EvalError: the file is missing, damaged or cut short.
    """
    return _read(path, lambda: list_mat5(path), lambda: _list_hdf5(path))


def _read(path: Path, reader: Callable[[], T], hdf5_reader: Callable[[], T]) -> T:
    try:
        try:
            return reader()
        except Version73Error:
            return hdf5_reader()
    except FileNotFoundError as error:
        raise D2EvalError(f"{path}: is missing; add it") from error
    except DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise D2EvalError(f"{path}: broken .mat file ({words}); replace the file") from error


def _load_hdf5(path: Path, name: str) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return {name: _plain_hdf5(file[name], file)} if name in file else {}


def _plain_hdf5(item: Any, file: h5py.File) -> Any:
    """MATLAB writes arrays in column order, so that HDF5 has them transposed."""
    if isinstance(item, h5py.Group):
        return _struct_hdf5(item, file)
    kind = item.attrs.get("MATLAB_class", b"").decode()
    if item.attrs.get("MATLAB_empty", 0):
        return {"char": "", "cell": []}.get(kind, np.zeros(tuple(item[()].astype(int))))
    values = item[()]
    if item.dtype == h5py.ref_dtype:
        return [_plain_hdf5(file[reference], file) for reference in values.ravel()]
    if kind == "char":
        return "".join(chr(code) for code in values.T.ravel())
    return values.T


def _struct_hdf5(group: h5py.Group, file: h5py.File) -> list[dict[str, Any]]:
    fields = {
        key: _plain_hdf5(item, file)
        if isinstance(item, h5py.Dataset)
        and item.dtype == h5py.ref_dtype
        and "MATLAB_class" not in item.attrs
        else [_plain_hdf5(item, file)]
        for key, item in group.items()
    }  # a struct array has references, which are of no class; a single struct has the values
    count = max((len(values) for values in fields.values()), default=0)
    return [{key: values[k] for key, values in fields.items()} for k in range(count)]


def _list_hdf5(path: Path) -> dict[str, tuple[int, ...]]:
    with h5py.File(path, "r") as file:
        return {
            str(key): tuple(item.shape[::-1]) if isinstance(item, h5py.Dataset) else ()
            for key, item in file.items()
        }
