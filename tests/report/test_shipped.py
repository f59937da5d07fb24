"""The runs that ship, beside a user's own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from places import REPOSITORY
from report_tables import TABLES

from d2eval.cli import main
from d2eval.runs import measured
from d2eval.runs.measured import SHIPPED_RUNS, run_folders


def texts(value):
    """All strings of a manifest."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@pytest.mark.parametrize("benchmark", sorted(path.name for path in SHIPPED_RUNS.iterdir()))
def test_what_ships_is_small_and_names_no_folder_of_a_machine(benchmark):
    runs = sorted((SHIPPED_RUNS / benchmark).iterdir())
    assert runs
    for run in runs:
        names = {path.name for path in run.iterdir()}
        assert {"manifest.json", "summary.csv"} <= names
        assert names <= {"manifest.json", "summary.csv", "pairs.csv", "queries.csv", "stages.csv"}
        assert sum(path.stat().st_size for path in run.iterdir()) < 200_000
        manifest = json.loads((run / "manifest.json").read_text())
        assert manifest["label"] == run.name
        for text in texts(manifest):
            assert not any(Path(word.partition("=")[2] or word).is_absolute()
                           for word in text.split()), text  # fmt: skip


@pytest.mark.parametrize("benchmark", list(TABLES))
def test_the_tables_that_ship_are_made_from_the_runs_that_ship(benchmark):
    """After a change: d2eval tables BENCHMARK --runs shipped --output results/shipped/tables."""
    table = TABLES[benchmark](SHIPPED_RUNS)
    folder = SHIPPED_RUNS.parent / "tables"
    assert table.csv == (folder / f"{benchmark}.csv").read_text()
    assert table.markdown == (folder / f"{benchmark}.md").read_text()


def test_the_page_that_ships_shows_the_runs_that_ship():
    """After a change: python results/shipped/make.py DATA --only."""
    page = (SHIPPED_RUNS.parent / "report.html").read_text()
    assert len(page.encode()) < 1_500_000
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.S)
    (report,) = json.loads(found[1])["reports"]
    assert [own["name"] for own in report["benchmarks"]] == ["hpatches", "aachen", "inloc"]
    for own in report["benchmarks"]:
        labels = [run["label"] for run in own["runs"]]
        assert {*labels} <= {path.name for path in (SHIPPED_RUNS / own["name"]).iterdir()}
        assert own["items"]["pictures"]
        reasons = [why for _, why in own["items"]["unpictured"]]
        assert not [why for why in reasons if Path(why.split()[0]).is_absolute()]
    own = report["benchmarks"][0]
    column = [measure["title"] for measure in own["items"]["measures"]].index("MMA@3px")
    for run, values in zip(own["runs"], own["items"]["values"], strict=True):
        pairs = pd.read_csv(SHIPPED_RUNS / "hpatches" / run["label"] / "pairs.csv")
        names = [f"{row.sequence}/1-{row.image}" for row in pairs.itertuples()]
        shown = dict(zip(own["items"]["names"], values[column], strict=True))
        assert [shown[name] for name in names] == pytest.approx(list(pairs["mma_3px"]), rel=1e-4)


def test_both_or_either(write_run, runs, tmp_path, capsys, monkeypatch):
    write_run("d2_ss", "d2_ss")
    write_run("rootsift", "rootsift")
    ours = tmp_path / "ours"
    runs.rename(ours)
    monkeypatch.setattr(measured, "SHIPPED_RUNS", ours)
    (runs / "hpatches").mkdir(parents=True)
    write_run("rootsift", "rootsift")
    monkeypatch.chdir(tmp_path)

    def labels(*words):
        assert main(["tables", "hpatches", *words, "--output", "out"]) == 0
        lines = (tmp_path / "out/hpatches.csv").read_text().splitlines()
        column = lines[0].split(",").index("label")
        return {line.split(",")[column] for line in lines[1:]} - {""}

    both = {"rootsift", "shipped/rootsift", "shipped/d2_ss"}
    assert labels("--runs", "runs") == {"rootsift"}
    assert labels("--runs", "shipped") == {"rootsift", "d2_ss"}
    assert labels("--runs", "runs", "--runs", "shipped") == both
    assert labels() == {"shipped/rootsift", "shipped/d2_ss"}  # none of one's own yet
    (tmp_path / "results").mkdir()
    runs.rename(tmp_path / "results/runs")
    assert labels() == both
    assert main(["plot", "mma", "--output", "out"]) == 0
    assert "shipped/d2_ss" in (tmp_path / "out/mma.svg").read_text()
    capsys.readouterr()


def test_places_of_one_name_stay_apart(tmp_path):
    for place in ("a", "b", "c"):
        (tmp_path / place / "runs/hpatches/x").mkdir(parents=True)
    roots = [tmp_path / place / "runs" for place in ("a", "b", "c")]
    places, _ = run_folders(roots, "hpatches")
    assert [place.label for place in places] == ["x", "runs-1/x", "runs-2/x"]


def test_the_readme_s_commands_leave_a_fresh_clone_as_it_was(tmp_path):
    """Where a user's tables and plots go, Git looks away; what ships lies elsewhere."""
    ignored = ["results/runs/a", "results/tables/hpatches.md", "results/plots/mma.png",
               "results/speed/speed.csv", "results/plots/inloc/recall.svg"]  # fmt: skip
    kept = ["results/published/hpatches.csv", "results/shipped/tables/hpatches.md"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *ignored, *kept],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 128:
        pytest.skip("no checkout")
    assert done.stdout.split() == ignored


def test_outside_of_the_checkout(tmp_path):
    """As an installed package: the current folder has no results."""
    done = subprocess.run(
        [sys.executable, "-m", "d2eval", "tables", "aachen"],
        cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "shipped/" in (tmp_path / "results/tables/aachen.md").read_text()
