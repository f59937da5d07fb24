import csv
import math

import numpy as np
import pandas as pd
import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.labels import label_problem
from d2eval.runs.columns import Column
from d2eval.runs.folder import RunName, format_value, run_folder, write_csv
from d2eval.runs.manifest import write_manifest


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


def test_a_frame_is_written_as_rows_are(tmp_path):
    columns = [Column("b"), Column("a")]
    write_csv(tmp_path / "rows.csv", pd.DataFrame({"a": [1.0, 0.5], "b": ["=x", ""]}), columns)
    assert (tmp_path / "rows.csv").read_bytes() == b"b,a\n'=x,1\n,0.5\n"


def test_rows_replace_rows_at_once(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="extra"):
        write_csv(path, [{"a": 2}, {"a": 3, "extra": 4}])
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def features(**more) -> dict:
    return {"method": "m", "version": 1, "config": {"k": [0.5, 1]}, "weights": None, **more}


WORK = {"protocol": "p", "seed": 0, "features": features(), "dataset": {"images": 3}}


def claimed(parent, label, work, given=False, done=True, late=None):
    """Where a run of ``work`` goes, with its manifest if it is done, and the notes."""
    with run_folder(parent, RunName(label, given)) as place:
        folder = place.claim(work)
        if late:
            work = {**work, **late}
            folder = place.claim(work)
        if done:
            write_manifest(folder, {**work, "label": folder.name, "finished": "../../now"})
    return folder, place.notes


def test_one_work_has_one_folder(tmp_path):
    for _ in range(3):
        assert claimed(tmp_path, "a", WORK) == (tmp_path / "a", [])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"seed": 1}, "seed 0 there, 1 here"),
        ({"features": features(version=2)}, "features.version 1 there, 2 here"),
        ({"features": features(config={"k": [1]})}, "features.config.k [0.5, 1] there, [1] here"),
        ({"features": features(weights={"sha256": "f"})}, 'features.weights null there, "f" here'),
        ({"dataset": {"images": 4}}, "dataset.images 3 there, 4 here"),
        ({"dataset": {"images": 3, "outline": "b"}}, "the dataset's files"),
    ],
)
def test_other_work_goes_elsewhere_and_stays_there(tmp_path, other, says):
    first = {**WORK, "dataset": {"images": 3, "outline": "a"}}
    claimed(tmp_path, "a", first)
    before = (tmp_path / "a/manifest.json").read_bytes()
    elsewhere, notes = claimed(tmp_path, "a", {**first, **other})
    assert notes == [f"{tmp_path / 'a'}: holds a run of other work ({says}), which stays"]
    assert elsewhere.parent == tmp_path and elsewhere.name.startswith("a-")
    assert claimed(tmp_path, "a", {**first, **other})[0] == elsewhere
    assert claimed(tmp_path, "a", first)[0] == tmp_path / "a"
    third = claimed(tmp_path, "a", {**first, **other, "protocol": "q"})[0]
    assert len({third, elsewhere, tmp_path / "a"}) == 3
    assert (tmp_path / "a/manifest.json").read_bytes() == before
    with pytest.raises(D2EvalError, match="holds a run of other work") as caught:
        claimed(tmp_path, "a", {**first, **other}, given=True)
    assert says in str(caught.value) and "choose another --name" in str(caught.value)


def test_words_and_places_are_no_work(tmp_path):
    said = features(weights={"sha256": "f", "name": "file a", "description": "/a"}, folder="/a")
    again = features(weights={"sha256": "f", "name": "file b", "description": "/b"}, folder="/b")
    claimed(tmp_path, "a", {**WORK, "features": {**said, "key": "1"}})
    assert claimed(tmp_path, "a", {**WORK, "features": again}) == (tmp_path / "a", [])


def test_what_an_earlier_version_did_not_write_is_no_difference(tmp_path):
    claimed(tmp_path, "a", {"protocol": "p", "seed": 0})
    assert claimed(tmp_path, "a", WORK)[0] == tmp_path / "a"


def test_a_manifest_without_a_matcher_is_of_the_protocol_s(tmp_path):
    claimed(tmp_path, "a", WORK)
    usual, other = ({"matcher": {"name": n, "default": n == "mnn"}} for n in ("mnn", "ratio"))
    with pytest.raises(D2EvalError, match='matcher "ratio" of one, the protocol\'s of another'):
        claimed(tmp_path, "a", {**WORK, **other}, given=True)
    assert claimed(tmp_path, "a", {**WORK, **usual}, given=True)[0] == tmp_path / "a"


def test_what_is_known_late_only(tmp_path):
    late = [{"dataset": {"images": 3, "fingerprint": mark}} for mark in "abc"]
    folders = [claimed(tmp_path, "x", WORK, late=of)[0] for of in late]
    assert folders[0] == tmp_path / "x"
    assert len(set(folders)) == 3
    assert [claimed(tmp_path, "x", WORK, late=of)[0] for of in late] == folders
    with pytest.raises(D2EvalError, match="the content of the dataset"):
        claimed(tmp_path, "x", WORK, given=True, late=late[1])


def test_a_run_that_was_cut_off_leaves_its_name_free(tmp_path):
    claimed(tmp_path, "a", WORK, done=False)
    assert claimed(tmp_path, "a", {**WORK, "seed": 5}, given=True)[0] == tmp_path / "a"


def test_two_at_once(tmp_path):
    with run_folder(tmp_path, RunName("a")) as place:
        place.claim(WORK)
        with pytest.raises(D2EvalError, match="another run"):
            claimed(tmp_path, "a", WORK)
    claimed(tmp_path, "a", WORK)


def test_long_names_grow_no_longer_than_a_label(tmp_path):
    label = "é" * 60
    folders = {claimed(tmp_path, label, {**WORK, "seed": seed})[0].name for seed in range(4)}
    assert len(folders) == 4
    assert all(label_problem(name) is None for name in folders)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.json").write_text(content)
    with pytest.raises(D2EvalError, match=r"manifest\.json: .*remove the folder"):
        claimed(tmp_path, "a", WORK)


@pytest.mark.parametrize("label", ["../evil", "/evil", ".", ""])
def test_a_label_that_is_none(tmp_path, label):
    with pytest.raises(D2EvalError, match="names a folder"):
        RunName(label)
