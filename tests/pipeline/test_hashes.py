"""Hashes of image files are known again until the file changes."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from d2eval.contracts.method import Runtime
from d2eval.pipeline import ahead, hashes
from d2eval.pipeline.extraction import MethodChoice, features_of_images
from d2eval.pipeline.hashes import image_hash, known_hash
from d2eval.pipeline.store import Store


def written(path: Path, content: bytes, age_s: float = 60.0) -> str:
    """Writes a file of that age; its SHA-256."""
    path.write_bytes(content)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return hashlib.sha256(content).hexdigest()


def test_a_hash_is_kept_until_path_size_or_time_is_another(tmp_path):
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
    for content, age_s in ((b"longer than it was", 60.0), (b"other", 30.0)):
        sha256 = written(path, content, age_s)
        assert known_hash(store, path) is None
        assert image_hash(store, path) == sha256


@pytest.mark.parametrize("age_s", [0.0, 1.5, -3600.0])
def test_what_changed_just_now_or_in_the_future_is_not_trusted(tmp_path, age_s):
    path, store = tmp_path / "1.ppm", Store(tmp_path / "cache")
    sha256 = written(path, b"first", age_s)
    assert image_hash(store, path) == sha256
    assert known_hash(store, path) is None


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
