"""``--matcher`` as a user gives it, on a tiny HPatches, and what is written of it."""

import csv
import importlib
import json
import sys
from pathlib import Path

import pytest

from d2eval.cli import main
from d2eval.pipeline import speed

OUTSIDE = """
from dataclasses import dataclass

import numpy as np

from d2eval.contracts.matcher import Matcher
from d2eval.contracts.options import option


@dataclass(frozen=True)
class Config:
    every: int = option(1, "keep each n-th match")
    backwards: bool = option(False, "last match first")


class Plain(Matcher):
    description = "mutual nearest neighbours, plainly"
    Config = Config

    def match(self, first, second):
        assert first.image_size == second.image_size == (96, 80)
        similarity = first.descriptors @ second.descriptors.T
        there, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
        pairs = np.array([[i, j] for i, j in enumerate(there) if back[j] == i])
        return pairs[:: -self.config.every if self.config.backwards else self.config.every]
"""


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the pairs, less what differs from run to run."""
    return [
        {k: v for k, v in row.items() if not k.startswith(("seconds", "peak_memory"))}
        for row in read_csv(folder / "pairs.csv")
    ]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def evaluate(cache, tmp_path, tiny_hpatches, capsys, no_figures):
    """Runs RootSIFT on the tiny set: its one run's folder, and standard output."""

    def evaluate(*words: str, output: str = "runs") -> tuple[Path, str]:
        code = main(
            ["hpatches", "--method", "rootsift", "--data", str(tiny_hpatches),
             "--cache", str(cache), "--output", str(tmp_path / output), *words]
        )  # fmt: skip
        out, error = capsys.readouterr()
        assert code == 0, error
        (folder,) = (tmp_path / output / "hpatches").iterdir()
        return folder, out

    return evaluate


@pytest.fixture
def outside(tmp_path) -> Path:
    """A package of another author, laid out as an installer would."""
    folder = tmp_path / "packages"
    info = folder / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[d2eval.matchers]\nplain = outside_plain:Plain\n")
    (folder / "outside_plain.py").write_text(OUTSIDE)
    return folder


@pytest.fixture
def command(outside, tmp_path, monkeypatch, capsys, no_figures):
    """Runs a command that finds the package as a new process would: standard output."""
    monkeypatch.syspath_prepend(outside)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)

    def command(words: list[object], notes: str = "") -> str:
        sys.modules.pop("outside_plain", None)
        importlib.invalidate_caches()
        code = main([str(word) for word in words])
        out, error = capsys.readouterr()
        assert code == 0, error
        assert notes in error if notes else error == ""
        return out

    yield command
    sys.modules.pop("outside_plain", None)


def test_a_matcher_of_another_package(command, outside, cache, tmp_path, tiny_hpatches, evaluate):
    listed = command(["methods", "--cache", cache])
    (line,) = [line for line in listed.splitlines() if line.startswith("plain ")]
    assert line.split()[:4] == ["plain", "-", "not", "stated"]
    assert "mutual nearest neighbours, plainly" in command(["methods", "plain", "--cache", cache])

    line = ["hpatches", "--method", "rootsift", "--data", tiny_hpatches, "--cache", cache]
    said = command([*line, "--matcher", "plain", "--output", "a"])
    assert "\nmatcher plain: every 1, backwards False\n" in said
    folder = tmp_path / "a/hpatches/rootsift-plain"
    assert rows(folder) == rows(evaluate(output="default")[0])
    first = manifest(folder)["matcher"]
    assert {"name": "plain", "default": False}.items() <= first.items()
    assert first["config"] == {"every": 1, "backwards": False}
    assert len(first["source"]["sha256"]) == 64

    options = ["--matcher-every", "2", "--matcher-backwards"]
    command([*line, "--matcher", "plain", *options, "--output", "b"])
    half = rows(tmp_path / "b/hpatches/rootsift-plain-every2-backwards")
    for whole, part in zip(rows(folder), half, strict=True):
        assert int(part["matches"]) == (int(whole["matches"]) + 1) // 2

    # Edited, it is other work: its stored matches don't count, nor is its run the same.
    (outside / "outside_plain.py").write_text(OUTSIDE.replace("self.config.every]", "5]"))
    target = "outside_plain:Plain"
    command([*line, "--matcher", target, "--output", "c"])
    fifth = tmp_path / "c/hpatches/rootsift-outside_plain.Plain"
    for whole, part in zip(rows(folder), rows(fifth), strict=True):
        assert int(part["matches"]) == -(-int(whole["matches"]) // 5)
    note = f"{folder.relative_to(tmp_path)}: holds a run of other work (matcher.source"
    command([*line, "--matcher", "plain", "--output", "a"], note)
    assert len(list((tmp_path / "a/hpatches").iterdir())) == 2
    assert rows(folder) == rows(evaluate(output="default")[0])


def test_the_protocols_own_by_name_is_the_same_work(evaluate):
    folder, out = evaluate()
    assert folder.name == "rootsift"
    assert manifest(folder)["matcher"]["name"] == "mnn"
    assert manifest(folder)["matcher"]["default"]
    before = rows(folder)
    again, out = evaluate("--matcher", "mnn", "--name", "rootsift")
    assert again == folder
    assert "matcher" not in out
    assert rows(again) == before


def test_another_matcher_is_other_work(evaluate, tmp_path, capsys, tiny_hpatches, cache):
    folder, _ = evaluate("--name", "mine")
    code = main(
        ["hpatches", "--method", "rootsift", "--data", str(tiny_hpatches), "--cache", str(cache),
         "--output", str(tmp_path / "runs"), "--matcher", "ratio", "--name", "mine"]
    )  # fmt: skip
    assert code == 2
    error = capsys.readouterr().err
    assert f"{folder}: holds a run of other work (matcher.name" in error


def test_a_shipped_one_with_an_option(evaluate):
    usual, _ = evaluate()
    folder, out = evaluate("--matcher", "mnn_ratio", "--matcher-ratio", "0.9", output="other")
    assert folder.name == "rootsift-mnn_ratio-ratio0.9"
    assert "\nmatcher mnn_ratio: ratio 0.9\n" in out
    for before, now in zip(rows(usual), rows(folder), strict=True):
        assert 0 < int(now["matches"]) <= int(before["matches"])
    assert rows(usual) != rows(folder)
    table = (folder / "hpatches.md").read_text(encoding="utf-8")
    assert "+ mnn_ratio" in table


def test_a_manifest_of_an_earlier_version_is_read(evaluate, capsys, tmp_path):
    folder, _ = evaluate()
    content = manifest(folder)
    del content["matcher"]
    (folder / "manifest.json").write_text(json.dumps(content))
    evaluate()  # and no difference is seen, as it isn't known what it matched with
    (folder / "manifest.json").write_text(json.dumps(content))
    assert main(["tables", "hpatches", "--runs", str(tmp_path / "runs"), "--output",
                 str(tmp_path / "tables")]) == 0  # fmt: skip
    assert "rootsift" in (tmp_path / "tables/hpatches.md").read_text()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("hpatches --method rootsift --matcher ration", "unknown matcher 'ration'; did you mean"),
        (
            "hpatches --method rootsift --matcher-ratio 0.7",
            "--matcher-ratio is an option of ratio and mnn_ratio, so name it with --matcher",
        ),
        (
            "aachen --method rootsift --matcher mnn --matcher-ratio 0.7",
            "--matcher-ratio is an option of ratio and mnn_ratio, not of mnn",
        ),
        (
            "hpatches --method rootsift --matcher ratio --matcher-ration 1",
            "--matcher-ration: no such option; did you mean --matcher-ratio?",
        ),
        (
            "hpatches --method rootsift --matcher ratio --matcher-ratio 2",
            "matcher 'ratio': ratio must be above 0 and at most 1",
        ),
        ("hpatches --method rootsift --macher ratio", "--macher: no such option; did you mean"),
        ("inloc --strategy dense --matcher ratio", "--matcher: strategy dense matches maps, not"),
        ("speed --method rootsift --matcher ratio", "--matcher is measured at --matching N1xN2xD"),
        ("extract --method rootsift --output x --matcher ratio x", "--matcher: no such option"),
    ],
)
def test_mistakes_are_one_line(capsys, line, says):
    assert main(line.split()) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert says in error
    assert error.startswith("d2eval: ")
    assert error.count("\n") == 1


def test_its_options_are_in_the_help(capsys):
    assert main(["hpatches", "--method", "rootsift", "--matcher", "ratio", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--matcher-ratio MATCHER_RATIO" in out
    assert "options of matcher ratio:" in out


def test_speed_names_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "PEAK_SIZES", (8,))
    monkeypatch.setattr(speed, "_alone", lambda work, *arguments: work(*arguments))
    line = ["speed", "--method", "rootsift", "--size", "64x48", "--matching", "60x50x32",
            "--repeats", "1", "--output", str(tmp_path)]  # fmt: skip
    assert main([*line, "--matcher", "ratio", "--matcher-ratio", "1"]) == 0
    assert main([*line, "--matcher", "mnn"]) == 0
    measured = read_csv(tmp_path / "speed.csv")
    words = [row["what"] for row in measured]
    assert words == ["matching-ratio-ratio1.0", "rootsift", "matching"]
    assert measured[0]["features"] == "60"  # one way, every feature is matched
    capsys.readouterr()
