"""Sealed HDF5 files whose content tests change."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import h5py

from d2eval.foundation.files.sealed import HEAD_BYTES, seal


@contextlib.contextmanager
def sealed_hdf5(path: Path) -> Iterator[h5py.File]:
    """A file's content to be changed, empty if there is none yet; sealed when the block ends."""
    content = io.BytesIO(path.read_bytes()[HEAD_BYTES:] if path.exists() else b"")
    with h5py.File(content, "a" if path.exists() else "w") as file:
        yield file
    path.write_bytes(seal(path.name, content.getbuffer()))
