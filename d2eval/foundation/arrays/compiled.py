"""Compiled functions whose machine code is kept where that is possible, and checked.

By itself numba ends an import where it finds no folder for its cache, and a call where the cache is
damaged or can't be written. Here such a cache is none: the function is compiled again.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

DIGEST_BYTES = 32


class _DamagedError(Exception):
    """What is stored is not what was written."""


class _CheckedFile(IndexDataCacheFile):
    """numba's index and code files, each with its SHA-256 at the end, which numba passes over."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()

    def _load_index(self) -> Any:
        version = pickle.dumps(self._version, protocol=-1)
        with contextlib.suppress(FileNotFoundError):
            content = Path(self._index_path).read_bytes()
            if not content.startswith(version):  # another version's, which isn't looked at
                return {}
            _check(content[len(version) :])
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        _check(Path(self._data_path(name)).read_bytes())
        return super()._load_data(name)


def _check(data: bytes) -> None:
    if hashlib.sha256(data[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        raise _DamagedError


class _Cache(FunctionCache):
    """numba's cache, without which everything runs as well."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        plain = self._cache_file
        self._cache_file = _CheckedFile(
            self._cache_path, self._impl.filename_base, plain._source_stamp
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - damaged bytes raise almost anything
            with contextlib.suppress(Exception):
                self._cache_file.flush()  # an index that can't be read can't be added to
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # a full disk or a lost folder costs time only
            super().save_overload(sig, data)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: ``numba.njit`` with a cache, if there is a folder for one.

    The folder is ``NUMBA_CACHE_DIR`` if that is set, as the command line does, else the module's
    ``__pycache__`` or the user's cache folder.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        with contextlib.suppress(RuntimeError):  # numba found no folder
            dispatcher._cache = _Cache(function)
        return dispatcher

    return decorate
