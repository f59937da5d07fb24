"""Benchmarks from Python."""

import csv
from functools import partial

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
def here(tmp_path, tiny_hpatches, no_figures):
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


def test_workers_make_what_the_command_s_would(here, workers_here):
    found = evaluate("hpatches", "rootsift", top_k=20, scheduler="local:2", **here)
    assert {block.stage for block in workers_here.blocks} == {"features", "matches"}
    again = here | {"output": here["output"].with_name("again")}
    assert found.rows.equals(evaluate("hpatches", "rootsift", top_k=20, **again).rows)
    with pytest.raises(
        D2EvalError, match=r"^hpatches: can't be sent to workers \(.*; name the meth"
    ):
        evaluate("hpatches", corners, scheduler="local:2", **here)
    with pytest.raises(D2EvalError, match=r"^--scheduler 2: must be local:N"):
        evaluate("hpatches", corners, scheduler="2", **here)


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
    assert handed.folder == named.folder
    assert list(named.rows["matches"]) == list(handed.rows["matches"])
    with pytest.raises(D2EvalError, match="method_options"):
        evaluate("hpatches", corners, method_options={"num_features": 30}, **here)


def strongest(count):
    return lambda image: tuple(array[:count] for array in corners(image))


@pytest.mark.parametrize("make", [strongest, lambda n: partial(some, count=n)])
def test_what_no_file_tells_apart_is_never_taken_for_another(here, make):
    means = [evaluate("hpatches", make(n), **here).rows["features_1"].mean() for n in (10, 30)]
    assert means == [10, 30]


def some(image, count):
    return strongest(count)(image)


def test_options_of_a_class_and_state_of_an_object_count(here):
    from d2eval import Runtime
    from d2eval.contracts.method import method_class

    cls = method_class("rootsift")
    few, more = (
        evaluate("hpatches", cls, method_options={"num_features": n}, **here) for n in (10, 30)
    )
    assert few.rows["features_1"].max() < more.rows["features_1"].max()
    runtime = Runtime(cache=here["cache"])
    held = [cls(cls.Config(num_features=n), runtime) for n in (12, 25)]
    means = [evaluate("hpatches", method, **here).rows["features_1"].mean() for method in held]
    assert means[0] < means[1]


def test_images_without_features(here):
    def none(image):
        return (), None

    assert (evaluate("hpatches", none, **here).rows["matches"] == 0).all()


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
    for more, message in (
        ({"matcher_options": {"ratio": 0.5}}, "name the matcher"),
        ({"method_options": {"num_features": "50"}}, "num_features = '50' must be a int"),
        ({"method_options": {"foo": 1}}, "no option 'foo'"),
        ({"top_k": "200"}, "top_k = '200' must be a int"),
        ({"sequences": ["v_*"]}, "must be a str"),
        ({"seed": "7"}, "must be numbers"),
        ({"workers": -1}, "must be numbers"),
        ({"device": "tpuu"}, "--device tpuu: not available"),
    ):
        with pytest.raises(D2EvalError, match=message):
            evaluate("hpatches", "rootsift", **more, **here)
    with pytest.raises(D2EvalError, match="protocol = 'bogus'; choose from"):
        evaluate("aachen", "rootsift", protocol="bogus")
    with pytest.raises(D2EvalError, match="aachen: ~nosuchuser/x: no such home folder"):
        evaluate("aachen", "rootsift", reference_poses="~nosuchuser/x")
    with pytest.raises(D2EvalError, match="names a folder"):
        evaluate("hpatches", "rootsift", name="../evil", **here)


def test_every_public_name_is_there():
    assert all(getattr(d2eval, name) is not None for name in d2eval.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        d2eval.evaluat  # noqa: B018
