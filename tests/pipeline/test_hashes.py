"""Hashes of image files are known again until the file changes."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from d2eval.contracts.method import Runtime
from d2eval.foundation.images import decoding
from d2eval.pipeline import ahead, hashes
from d2eval.pipeline.extraction import MethodChoice, features_of_images
from d2eval.pipeline.hashes import image_hash, known_hash
from d2eval.pipeline.store import Store

THEN = 1_700_000_000


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files count as old at once."""
    monkeypatch.setattr(decoding, "TICK_NS", 0)


def written(path: Path, content: bytes, then: float = THEN) -> str:
    """Writes a file with that time; its SHA-256."""
    path.write_bytes(content)
    os.utime(path, (then, then))
    time.sleep(0.02)  # the kernel's clock goes on
    return hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("settled")
def test_a_hash_is_kept_until_the_file_is_another(tmp_path):
    path, store = tmp_path / "1.ppm", Store(tmp_path / "cache")
    sha256 = written(path, b"first")
    assert known_hash(store, path) is None
    assert image_hash(store, path) == sha256
    store.flush()
    for later in (store, Store(tmp_path / "cache")):
        assert known_hash(later, path) == sha256
    assert known_hash(Store(tmp_path / "cache", fresh=True), path) is None
    copy = tmp_path / "copy.ppm"
    path.rename(copy)
    assert known_hash(store, copy) is None
    # The last has size and time of the one before, as copies that keep times do.
    for content, then in (
        (b"longer than it was", THEN),
        (b"other", THEN + 1),
        (b"again", THEN + 1),
    ):
        sha256 = written(path, content, then)
        assert known_hash(store, path) is None
        assert image_hash(store, path) == sha256


def test_what_changed_just_now_is_not_trusted(tmp_path):
    path, store = tmp_path / "1.ppm", Store(tmp_path / "cache")
    sha256 = written(path, b"first")
    assert image_hash(store, path) == sha256
    assert known_hash(store, path) is None


@pytest.mark.usefixtures("settled")
def test_what_changed_in_the_future_is_not_trusted(tmp_path):
    path, store = tmp_path / "1.ppm", Store(tmp_path / "cache")
    sha256 = written(path, b"first", time.time() + 3600)
    assert image_hash(store, path) == sha256
    assert known_hash(store, path) is None


@pytest.mark.usefixtures("settled")
def test_images_whose_features_are_stored_are_not_read_again(tiny_hpatches, tmp_path, monkeypatch):
    written(tmp_path / "1.ppm", (tiny_hpatches / "v_tiny" / "1.ppm").read_bytes())
    options, items = {"first_octave": 0}, [(tmp_path / "1.ppm", "1.ppm")]

    def found() -> tuple[str, str]:
        source = MethodChoice("rootsift", options).open(Runtime(cache=tmp_path / "cache"))
        ((image, unit),) = features_of_images(source, items, 0)
        source.store.flush()
        return image.sha256, unit.key

    first = found()

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read")

    for module in (ahead, hashes):
        monkeypatch.setattr(module, "load_image_file", refuse)
    assert found() == first
