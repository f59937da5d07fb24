"""Small units in packs: whole or absent, found by other processes, damaged ones made again."""

import errno
import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from packed_units import packed

from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline import packs
from d2eval.pipeline.packs import GROUP, Packs
from d2eval.pipeline.store import Store


def names(count: int) -> list[str]:
    return [hashlib.sha256(bytes([k % 256, k // 256])).hexdigest() for k in range(count)]


@pytest.fixture
def no_time(monkeypatch):
    """None passes, so that what is written first goes at once and the rest waits."""
    monkeypatch.setattr(packs.time, "monotonic", lambda: 1000.0)


def test_units_share_files_and_come_back(tmp_path, no_time):
    own, listed = Packs(tmp_path), names(1200)
    for k, name in enumerate(listed):
        own.write(name, name.encode() * (k % 3))
        assert own.read(name) == name.encode() * (k % 3)  # whether it waits or is written
    own.flush()
    own.flush()  # nothing more to write
    assert len(list(tmp_path.iterdir())) == 4  # 1, 512, 512 and the rest
    assert packed(tmp_path) == 1200
    other = Packs(tmp_path)
    assert [other.read(name) for name in listed] == [
        name.encode() * (k % 3) for k, name in enumerate(listed)
    ]
    assert other.read("ab" * 32) is None


def test_large_units_don_t_wait(tmp_path, no_time, monkeypatch):
    monkeypatch.setattr(packs, "MOST_BYTES", 1000)
    own, (first, second, third) = Packs(tmp_path), names(3)
    own.write(first, b"a")
    own.write(second, b"b" * 900)
    assert packed(tmp_path) == 1
    own.write(third, b"c" * 200)
    assert packed(tmp_path) == 3


def test_what_another_process_writes_is_seen_after_a_second(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(packs.time, "monotonic", lambda: now[0])
    one, other, (first, second, third) = Packs(tmp_path), Packs(tmp_path), names(3)
    one.write(first, b"first")
    assert other.read(first) == b"first"
    now[0] += 3
    one.write(second, b"second")
    assert other.read(second) == b"second"
    one.write(third, b"third")
    one.flush()
    assert other.read(third) is None  # it has just looked
    other.look_again()
    assert other.read(third) == b"third"


def test_the_same_pack_by_two_processes_is_one_file(tmp_path, no_time):
    for own in (Packs(tmp_path), Packs(tmp_path)):
        own.write(names(1)[0], b"the same")
    assert len(list(tmp_path.iterdir())) == 1


def test_changed_bytes_and_cuts_are_noticed(tmp_path, capsys):
    listed = names(3)
    path = tmp_path / f"a{packs.SUFFIX}"
    whole = packs.pack({name: name.encode() for name in listed})
    for at in range(0, len(whole), 5):
        for data in (whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(data)
            own = Packs(tmp_path)
            found = [own.read(name) for name in listed]
            assert None in found
            assert {*found} <= {None, *(name.encode() for name in listed)}
            err = capsys.readouterr().err
            assert not data or err.startswith(f"note: {path}: damaged (")


def test_a_damaged_unit_is_made_again_and_then_whole(tmp_path, capsys):
    store, matches = Store(tmp_path), np.arange(8, dtype=np.int32).reshape(4, 2)
    path = store.matches_path("m-one", "m-other", {})
    store.write_matches(path, matches)
    (pack,) = tmp_path.rglob("*.pack")
    data = pack.read_bytes()
    pack.write_bytes(data.replace(matches.tobytes(), matches[::-1].tobytes()))
    later = Store(tmp_path)
    assert later.read_matches(path) is None
    assert capsys.readouterr().err.startswith(f"note: {pack}: damaged (")
    later.write_matches(path, matches + 1)
    np.testing.assert_array_equal(later.read_matches(path), matches + 1)
    np.testing.assert_array_equal(Store(tmp_path).read_matches(path), matches + 1)
    assert capsys.readouterr().err == ""  # the newer one is read


def test_a_damaged_unit_says_no_costs(tmp_path):
    own = Packs(tmp_path)
    for name in ("first", "second"):  # the first is written at once, the other by itself
        own.write(name, name.encode())
        own.flush()
    (path,) = (p for p in tmp_path.iterdir() if b"second" in p.read_bytes())
    os.utime(path, (time.time() + 60,) * 2)
    assert Packs(tmp_path).some() == [b"second"]
    path.write_bytes(path.read_bytes().replace(b"second", b"SECOND"))
    os.utime(path, (time.time() + 60,) * 2)
    assert Packs(tmp_path).some() == []


def test_what_packs_share_may_be_written_by_another_process_meanwhile(tmp_path, monkeypatch):
    replace = Path.replace

    def refuse(temporary: Path, target: Path) -> Path:
        if target.name != GROUP:
            return replace(temporary, target)
        target.write_bytes(temporary.read_bytes())  # another process was faster
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", refuse)
    own = Packs(tmp_path, ["key"])
    own.write("unit", b"content")
    assert own.read("unit") == b"content"
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".pack"]


def test_units_of_older_versions_in_files_of_their_own_are_read(tmp_path):
    store, matches = Store(tmp_path), np.arange(8, dtype=np.int32).reshape(4, 2)
    store.write_arrays(store.unit_path("matches", ["a", "b"]), {"matches": matches})
    found = Store(tmp_path).read_matches(store.unit_path("matches", ["a", "b"], ["a"]))
    np.testing.assert_array_equal(found, matches)
    fresh = Store(tmp_path, fresh=True)
    assert fresh.read_matches(store.unit_path("matches", ["a", "b"], ["a"])) is None


def test_no_room_is_one_line_and_loses_nothing_before(tmp_path, no_time):
    own, (first, second) = Packs(tmp_path / "cache"), names(2)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(D2EvalError, match="can't be written"):
        own.write(first, b"a")
    (tmp_path / "cache").unlink()
    own.write(second, b"b")
    own.flush()
    assert Packs(tmp_path / "cache").read(first) == b"a"


def test_a_store_that_is_dropped_writes_what_waits(tmp_path, no_time):
    store = Store(tmp_path)
    for k in range(3):
        store.write_matches(store.matches_path("m-one", str(k), {}), np.zeros((k, 2), np.int32))
    assert packed(tmp_path) == 1
    del store
    assert packed(tmp_path) == 3
