"""A run may be anybody's: what its manifest names is never imported, whatever shows the run."""

import json

import pytest

import d2eval
from d2eval.cli import main, rerun

CODE = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """The file that comes to be when the module that manifests name is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "somebodys.py").write_text(CODE.format(str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


@pytest.fixture
def theirs(write_run, imported):
    """A run whose manifest names code wherever something is named."""
    folder = write_run("theirs", "somebodys:Method", pairs=[("v_a", 9, 9, 9)])
    path = folder / "manifest.json"
    identity = {"version": 1, "config": {}, "weights": None, "source": None}
    content = json.loads(path.read_text()) | {
        "features": {**identity, "method": "somebodys:Method"},
        "matcher": {**identity, "name": "somebodys:Matcher", "default": False},
        "command": ["d2eval", "hpatches", "--method", "somebodys:Method"],
    }
    path.write_text(json.dumps(content))
    return folder


def test_what_shows_runs_imports_nothing(theirs, imported, write_run, tmp_path, capsys):
    write_run("orb", "orb", pairs=[("v_a", 9, 9, 8)])
    runs = ["--runs", str(theirs.parents[1])]
    output = ["--output", str(tmp_path / "out")]
    page = tmp_path / "out/page.html"
    assert main(["report", *runs, "--output", str(page)]) == 0
    assert "somebodys:Method + somebodys:Matcher" in page.read_text()
    assert main(["cite", "hpatches", *runs]) == 0
    assert "somebodys:Method: not known here" in capsys.readouterr().err
    assert main(["tables", "hpatches", *runs, *output]) == 0
    assert main(["compare", "theirs", "orb", *runs, *output]) == 0
    archive = tmp_path / "theirs.zip"
    assert main(["export", "theirs", *runs, "-o", str(archive)]) == 0
    assert main(["import", str(archive), "--output", str(tmp_path / "taken")]) == 0
    view = ["view", "hpatches", "--run", "theirs", "--pair", "v_a/1-2", *runs, *output]
    assert main([*view, "--data", str(tmp_path), "--cache", str(tmp_path)]) == 2
    assert "somebodys:Method" in {*d2eval.load_runs([theirs.parents[1]]).method}
    assert not imported.exists()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"command": ["d2eval", "hpatches", "--method=external:somebodys.sh {list}"]},
        {"command": ["d2eval", "hpatches", "--method", "orb", "--matcher", "somebodys:1"]},
        {"benchmark": "somebodys:Benchmark", "command": ["d2eval", "somebodys:Benchmark"]},
    ],
)
def test_a_run_is_repeated_only_with_trust_in_its_code(change, theirs, imported, capsys):
    path = theirs / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main(["rerun", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "somebodys" in said
    assert not imported.exists()


def test_what_is_trusted_runs(theirs, monkeypatch):
    started = []
    monkeypatch.setattr(rerun, "run_command", lambda words: started.append(words) or 2)
    assert main(["rerun", str(theirs), "--trust"]) == 2
    assert "somebodys:Method" in started[0]
