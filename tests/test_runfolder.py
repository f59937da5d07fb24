import csv
import math
import os

import numpy as np
import pytest

from d2eval.errors import D2EvalError
from d2eval.manifest import write_manifest
from d2eval.runfolder import format_value, put_aside, write_csv

KEYS = ("protocol", "seed")
OLD = {"protocol": "p", "seed": 0, "finished": "2026-01-02T03:04:05+00:00", "device": "cpu"}
NEW = {**OLD, "seed": 1}


def run_folder(root, manifest=OLD):
    folder = root / "aachen" / "method"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "points3D.bin").write_bytes(b"points")
    (folder / "summary.csv").write_text("a\n1\n")
    (folder / ".lock").write_text("process 1")
    if manifest is not None:
        write_manifest(folder, manifest)
    return folder


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), (math.nan, ""), (np.float64("nan"), ""), (0.1 + 0.2, "0.3"), (2.0, "2"),
        (1 / 3, "0.333333333"), (1.5e-12, "1.5e-12"), (np.float64(0.25), "0.25"), (7, "7"),
        (True, "True"), ("night", "night"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_cells(value, cell):
    assert format_value(value) == cell


def test_rows_come_back(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    write_csv(path, [{"a": 1, "b": None}, {"a": 0.5, "b": 'a, "quoted" name'}])
    assert path.read_bytes() == b'a,b\n1,\n0.5,"a, ""quoted"" name"\n'
    with path.open(newline="") as file:
        assert list(csv.DictReader(file))[1] == {"a": "0.5", "b": 'a, "quoted" name'}


def test_rows_replace_rows_at_once(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="extra"):
        write_csv(path, [{"a": 2}, {"a": 3, "extra": 4}])
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("manifest", [None, {**OLD, "device": "cuda", "finished": "later"}])
def test_a_run_of_the_same_work_stays(tmp_path, manifest):
    folder = run_folder(tmp_path, manifest)
    before = sorted(path.name for path in folder.iterdir())
    assert put_aside(folder, OLD, KEYS) is None
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_run_of_other_work_is_put_aside_whole(tmp_path):
    folder = run_folder(tmp_path)
    aside = put_aside(folder, NEW, KEYS)
    assert aside == tmp_path / "aachen" / ".replaced" / "method-2026-01-02T030405"
    assert [path.name for path in folder.iterdir()] == [".lock"]
    found = {str(p.relative_to(aside)) for p in aside.rglob("*") if p.is_file()}
    assert found == {"manifest.json", "summary.csv", "model/points3D.bin"}
    assert put_aside(folder, NEW, KEYS) is None


def test_a_key_that_only_one_has_is_other_work(tmp_path):
    folder = run_folder(tmp_path)
    assert put_aside(folder, OLD, (*KEYS, "dataset")) is None
    assert put_aside(folder, {**OLD, "dataset": "d"}, (*KEYS, "dataset")) is not None


def test_what_a_killed_run_began_to_move_is_moved_on(tmp_path):
    folder = run_folder(tmp_path)
    aside = folder.parent / ".replaced" / "method-2026-01-02T030405"
    aside.mkdir(parents=True)
    (folder / "summary.csv").replace(aside / "summary.csv")
    assert put_aside(folder, NEW, KEYS) == aside
    assert sorted(path.name for path in aside.iterdir()) == [
        "manifest.json",
        "model",
        "summary.csv",
    ]


def test_the_manifest_goes_last(tmp_path, monkeypatch):
    folder = run_folder(tmp_path)
    real, moved = os.replace, []

    def full(self, target):
        if self.name == "summary.csv":
            raise OSError(28, "No space left on device")
        moved.append(self.name)
        real(self, target)
        return target

    monkeypatch.setattr(type(folder), "replace", full)
    with pytest.raises(D2EvalError, match="can't be moved to") as caught:
        put_aside(folder, NEW, KEYS)
    assert "No space left" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (folder / "manifest.json").is_file()
    assert "manifest.json" not in moved


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_manifest_is_named(tmp_path, content):
    folder = run_folder(tmp_path, None)
    (folder / "manifest.json").write_text(content)
    with pytest.raises(D2EvalError, match=r"manifest\.json: broken manifest"):
        put_aside(folder, NEW, KEYS)
