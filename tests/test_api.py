"""Benchmarks from Python."""

import csv

import cv2
import numpy as np
import pytest

import d2eval
from d2eval import D2EvalError, evaluate
from d2eval.cli import main


def corners(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strongest corners with the grey patch around each."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    points = cv2.goodFeaturesToTrack(gray, 50, 0.01, 3).reshape(-1, 2)
    patches = [cv2.getRectSubPix(gray, (8, 8), (float(x), float(y))).ravel() for x, y in points]
    return points, np.stack(patches) - 100


@pytest.fixture
def here(tmp_path, tiny_hpatches):
    return {"cache": tmp_path / "cache", "output": tmp_path / "runs", "data": tiny_hpatches}


def test_names_give_what_the_command_gives(here, tmp_path):
    found = evaluate("hpatches", "rootsift", top_k=20, matcher="ratio", **here)
    line = ["--data", str(here["data"]), "--cache", str(tmp_path / "other"), "--output"]
    command = ["hpatches", "--method", "rootsift", "--top-k", "20", "--matcher", "ratio", *line]
    assert main([*command, str(tmp_path / "again")]) == 0
    assert found.folder == tmp_path / "runs/hpatches/rootsift-ratio-top20"
    with (tmp_path / "again/hpatches/rootsift-ratio-top20/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(found.rows) == len(rows) == 10
    assert list(found.rows["sequence"]) == [row["sequence"] for row in rows]
    for name in ("image", "matches", "mma_3px", "h_accuracy_5px"):
        assert list(found.rows[name]) == pytest.approx([float(row[name]) for row in rows])
    overall = found.summary.set_index("split").loc["overall"]
    assert overall["mma_3px"] == pytest.approx(found.rows["mma_3px"].mean())


def test_a_plain_function(here):
    found = evaluate("hpatches", corners, sequences="i_*", **here)
    assert found.folder.name == "corners-i_all"
    assert set(found.rows["sequence"]) == {"i_tiny"}
    assert (found.rows["features_1"] <= 50).all()
    assert found.rows["mma_1px"].iloc[0] > 0.8  # hardly darker, under the identity


def test_a_function_that_gives_something_else(here):
    with pytest.raises(D2EvalError, match="gave neither Features nor"):
        evaluate("hpatches", lambda image: 3, **here)


def test_classes_and_objects(here):
    from d2eval.contracts.method import method_class

    cls = method_class("rootsift")
    named = evaluate("hpatches", "rootsift", method_options={"num_features": 30}, **here)
    handed = evaluate("hpatches", cls, method_options={"num_features": 30}, **here)
    assert handed.folder.name == "RootSIFT"
    assert list(named.rows["matches"]) == list(handed.rows["matches"])
    with pytest.raises(D2EvalError, match="method_options"):
        evaluate("hpatches", corners, method_options={"num_features": 30}, **here)


def test_mistakes(here):
    for words, message in (
        (("hpatchez", "rootsift"), "did you mean hpatches"),
        (("hpatches", "rootsiftt"), "did you mean"),
        (("hpatches", None), "name a method"),
        (("hpatches", 7), "give a name"),
    ):
        with pytest.raises(D2EvalError, match=message):
            evaluate(*words, **here)
    with pytest.raises(D2EvalError, match="--top-k must be 1 or more"):
        evaluate("hpatches", "rootsift", top_k=0, **here)
    with pytest.raises(D2EvalError, match="names a folder"):
        evaluate("hpatches", "rootsift", name="../evil", **here)


def test_every_public_name_is_there():
    assert all(getattr(d2eval, name) is not None for name in d2eval.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        d2eval.evaluat  # noqa: B018
