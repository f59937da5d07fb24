"""MATLAB files as plain values, of versions 5 to 7 and of version 7.3, which is HDF5.

A cell array is a list, a struct array a list of dicts, both in MATLAB's (column) order; text is a
string, numbers are an array. Nothing in a file is ever executed or unpickled, and a damaged file is
an error of one line.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import Budget
from d2eval.foundation.files.reading import open_bytes, require_file
from d2eval.foundation.formats.hdf5 import (
    DAMAGE,
    is_reference,
    member,
    open_hdf5,
    plain_attribute,
    read_values,
)
from d2eval.foundation.formats.mat5 import FILE_HEADER, ORDERS, Version73Error, list_mat5, read_mat5
from d2eval.foundation.machine.apart import run_apart

Numbers = npt.NDArray[Any]
WHAT, REMEDY = ".mat file", "replace the file"
VALUE_BYTES = 4096  # what a value of version 7.3 costs at most, beside its content


def is_mat(data: bytes) -> bool:
    """Whether ``data`` begins as a file of version 5 to 7.3 does."""
    return data[FILE_HEADER - 2 : FILE_HEADER] in ORDERS


def read_variable(path: Path, name: str) -> Any:
    """One variable of a file.

    Raises:
        D2EvalError: the file is missing or damaged, or has no such variable.
    """
    values = read_variables(path, [name])
    if name not in values:
        raise D2EvalError(f"{path}: has no {name}; replace the file")
    return values[name]


def read_variables(path: Path, names: Sequence[str], data: bytes | None = None) -> dict[str, Any]:
    """Those variables of a file that it has.

    ``data`` are its bytes, where they are read already.

    Raises:
        D2EvalError: the file is missing, damaged or too large.
    """
    try:
        with _opened(path, data) as file:
            size = file.seek(0, io.SEEK_END)
            budget, found = Budget(path, size), {}
            for name in names:
                file.seek(0)
                found.update(read_mat5(file, name, budget))
            return found
    except Version73Error:
        size = require_file(path) if data is None else len(data)
        found = run_apart(_read_hdf5, path, size, list(names), data)
        return dict(found)


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
    try:
        with _opened(path, None) as file:
            return list_mat5(file)
    except Version73Error:
        shapes = run_apart(_list_hdf5, path, require_file(path))
        return {name: tuple(shape) for name, shape in shapes.items()}


def _read_hdf5(path: Path, names: list[str], data: bytes | None) -> dict[str, Any]:
    with open_hdf5(path, WHAT, REMEDY, data) as (group, budget):
        items = {name: member(group, name) for name in names}
        reader = _Hdf5Values(group, budget)
        return {name: reader.plain(item) for name, item in items.items() if item is not None}


def _list_hdf5(path: Path) -> dict[str, list[int]]:
    with open_hdf5(path, WHAT, REMEDY) as (group, _):
        names = [str(key) for key in group if not key.startswith("#")]  # MATLAB's own
        items = {name: member(group, name) for name in names}
        return {
            key: [*item.shape[::-1]] if isinstance(item, h5py.Dataset) else []
            for key, item in items.items()
        }


@contextlib.contextmanager
def _opened(path: Path, data: bytes | None) -> Iterator[BinaryIO]:
    """The file, or its bytes; damage that the block meets becomes one line."""
    try:
        if data is not None:
            yield io.BytesIO(data)
            return
        with open_bytes(path, REMEDY) as file:
            yield file
    except Version73Error:
        raise
    except (*DAMAGE, zlib.error, struct.error) as error:
        raise D2EvalError(f"{path}: broken {WHAT} ({reason_of(error)}); {REMEDY}") from error


class _Hdf5Values:
    """Reads the values of a file of version 7.3.

    MATLAB writes arrays in column order, so that HDF5 has them transposed.
    """

    def __init__(self, file: h5py.File, budget: Budget) -> None:
        self._file, self._budget = file, budget

    def plain(self, item: Any) -> Any:
        """A dataset or group as a plain value."""
        self._budget.take(VALUE_BYTES)
        if isinstance(item, h5py.Group):
            return self._structs(item)
        kind = (plain_attribute(item, "MATLAB_class") or b"").decode()
        values = read_values(item, self._budget)
        if plain_attribute(item, "MATLAB_empty"):
            shape = tuple(values.astype(int).ravel())
            if 0 not in shape:
                raise ValueError(f"{item.name} is empty and has a size")
            return {"char": "", "cell": []}.get(kind, np.zeros(shape))
        if is_reference(item):
            return [self.plain(self._file[reference]) for reference in values.ravel()]
        if kind == "char":
            self._budget.take(values.size * VALUE_BYTES // 64)
            return "".join(chr(code) for code in values.T.ravel())
        return values.T

    def _structs(self, group: h5py.Group) -> list[dict[str, Any]]:
        fields = {
            key: self.plain(item)
            if isinstance(item, h5py.Dataset)
            and is_reference(item)
            and "MATLAB_class" not in item.attrs
            else [self.plain(item)]
            for key in group
            for item in (member(group, key),)
        }  # a struct array has references, which are of no class; a single struct has the values
        count = max((len(values) for values in fields.values()), default=0)
        return [{key: values[k] for key, values in fields.items()} for k in range(count)]
