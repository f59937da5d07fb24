"""Reading, extracting and writing at once, without changing what comes out."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from d2eval.contracts.maps import MapsMethod
from d2eval.contracts.method import Method, Runtime, method_class
from d2eval.contracts.weights import NOT_STATED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note_once
from d2eval.pipeline.extraction import MethodSource, features_of_images, open_source
from d2eval.pipeline.store import Store


@pytest.fixture
def items(tmp_path):
    found = []
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        found.append((path, path.name))
    return found


def source_in(folder):
    return open_source("methods.TEMPLATE:MyFeature", {}, Runtime(cache=folder))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order_and_numbers_are_those_of_plain_extraction(workers, items, tmp_path):
    source = source_in(tmp_path / "cache")
    found = list(features_of_images(source, items, workers))
    assert [image.path for image, _ in found] == [path for path, _ in items]
    assert source.extracted == len(items)
    for image, unit in found:
        plain = source.method.extract(image.decode())
        np.testing.assert_array_equal(unit.features.keypoints, plain.keypoints)
        np.testing.assert_array_equal(unit.features.descriptors, plain.descriptors)
    again = source_in(tmp_path / "cache")
    assert [unit.key for _, unit in features_of_images(again, items, workers)] == [
        unit.key for _, unit in found
    ]
    assert again.extracted == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_loses_nothing_that_was_extracted(workers, items, tmp_path):
    items[4][0].write_bytes(items[4][0].read_bytes()[:200])
    source = source_in(tmp_path / "cache")
    with pytest.raises(D2EvalError, match=r"4\.png"):
        list(features_of_images(source, items, workers))
    units = list((tmp_path / "cache" / "features").glob("*/*.h5"))
    assert len(units) == source.extracted == 4


def test_a_write_that_fails_is_told(items, tmp_path):
    source = source_in(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("a file where a folder must be")
    with pytest.raises(D2EvalError, match="can't be written"):
        list(features_of_images(source, items, 1))


def test_the_method_runs_in_the_callers_thread_and_reading_does_not(items, tmp_path, monkeypatch):
    source = source_in(tmp_path / "cache")
    extract, read = source.method.extract, source.read
    threads: dict[str, set[int]] = {"extract": set(), "read": set()}

    def slow_extract(pixels):
        threads["extract"].add(threading.get_ident())
        time.sleep(0.01)
        return extract(pixels)

    def noted_read(image, name):
        threads["read"].add(threading.get_ident())
        return read(image, name)

    monkeypatch.setattr(source.method, "extract", slow_extract)
    monkeypatch.setattr(source, "read", noted_read)
    list(features_of_images(source, items, 1))
    assert threads["extract"] == {threading.get_ident()}
    assert threading.get_ident() not in threads["read"]


class Undeclared(method_class("methods.TEMPLATE:MyFeature")):
    """As a network from a library, which loads weights by itself, or none."""

    weights = NOT_STATED


class OldStyle(Undeclared):
    weights = None


@pytest.mark.parametrize("cls", [Undeclared, OldStyle])
def test_a_method_that_declares_no_weights_is_not_said_to_need_none(tmp_path, cls):
    config = cls.Config()
    identity = cls(config, Runtime()).identity("methods.TEMPLATE:MyFeature", config)
    source = MethodSource("mine", cls(config, Runtime()), identity, Store(tmp_path))
    assert source.describe()["weights"]["name"] == "not stated"
    assert source.headline().startswith("mine: weights not stated (")
    assert "none" not in source.headline()


def test_a_method_says_so_if_it_needs_none(tmp_path):
    source = open_source("rootsift", {}, Runtime(cache=tmp_path))
    assert source.describe()["weights"]["name"] == "none needed"
    assert source.headline() == "rootsift: no weights needed"


def test_not_stated_is_the_default():
    assert Method.weights == MapsMethod.weights == NOT_STATED
    assert Method.weights_state(Runtime()) == "not stated"


def test_an_image_without_features_gets_a_note(tmp_path, capsys):
    """Each time that they are read: stored ones, and those that others made."""
    for name, value in (("flat", 0), ("noise", 255)):
        pixels = np.random.default_rng(1).integers(0, value + 1, (64, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        empty = dict.fromkeys(("keypoints", "scores", "descriptors"), np.zeros(0))
        (tmp_path / "made").mkdir(exist_ok=True)
        np.savez(tmp_path / "made" / f"{name}.png.npz", **empty)
    items = [(tmp_path / f"{name}.png", f"{name}.png") for name in ("flat", "noise")]
    runtime = Runtime(cache=tmp_path / "cache")
    note_once.cache_clear()
    for workers in (0, 2):
        source = open_source("rootsift", {}, runtime)
        counts = [len(u.features) for _, u in features_of_images(source, items, workers)]
        assert counts[0] == 0 < counts[1]
        said = capsys.readouterr().err
        assert f"note: {tmp_path / 'flat.png'}: no features\n" in said
        assert "noise" not in said
        note_once.cache_clear()
    made = open_source(f"precomputed:{tmp_path / 'made'}", {"extension": "npz"}, runtime)
    list(features_of_images(made, items, 1))
    assert [line.split()[1:] for line in capsys.readouterr().err.splitlines()] == [
        [f"{path}:", "no", "features"] for path, _ in items
    ]
