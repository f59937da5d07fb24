"""``d2eval cite``."""

import json
import re

import pytest

from d2eval.cli import main


@pytest.fixture
def cited(capsys):
    """The keys that a command line cites, and what it says beside."""

    def cited(*arguments: object) -> tuple[list[str], str]:
        assert main(["cite", *map(str, arguments)]) == 0
        out, err = capsys.readouterr()
        return re.findall(r"^@\w+\{(\S+),$", out, re.MULTILINE), err

    return cited


def test_methods_and_matchers_each_entry_once(cited):
    keys, err = cited("--method", "rootsift", "--method", "upright_rootsift",
                      "--matcher", "ratio", "--matcher", "mnn")  # fmt: skip
    assert keys == ["arandjelovic2012rootsift", "lowe2004sift", "schoenberger2016sfm"]
    assert err == ""


def test_what_the_shipped_runs_of_a_benchmark_used(cited):
    keys, err = cited("inloc", "--runs", "shipped")
    for key in ("dusmanu2019d2net", "taira2018inloc", "simonyan2015vgg", "lowe2004sift"):
        assert keys.count(key) == 1
    assert "balntas2017hpatches" not in keys
    assert err == ""


def identity(name: str, key: str = "method") -> dict:
    return {key: name, "version": 1, "config": {}, "weights": {}}


def test_methods_and_matchers_of_ones_own_runs(cited, tmp_path):
    for label, method, matcher in (
        ("a", "xfeat", "mnn"),
        ("b", "aliked", "lightglue"),
        ("c", "elsewhere:Feature", "mnn"),
    ):
        folder = tmp_path / "hpatches" / label
        folder.mkdir(parents=True)
        (folder / "summary.csv").touch()
        content = {
            "benchmark": "hpatches", "schema": 1, "method": method, "label": label,
            "dataset": {"completeness": "sample"}, "weights": None,
            "features": identity(method), "matcher": identity(matcher, "name") | {"default": True},
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(content))
    (tmp_path / "hpatches" / "unfinished").mkdir()
    keys, err = cited("hpatches", "--runs", tmp_path)
    assert keys == [
        "dusmanu2019d2net", "balntas2017hpatches", "potje2024xfeat", "zhao2023aliked",
        "lindenberger2023lightglue",
    ]  # fmt: skip
    assert err == "note: elsewhere:Feature: not known here, so not cited\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a benchmark, --method or --matcher"),
        (["hpaches"], "did you mean hpatches"),
        (["--method", "alikd"], "did you mean aliked"),
        (["hpatches", "--runs", "/no/such"], "/no/such"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["cite", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
