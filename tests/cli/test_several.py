"""Several methods in one command."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from d2eval.cli import main, several
from d2eval.contracts.registry import registered

METHOD = """import numpy as np
from d2eval import NONE_NEEDED, D2EvalError, Method, make_features
class Good(Method):
    description, descriptor_dim, weights = "good", 1, NONE_NEEDED
    def __init__(self, config, runtime): pass
    def extract(self, image):
        return make_features(np.zeros((1, 2)), [1], [[1]], image.shape[1::-1])
class Bad(Good):
    def extract(self, image): raise D2EvalError("no luck; try again")
class Full(Good):
    def extract(self, image): raise OSError(28, "No space left on device", "there")
class Heavy(Good):
    def extract(self, image): raise MemoryError
"""


@pytest.fixture
def extract(tmp_path, monkeypatch, capsys):
    """Runs ``d2eval extract`` on an image; gives exit code, errors, and what was written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "outside_several.py").write_text(METHOD)
    Image.linear_gradient("L").save("a.png")

    def extract(*words: str) -> tuple[int, list[str], list[str]]:
        code = main(["extract", "a.png", "--cache", "cache", "--output", "out", *words])
        err = capsys.readouterr().err.replace("outside_several", "o").splitlines()
        written = sorted(path.suffix for path in Path("out").glob("*"))
        return code, err, written

    yield extract
    sys.modules.pop("outside_several", None)


GOOD, BAD, FULL, HEAVY = (f"outside_several:{name}" for name in ("Good", "Bad", "Full", "Heavy"))


def test_what_fails_does_not_end_the_others_and_is_told_at_the_end(extract):
    code, err, written = extract("--method", f"{BAD},{FULL}", "--method", f"{HEAVY},{GOOD}")
    assert code == 2
    assert written == [".Good"]
    *_, first, second, third, fourth = err
    assert first == "d2eval: 3 of 4 methods failed"
    assert second == "d2eval: o:Bad: no luck; try again"
    assert third == "d2eval: o:Full: there: No space left on device"
    assert fourth.startswith("d2eval: o:Heavy: out of memory")
    assert [line for line in err if "told at the end" in line] == [
        f"note: o:{name} failed, which is told at the end" for name in ("Bad", "Full", "Heavy")
    ]


def test_one_alone_fails_as_ever(extract):
    assert extract("--method", BAD) == (2, ["d2eval: no luck; try again"], [])


def test_a_mistake_in_a_list_is_told_before_anything_runs(extract):
    code, err, written = extract("--method", f"{GOOD},rotsift")
    assert (code, written, len(err)) == (2, [], 1)
    assert "did you mean rootsift" in err[0]
    code, err, written = extract("--method", f"{GOOD},rootsift", "--name", "x")
    assert (code, written, len(err)) == (2, [], 1)
    assert err[0].startswith("d2eval: --name names one run")


@pytest.mark.parametrize(
    ("values", "methods"),
    [
        (["a,b", "c", "a"], ["a", "b", "c"]),
        (["a,", ",b"], ["a", "b"]),
        (["precomputed:x,y"], ["precomputed:x,y"]),
        (["a", "external:run --sizes 1,2"], ["a", "external:run --sizes 1,2"]),
        (["all,zzz", "orb"], ["rootsift", "orb", "zzz"]),
    ],
)
def test_which_methods_are_named(values, methods, monkeypatch):
    monkeypatch.setattr(several, "_all", lambda _: ["rootsift", "orb"])
    arguments = ["--workers", "0", *(f"--method={value}" for value in values), "--", "b.png"]
    assert several.for_each_method(arguments) == [
        ["--workers", "0", "--method", method, "--", "b.png"] for method in methods
    ]


def test_all_are_those_that_lack_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no kornia
    found = several.for_each_method(["--method", "all", "--cache", str(tmp_path)])
    names = [arguments[-1] for arguments in found]
    assert {"rootsift", "d2_ss", "orb"} <= {*names} < {*registered()}
    assert not {"r2d2", "superpoint", "aliked"} & {*names}
    err = capsys.readouterr().err
    assert err.startswith("note: all: without ")
    assert "aliked" in err
    assert "`d2eval methods` says what they lack" in err
