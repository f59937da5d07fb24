"""Hashes of image files, kept by path, size and times, so that a later run need not read all."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from d2eval.foundation.files.reading import require_file
from d2eval.foundation.images.decoding import FileState, ImageFile, load_image_file
from d2eval.pipeline.store import HASHES, Store


def _place(store: Store, path: Path, state: FileState) -> Path:
    return store.unit_path(HASHES, [os.path.abspath(path), *state], "images")  # noqa: PTH100


def known_hash(store: Store, path: Path) -> str | None:
    """SHA-256 of an image file that was hashed before and hasn't changed; None: it isn't known.

    Raises:
        D2EvalError: there is no such file.
    """
    require_file(path)
    found = store.read_arrays(_place(store, path, FileState.of(path)))
    return None if found is None else found["sha256"].tobytes().hex()


def keep_hash(store: Store, image: ImageFile) -> None:
    """Keeps the hash of a file that was read, unless a later change may not show in its time.

    In a cache that may only be read, nothing is kept.

    Raises:
        D2EvalError: the disk is full.
    """
    only_read = store.root.exists() and not os.access(store.root, os.W_OK)
    if image.state is not None and not only_read:
        sha256 = np.frombuffer(bytes.fromhex(image.sha256), np.uint8)
        store.write_arrays(_place(store, image.path, image.state), {"sha256": sha256})


def image_hash(store: Store, path: Path) -> str:
    """SHA-256 of an image file, known or of what is read now; raises as both."""
    known = known_hash(store, path)
    if known is None:
        image = load_image_file(path)
        keep_hash(store, image)
        return image.sha256
    return known


_may_read = ContextVar("_may_read", default=True)


@contextlib.contextmanager
def images_unread() -> Iterator[None]:
    """What is planned in this block is by hashes that are known; others count as new images."""
    token = _may_read.set(False)
    try:
        yield
    finally:
        _may_read.reset(token)


def may_read_images() -> bool:
    """Whether images are read to plan."""
    return _may_read.get()


def planned_hash(store: Store, path: Path) -> str:
    """As `image_hash`, but keeps nothing: what plans a run writes nothing.

    In `images_unread` that of an image whose hash isn't known is "", under which nothing is stored.
    """
    known = known_hash(store, path)
    if known is None:
        return load_image_file(path).sha256 if may_read_images() else ""
    return known
