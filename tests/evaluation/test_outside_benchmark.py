"""A benchmark of another package, in one file: command, sample, check, rows, table and plot."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from places import REPOSITORY

from d2eval import D2EvalError, evaluate
from d2eval.cli import main
from d2eval.report.figures import Sources
from d2eval.runs.measured import RunPlace

HERE = Path(__file__).parent
LINE = "outside_pairs:Planar"


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Installs it as a package with an entry point; runs ``d2eval`` with a cache and output."""
    packages = tmp_path / "site"
    info = packages / "outside_pairs-1.dist-info"
    info.mkdir(parents=True)
    (packages / "outside_pairs.py").write_text((HERE / "outside_pairs.py").read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-pairs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[d2eval.benchmarks]\nplanar = {LINE}\n")
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.chdir(tmp_path)
    where = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "runs")]
    return lambda *words: main([*words, *where])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_one_short_file():
    assert len((HERE / "outside_pairs.py").read_text().splitlines()) < 200


def test_command_sample_rows_table_and_plot(outside, tmp_path, capsys):
    assert outside("planar", "--method", "rootsift") == 0
    out = capsys.readouterr().out
    assert "mean_correct_4px" in out
    folder = tmp_path / "runs/planar/rootsift-sample"
    pairs = rows(folder / "pairs.csv")
    assert [row["pair"] for row in pairs] == ["wall_0", "wall_1", "floor_0", "floor_1"]
    assert all(float(row["correct_4px"]) > 0.5 for row in pairs)
    summary = {row["split"]: row for row in rows(folder / "summary.csv")}
    assert list(summary) == ["overall", "wall", "floor"]
    expected = np.mean([float(row["correct_2px"]) for row in pairs])
    assert float(summary["overall"]["mean_correct_2px"]) == pytest.approx(expected)
    assert (summary["overall"]["images"], summary["wall"]["pairs"]) == ("6", "2")
    assert "mean correct 4px" in (folder / "planar.md").read_text()
    assert cv2.imread(str(folder / "planar_sample.png")) is not None
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["dataset"]["listed"] == manifest["dataset"]["pairs"] == 4
    assert manifest["first_pairs"] is None

    assert outside("planar", "--method", "rootsift") == 0
    assert "extracted 0 of 6 images" in capsys.readouterr().out


def test_own_options_are_flags_and_keywords(outside, tmp_path, no_figures):
    assert outside("planar", "--method", "rootsift", "--first-pairs", "3", "--name", "three") == 0
    line = rows(tmp_path / "runs/planar/three/summary.csv")[0]
    assert line["pairs"] == "3"
    found = evaluate(
        "planar", "rootsift", first_pairs=3, cache=tmp_path / "cache", output=tmp_path / "more"
    )
    assert list(found.rows["matches"]) == [
        int(row["matches"]) for row in rows(tmp_path / "runs/planar/three/pairs.csv")
    ]
    with pytest.raises(D2EvalError, match="no option 'firstpairs'; did you mean first_pairs"):
        evaluate("planar", "rootsift", firstpairs=3)


def test_data_of_its_own_and_their_check(outside, tmp_path, capsys):
    from d2eval.evaluation.benchmark import benchmark_class

    data = benchmark_class("planar")().sample(tmp_path / "made")
    assert main(["check-data", "planar", str(data)]) == 0
    assert outside("planar", "--method", "rootsift", "--data", str(data)) == 0
    assert outside("planar", "--method", "rootsift") == 0
    runs = ["--runs", str(tmp_path / "runs"), "--output"]
    assert main(["tables", "planar", *runs, str(tmp_path / "tables")]) == 0
    text = (tmp_path / "tables/planar.md").read_text()
    assert text.index("rootsift ") < text.index("Embedded sample") < text.index("rootsift-sample")
    assert main(["plot", "planar", *runs, str(tmp_path / "plots")]) == 0
    names = {"planar.png", "planar.svg", "planar_sample.png", "planar_sample.svg"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    assert outside("planar", "--method", "upright_rootsift") == 0
    names = ["rootsift-sample", "upright_rootsift-sample"]
    assert main(["compare", *names, *runs, str(tmp_path / "compared")]) == 0
    assert "too few pairs (4)" in capsys.readouterr().out
    # A picture's matches are the row's.
    run = RunPlace("rootsift", tmp_path / "runs/planar/rootsift")
    figure = benchmark_class("planar")().view([run], "wall_0", Sources(tmp_path / "cache"))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    counts = {name: int(count) for name, count in (text.split(": ") for text in legend)}
    row = rows(run.path / "pairs.csv")[0]
    assert list(counts)[1:] == ["1 to 2 px", "2 to 4 px", "4 to 8 px", "> 8 px"]
    assert sum(counts.values()) == int(row["matches"]) > 50
    within = sum(list(counts.values())[:2]) / int(row["matches"])
    assert within == pytest.approx(float(row["correct_2px"]))
    view = ["view", "planar", "--run", "rootsift", "--pair", "wall_0", "--cache"]
    assert main([*view, str(tmp_path / "cache"), *runs, str(tmp_path / "views")]) == 0
    assert cv2.imread(str(tmp_path / "views/planar/rootsift/wall_0.png")) is not None
    capsys.readouterr()
    assert main([*view, str(tmp_path / "empty"), *runs, str(tmp_path / "views")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "features of" in said and "make them by `d2eval" in said
    assert main(["report", *runs, str(tmp_path / "page/report.html")]) == 0
    (shown,) = json.loads((tmp_path / "page/results.json").read_text())["reports"][0]["benchmarks"]
    assert [shown["name"], shown["item"], shown["items"]["names"][0]] == [
        "planar",
        "pair",
        "wall_0",
    ]
    assert sorted(run["label"] for run in shown["runs"]) == ["rootsift", *names]
    (data / "wall_0.png").unlink()
    capsys.readouterr()
    assert main(["check-data", "planar", str(data)]) == 2
    assert "wall_0.png: is missing" in capsys.readouterr().out


@pytest.mark.slow
def test_several_seeds(outside, tmp_path, capsys):
    words = ("planar", "--method", "rootsift", "--first-pairs", "2", "--seed", "3")
    assert outside(*words, "--seeds", "2") == 0
    out = capsys.readouterr().out
    assert "over 2 seeds:\n  overall, features: mean " in out and "std. 0," in out
    assert outside(*words, "--seeds", "2", "--name", "own") == 0
    folders = {path.name for path in (tmp_path / "runs/planar").iterdir()}
    assert folders == {"rootsift-sample-seed3", "rootsift-sample-seed4", "own", "own-seed4"}
    seeds = [
        json.loads((tmp_path / "runs/planar" / name / "manifest.json").read_text())["seed"]
        for name in ("own", "own-seed4")
    ]
    assert seeds == [3, 4]


def test_its_mistakes_are_one_line(outside, tmp_path, capsys):
    assert outside("planar", "--method", "rootsift", "--data", str(tmp_path / "nothing")) == 2
    assert "nothing/pairs.txt: can't be read" in capsys.readouterr().err
    assert outside("planer", "--method", "rootsift") == 2
    assert "planar" in capsys.readouterr().err


def test_the_repository_knows_nothing_of_it():
    assert "planar" not in (REPOSITORY / "methods/registry.toml").read_text()
