import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from packed_units import packed

from d2eval.contracts.features import OPTIONAL, Features, no_features
from d2eval.contracts.identity import Identity
from d2eval.contracts.source import Source
from d2eval.contracts.weights import NOT_STATED, WeightsInfo
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.leftovers import clear_once
from d2eval.foundation.files.sealed import seal, unseal
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline.store import Store

IMAGE = "ab" * 32
WEIGHTS = WeightsInfo("bundled", "made for this test", "12" * 32)
IDENTITY = Identity("a_method", 1, {"threshold": 0.5}, WEIGHTS)
MATCHER = {"name": "mutual-nn", "version": 1, "top_k": None}


def some_features(seed: int = 0, n: int = 12, dim: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, dim))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        rng.uniform(0, 60, (n, 2)), rng.random(n), descriptors, (64, 61), rng.uniform(1, 4, n),
        rng.uniform(-3, 3, n), affine_shapes=rng.normal(size=(n, 2, 2)),
    )  # fmt: skip


def assert_same(found: Features, expected: Features) -> None:
    for name in ("keypoints", "scores", "descriptors", *OPTIONAL):
        array = getattr(found, name)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, getattr(expected, name))
    assert found.image_size == expected.image_size


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_features_come_back_bit_by_bit(store):
    features = some_features()
    features.keypoints[0] = np.nextafter(np.float32(1), np.float32(2)), np.float32(1e-40)
    written = store.write_features(IDENTITY, IMAGE, features, Cost(0.1 + 0.2, 321.0625))
    stored = Store(store.root).read_features(IDENTITY, IMAGE)
    assert_same(stored.features, features)
    assert stored.features.keypoints[0].tobytes() == features.keypoints[0].tobytes()
    assert stored.cost == Cost(0.1 + 0.2, 321.0625)
    assert stored.key == written.key


def test_features_without_scales(store):
    store.write_features(IDENTITY, IMAGE, replace(some_features(), scales=None), Cost())
    assert store.read_features(IDENTITY, IMAGE).features.scales is None


@pytest.mark.parametrize("origin", ["center", "corner", "matlab"])
def test_the_origin_comes_back(store, origin):
    store.write_features(IDENTITY, IMAGE, replace(some_features(), origin=origin), Cost())
    assert store.read_features(IDENTITY, IMAGE).features.origin == origin


def test_no_features_come_back_as_none(store):
    store.write_features(IDENTITY, IMAGE, no_features(128, (7, 5)), Cost())
    features = store.read_features(IDENTITY, IMAGE).features
    assert features.descriptors.shape == (0, 128)
    assert (len(features), features.image_size) == (0, (7, 5))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_matches_come_back(store, count):
    matches = np.random.default_rng(1).integers(0, 2**31 - 1, (count, 2), dtype=np.int32)
    path = store.matches_path("one", "other", MATCHER)
    assert store.read_matches(path) is None
    store.write_matches(path, matches)
    found = store.read_matches(path)
    assert (found.dtype, found.shape) == (np.int32, (count, 2))
    np.testing.assert_array_equal(found, matches)


def test_what_was_not_written_is_not_there(store, capsys):
    assert store.read_features(IDENTITY, IMAGE) is None
    assert capsys.readouterr() == ("", "")
    assert not store.root.exists()  # looking makes nothing


OTHERS = {
    "method": (replace(IDENTITY, method="another"), IMAGE),
    "version": (replace(IDENTITY, version=2), IMAGE),
    "option": (replace(IDENTITY, config={"threshold": 0.25}), IMAGE),
    "added option": (replace(IDENTITY, config={"threshold": 0.5, "more": 1}), IMAGE),
    "weights": (replace(IDENTITY, weights=replace(WEIGHTS, sha256="13" * 32)), IMAGE),
    "no weights": (replace(IDENTITY, weights=NOT_STATED), IMAGE),
    "source": (replace(IDENTITY, source=Source("files", "34" * 32, ("orb",))), IMAGE),
    "image": (IDENTITY, "ac" * 32),
}


@pytest.mark.parametrize("changed", OTHERS)
def test_features_of_other_work_are_not_read(store, changed):
    identity, image = OTHERS[changed]
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    assert store.read_features(identity, image) is None
    assert store.features_key(identity, image) != store.features_key(IDENTITY, IMAGE)


def test_other_words_for_the_same_weights_change_nothing(store):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    renamed = replace(IDENTITY, weights=WeightsInfo("a path", "the same bytes", WEIGHTS.sha256))
    assert_same(store.read_features(renamed, IMAGE).features, some_features())


def test_the_order_of_options_changes_nothing():
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert replace(IDENTITY, config=one).key == replace(IDENTITY, config=other).key


def test_matches_of_other_work_lie_elsewhere(store):
    paths = [
        store.matches_path("one", "other", MATCHER),
        store.matches_path("other", "one", MATCHER),
        store.matches_path("one", "another", MATCHER),
        store.matches_path("one", "other", {**MATCHER, "top_k": 2000}),
        store.matches_path("one", "other", {**MATCHER, "version": 2}),
        store.matches_path("one", "other", {**MATCHER, "name": "ratio"}),
    ]
    assert len(set(paths)) == len(paths)


def damaged_copies(data: bytes, seed: int) -> list[bytes]:
    """Single changed bytes, cuts, and a page of zeros; few enough to be quick."""
    rng = np.random.default_rng(seed)
    copies = [data[: rng.integers(len(data))] for _ in range(20)] + [b"", b"no HDF5 file"]
    for _ in range(400):
        at = int(rng.integers(len(data)))
        copies.append(data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :])
    copies.append(data[:64] + bytes(512) + data[576:])
    return copies


def check_note(text: str, path: Path) -> None:
    assert text.startswith(f"note: {path}: damaged (")
    assert text.count("\n") == 1
    assert text.endswith("again\n")


def test_damaged_features_are_noticed(store, capsys):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost(1.5, 2.5))
    (path,) = files_under(store.root)
    for copy in damaged_copies(path.read_bytes(), 1):
        path.write_bytes(copy)
        assert store.read_features(IDENTITY, IMAGE) is None
        check_note(capsys.readouterr().err, path)


def test_features_that_break_the_contract_are_damage(store, capsys):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    (path,) = files_under(store.root)
    content = bytearray(unseal(name := path.relative_to(store.root).as_posix(), path.read_bytes()))
    outside = np.float32([1000, 1000]).tobytes()
    content[:] = content.replace(some_features().keypoints[0].tobytes(), outside)
    path.write_bytes(seal(name, content))
    assert store.read_features(IDENTITY, IMAGE) is None
    assert "outside the image" in capsys.readouterr().err


def test_damage_is_mended_by_writing_again(store):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    (path,) = files_under(store.root)
    path.write_bytes(path.read_bytes()[:200])
    assert store.read_features(IDENTITY, IMAGE) is None
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    assert_same(store.read_features(IDENTITY, IMAGE).features, some_features())


def no_space(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("fails", ["open", "fsync", "replace", "mkdir"])
def test_a_full_disk_is_one_line_and_harms_nothing(store, monkeypatch, fails):
    store.write_features(IDENTITY, IMAGE, some_features(1), Cost())
    before = files_under(store.root)
    other = "cd" * 32
    with monkeypatch.context() as patch:
        patch.setattr(os if fails == "fsync" else Path, fails, no_space)
        with pytest.raises(D2EvalError) as caught:
            store.write_features(IDENTITY, other, some_features(2), Cost())
    message = str(caught.value)
    assert f"{other}.h5: can't be written (No space left on device)" in message
    assert "\n" not in message
    assert files_under(store.root) == before  # no temporary file either
    assert_same(store.read_features(IDENTITY, IMAGE).features, some_features(1))
    store.write_features(IDENTITY, other, some_features(2), Cost())  # there is space again
    assert_same(store.read_features(IDENTITY, other).features, some_features(2))


def test_a_write_that_the_system_cuts_short(store):
    """The kernel itself stops the write in the middle, as a full disk does."""
    resource = pytest.importorskip("resource")
    store.write_features(IDENTITY, IMAGE, some_features(1), Cost())
    before = files_under(store.root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(D2EvalError, match="can't be written") as caught:
            store.write_features(IDENTITY, "cd" * 32, some_features(2, n=2000), Cost())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "\n" not in str(caught.value)
    assert files_under(store.root) == before
    assert_same(store.read_features(IDENTITY, IMAGE).features, some_features(1))


def test_threads_write_side_by_side(store, monkeypatch):
    """Each file is begun while another one is open."""
    together = threading.Barrier(3)
    flush = h5py.File.flush

    def flush_together(file: h5py.File) -> None:
        together.wait(timeout=20)
        flush(file)

    def write(number: int) -> None:
        if number % 2:
            store.write_matches(path(number), np.full((9, 2), number, np.int32))
        else:
            store.write_features(IDENTITY, f"{number:064d}", some_features(number), Cost())

    def path(number: int) -> Path:
        return store.matches_path(str(number), "", MATCHER)

    monkeypatch.setattr(h5py.File, "flush", flush_together)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(12)))
    for number in range(0, 12, 2):
        stored = store.read_features(IDENTITY, f"{number:064d}")
        assert_same(stored.features, some_features(number))
        np.testing.assert_array_equal(
            store.read_matches(path(number + 1)), np.full((9, 2), number + 1)
        )


def test_a_file_in_the_place_of_the_cache(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    store = Store(tmp_path / "cache")
    with pytest.raises(D2EvalError, match="can't be written"):
        store.write_matches(store.matches_path("a", "b", MATCHER), np.zeros((1, 2), np.int32))


def test_old_leftovers_of_killed_runs_are_removed_where_something_is_written(store):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    (unit,) = files_under(store.root)
    # as older versions named them
    old, young = unit.with_name(".old.h5.1-a.tmp"), unit.with_name(".young.h5.2-b.tmp")
    for path in (old, young):
        path.write_bytes(b"half")
    weeks_ago = time.time() - 8 * 24 * 3600
    for path in (old, unit):
        os.utime(path, (weeks_ago, weeks_ago))
    clear_once.cache_clear()  # as in another process
    Store(store.root).read_features(IDENTITY, IMAGE)
    assert files_under(store.root) == sorted([unit, old, young])  # nothing is listed to read
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    assert files_under(store.root) == sorted([unit, young])  # the young may belong to a run


def test_leftovers_that_vanish_while_they_are_looked_at(store, monkeypatch):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    (unit,) = files_under(store.root)
    seen = []

    def another_runs_temporary_file(folder: Path, pattern: str):
        seen.append(folder)
        yield unit.with_name(".gone.h5.1-a.tmp")  # renamed by its run since it was listed

    clear_once.cache_clear()
    monkeypatch.setattr(Path, "glob", another_runs_temporary_file)
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    assert seen == [unit.parent]


# Imports once, then forks a writer whenever it is asked; the writer never ends by itself.
WRITERS = """
import os, sys, time
from pathlib import Path
import numpy as np
from d2eval.contracts.features import OPTIONAL, Features
from d2eval.contracts.identity import Identity
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline.store import Store
from d2eval.contracts.weights import NOT_STATED

def write(first):
    store, number = Store(Path(sys.argv[1])), first
    while True:
        n = 3000
        points = np.full((n, 2), number % 60, np.float32)
        features = Features(
            points, points[:, 0], np.ones((n, 1), np.float32), (64, 64), points[:, 0]
        )
        store.write_features(Identity("m", 1, {}, NOT_STATED), f"{number:064d}", features, Cost())
        matches = np.full((5000, 2), number, np.int32)
        store.write_matches(store.matches_path(str(number), "", {}), matches)
        number += 1

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        write(int(line))
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


def test_units_are_whole_or_absent_after_kill_9(tmp_path, capsys):
    cache = tmp_path / "cache"
    rng = np.random.default_rng(7)
    rounds, span = 10, 1000
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writers:
        for number in range(rounds):
            writers.stdin.write(f"{number * span}\n")
            writers.stdin.flush()
            pid = int(writers.stdout.readline())
            while not any(cache.glob(f"features/*/{number * span:064d}.h5")):
                assert writers.poll() is None
            time.sleep(rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            assert writers.stdout.readline() == "ended\n"
        writers.stdin.close()
    assert writers.returncode == 0

    store, identity = Store(cache), Identity("m", 1, {}, NOT_STATED)
    written = matched = 0
    for first in range(0, rounds * span, span):
        for number in range(first, first + span):
            stored = store.read_features(identity, f"{number:064d}")
            if stored is None:  # here it was killed
                break
            written += 1
            assert (stored.features.keypoints == number % 60).all()
            assert len(stored.features) == 3000
            matches = store.read_matches(store.matches_path(str(number), "", {}))
            if matches is not None:
                matched += 1
                np.testing.assert_array_equal(matches, np.full((5000, 2), number, np.int32))
    assert written >= rounds
    assert capsys.readouterr().err == ""  # no unit was found damaged
    assert matched == packed(cache)
    units = [path for path in files_under(cache) if path.suffix == ".h5"]
    kept = (".h5", ".pack", ".json")  # the last says what a folder's packs are of
    others = [path for path in files_under(cache) if path.suffix not in kept]
    assert len(units) == written
    assert all(path.name.startswith(".") and path.suffix == ".tmp" for path in others)


ARRAYS = {
    "config": np.array([3]),
    "inliers": np.arange(8, dtype=np.int32).reshape(4, 2),
    "F": np.linspace(-1, 1, 9).reshape(3, 3),
    "none": np.zeros((0, 2), np.int32),
}


def test_arrays_come_back_bit_by_bit(store):
    path = store.unit_path("verified", ["a", {"b": 1.5}])
    assert store.read_arrays(path) is None
    store.write_arrays(path, ARRAYS)
    found = Store(store.root).read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    store.write_arrays(path, {"config": np.array([1])})  # takes the place of all of it
    assert list(store.read_arrays(path)) == ["config"]
    assert files_under(store.root) == [path]


def test_what_decides_a_unit_decides_its_path(store):
    content = ["a", {"b": 1.5, "c": [1, 2]}, None, True]
    path = store.unit_path("verified", content)
    assert path.is_relative_to(store.root / "verified")
    assert path.parent.name == path.stem[:2]
    assert store.unit_path("verified", ["a", {"c": [1, 2], "b": 1.5}, None, True]) == path
    others = [
        ["a", {"b": 1.5, "c": [2, 1]}, None, True],
        ["a", {"b": 1.5 + 2**-52, "c": [1, 2]}, None, True],
        ["a", {"b": 1.5, "c": [1, 2]}, None, False],
        ["a", {"b": 1.5, "c": [1, 2]}, "None", True],
        content[::-1],
    ]
    paths = {store.unit_path("verified", other) for other in others}
    assert len(paths | {path, store.unit_path("matches", content)}) == len(others) + 2
    with pytest.raises(TypeError):  # what JSON can't say would not tell units apart
        store.unit_path("verified", [np.zeros(3)])


def test_damaged_arrays_are_noticed(store, capsys):
    path = store.unit_path("verified", ["a"])
    store.write_arrays(path, ARRAYS)
    for data in damaged_copies(path.read_bytes(), 5):
        path.write_bytes(data)
        assert store.read_arrays(path) is None
        check_note(capsys.readouterr().err, path)


def test_zeros_are_no_data(store, capsys):
    """The tail of a file, whole pages or all of it were never written, as after a lost write."""
    store.write_features(IDENTITY, IMAGE, some_features(n=4000), Cost())
    (path,) = files_under(store.root)
    whole = path.read_bytes()
    for begin in range(0, len(whole), 4096):
        for end in (begin + 4096, len(whole)):
            path.write_bytes(whole[:begin] + bytes(len(whole[begin:end])) + whole[end:])
            if path.read_bytes() == whole:  # it was zero before
                continue
            assert store.read_features(IDENTITY, IMAGE) is None
            check_note(capsys.readouterr().err, path)


def test_a_damaged_record_is_noticed(store, capsys):
    path = store.unit_path("poses", ["a"])
    store.write_record(path, [{"pose": None, "score": 0.5}])
    assert store.read_record(path) == [{"pose": None, "score": 0.5}]
    for data in damaged_copies(path.read_bytes(), 6):
        path.write_bytes(data)
        assert store.read_record(path) is None
        check_note(capsys.readouterr().err, path)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000])
def test_a_record_that_is_no_json_is_noticed(store, capsys, text):
    path = store.unit_path("poses", ["a"])
    store.write_arrays(path, {"record": np.frombuffer(text, np.uint8)})
    assert store.read_record(path) is None
    check_note(capsys.readouterr().err, path)


def test_a_unit_in_the_place_of_another_is_noticed(store, capsys):
    one, other = (store.unit_path("verified", [name]) for name in "ab")
    for path in (one, other):
        store.write_arrays(path, ARRAYS)
    one.write_bytes(other.read_bytes())
    assert store.read_arrays(one) is None
    check_note(capsys.readouterr().err, one)
    assert store.read_arrays(other) is not None


def test_a_cache_may_be_moved(store, tmp_path):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    store.root.rename(tmp_path / "elsewhere")
    stored = Store(tmp_path / "elsewhere").read_features(IDENTITY, IMAGE)
    assert_same(stored.features, some_features())


def test_units_of_older_versions_count_as_absent(store, capsys):
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    (path,) = files_under(store.root)
    with h5py.File(path, "r") as new:
        arrays, attributes = {n: d[()] for n, d in new.items()}, dict(new.attrs)
    path.unlink()
    with h5py.File(path, "w", libver="latest") as old:  # as it was written before
        for name, array in arrays.items():
            old.create_dataset(name, data=array, fletcher32=True)
        old.attrs.update(attributes)
    assert store.read_features(IDENTITY, IMAGE) is None
    assert capsys.readouterr().err == ""
    store.write_features(IDENTITY, IMAGE, some_features(), Cost())
    assert_same(store.read_features(IDENTITY, IMAGE).features, some_features())


def test_whatever_reading_raises_it_is_made_again(store, capsys, monkeypatch):
    path = store.unit_path("verified", ["a"])
    store.write_arrays(path, ARRAYS)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("from deep within\na library")

    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", fail)
        assert store.read_arrays(path) is None
    check_note(capsys.readouterr().err, path)


def test_something_else_in_the_place_of_a_unit(store, capsys):
    path = store.unit_path("verified", ["a"])
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert store.read_arrays(path) is None
    check_note(capsys.readouterr().err, path)
    store.write_arrays(path, ARRAYS)
    assert store.read_arrays(path).keys() == ARRAYS.keys()


def test_a_fresh_store_reads_what_it_wrote_alone(store):
    path = store.unit_path("verified", ["a"])
    store.write_arrays(path, ARRAYS)
    store.write_features(IDENTITY, IMAGE, some_features(1), Cost())
    fresh = Store(store.root, fresh=True)
    assert fresh.read_arrays(path) is None
    assert fresh.read_features(IDENTITY, IMAGE) is None
    fresh.write_arrays(path, {"config": np.array([1])})
    fresh.write_features(IDENTITY, IMAGE, some_features(2), Cost())
    assert list(fresh.read_arrays(path)) == ["config"]
    assert_same(fresh.read_features(IDENTITY, IMAGE).features, some_features(2))
    assert_same(store.read_features(IDENTITY, IMAGE).features, some_features(2))
