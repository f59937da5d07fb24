import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from d2eval.cli import main
from d2eval.contracts.features import Features
from d2eval.contracts.identity import Identity
from d2eval.contracts.source import Source
from d2eval.contracts.weights import WeightsInfo
from d2eval.foundation.files.atomic import exclusive
from d2eval.foundation.files.leftovers import temporary_path
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline.store import Store

WEIGHTS = WeightsInfo("bundled", "made here", "0" * 64, False)
MATCHER = Identity("mnn", 1, {}, WEIGHTS, Source("d2eval", "", ()))


def identity(step: int) -> Identity:
    return Identity("grid", 1, {"step": step}, WEIGHTS, Source("d2eval", "1" * 64, ("grid.py",)))


def fill(cache: Path, own: Identity, old: bool = True) -> list[Path]:
    """Features of an image and matches of it; where they lie."""
    store, zeros = Store(cache), np.zeros((4, 2), np.float32)
    found = Features(zeros, zeros[:, 0], np.eye(4, dtype=np.float32), (8, 8))
    store.write_features(own, "ab" * 32, found, Cost())
    path = store.matches_path(f"{own.key}-a", f"{own.key}-b", {"matcher": MATCHER.key})
    store.write_matches(path, np.zeros((3, 2), np.int32))
    store.flush()
    folders = [store.features_folder(own), path.parent]
    for folder in folders if old else []:
        os.utime(folder, (time.time() - 7200,) * 2)
    return folders


@pytest.fixture
def runs(tmp_path) -> Path:
    """A folder with a run of step 1."""
    folder = tmp_path / "runs" / "hpatches" / "grid"
    folder.mkdir(parents=True)
    own, matcher = identity(1), asdict(MATCHER)
    manifest = {
        "schema": 1,
        "features": {**asdict(own), "key": own.key},
        "matcher": {"name": matcher.pop("method"), **matcher, "default": True},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "runs"


@pytest.fixture
def cache(tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs ``d2eval cache``: (exit code, standard output, error)."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["cache", "--cache", str(tmp_path / "cache"), *map(str, words)])
        return code, *capsys.readouterr()

    return run


def test_sizes_by_kind_and_method(tmp_path, cache):
    features, matches = fill(tmp_path / "cache", identity(1))
    (features / "large.h5").write_bytes(bytes(3_000_000))
    code, out, _ = cache()
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows == [
        ["features", "grid", "3.0", "MB"],
        ["matches", "grid", "0.0", "MB"],
        ["all", "3.0", "MB"],
    ]
    assert json.loads((matches / "group.json").read_text())[0] == identity(1).key


def test_what_no_run_names_goes_only_when_told(tmp_path, cache, runs):
    kept, gone = (fill(tmp_path / "cache", identity(step)) for step in (1, 2))
    weights = tmp_path / "cache" / "weights" / "d2net" / "d2_tf.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    code, out, _ = cache("--remove-unused", runs)
    assert (code, out.splitlines()[-1]) == (0, "nothing was removed; --yes removes these")
    assert all(folder.is_dir() for folder in (*kept, *gone))
    code, out, _ = cache("--remove-unused", runs, "--yes")
    assert (code, out.splitlines()[-1]) == (0, "removed")
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in gone)
    assert weights.read_bytes() == b"weights"


def test_what_is_in_use_stays(tmp_path, cache, runs):
    recent = fill(tmp_path / "cache", identity(2), old=False)
    written = fill(tmp_path / "cache", identity(3))
    with temporary_path(written[0] / "unit.h5") as temporary:  # of this process, which lives
        temporary.write_bytes(b"half")
        os.utime(written[0], (time.time() - 7200,) * 2)
        code, _, err = cache("--remove-unused", runs, "--yes")
    assert code == 0
    assert "3 folders that no run names are in use, and stay" in err
    assert all(folder.is_dir() for folder in (*recent, written[0]))
    assert not written[1].exists()


def test_a_run_that_is_being_written_is_waited_for(tmp_path, cache, runs):
    fill(tmp_path / "cache", identity(2))
    with exclusive(runs / "hpatches" / "other"):
        code, _, err = cache("--remove-unused", runs, "--yes")
    assert code == 2
    assert "is writing here; wait for it" in err


def test_locks_of_other_programs_are_left_alone(tmp_path, cache, runs):
    theirs = runs.parent / "theirs"
    theirs.mkdir()
    for name, content in ((".lock", "pid 1"), (".draft.tmp", "draft")):
        (theirs / name).write_text(content)
    (runs.parent / ".lock").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".lock").symlink_to("nothing")
    assert cache("--remove-unused", tmp_path, "--yes")[0] == 0
    kept = {path.name: path.read_text() for path in theirs.iterdir()}
    assert kept == {".lock": "pid 1", ".draft.tmp": "draft"}


def test_runs_may_be_named_twice(tmp_path, cache, runs):
    fill(tmp_path / "cache", identity(2))
    with exclusive(runs / "hpatches" / "grid"):
        pass  # as a finished run leaves it
    code, out, _ = cache("--remove-unused", runs, runs / "hpatches")
    assert code == 0
    assert "features  grid" in out


def test_a_folder_without_runs_is_none(tmp_path, cache):
    folders = fill(tmp_path / "cache", identity(2))
    code, _, err = cache("--remove-unused", tmp_path, "--yes")
    assert code == 2
    assert f"{tmp_path}: holds no run (manifest.json)" in err
    assert all(folder.is_dir() for folder in folders)
