"""``d2eval reproduce`` and ``d2eval rerun``: which commands they run, and what they say of rows."""

import json
from pathlib import Path

import pytest

from d2eval.cli import main, reproduce, rerun
from d2eval.evaluation.reproduction import manifest_differences, row_differences

PAIRS = "sequence,image,split,mma_3px,seconds_1\nv_a,2,v,0.5,1.0\nv_a,3,v,0.25,2.0\n"


@pytest.fixture
def started(monkeypatch):
    """The commands that are started, and do nothing; those with d2_ms fail."""
    found = []

    def start(words):
        found.append(list(words))
        return 2 if "d2_ms" in words else 0

    monkeypatch.setattr(reproduce, "run_command", start)
    return found


def test_a_dry_run_says_what_runs_and_what_gets_the_rest(started, tmp_path, capsys):
    call = ["reproduce", "all", "--dry-run", "--cache", str(tmp_path), "--data"]
    assert main([*call, "hpatches=HP", "--data", "inloc=IN"]) == 0
    said = capsys.readouterr()
    assert "hpatches: D2 MS: d2eval hpatches --method d2_ms --data HP (bundled" in said.out
    merged = "inloc: InLoc + D2 MS: d2eval inloc --strategy merge --method d2_ms --data IN"
    assert merged in said.out and "aachen" not in said.out
    assert "hpatches: DELF: lacks missing: " in said.err and "'d2eval fetch delf'" in said.err
    assert "aachen: DenseSfM: lacks its data: say --data aachen=DIR" in said.err
    assert not started


def test_all_rows_run_then_table_and_figure_and_what_failed_is_told(started, tmp_path, capsys):
    call = ["reproduce", "hpatches", "--cache", str(tmp_path), "--output", "o"]
    assert main([*call, "--data", "hpatches=HP"]) == 2
    assert "hpatches: D2 MS failed" in capsys.readouterr().err
    *runs, tables, plot, page = started
    methods = [words[words.index("--method") + 1] for words in runs]
    assert methods[-4:] == ["d2_ss", "d2_ms", "d2_ss_trained", "d2_ms_trained"]
    assert "superpoint" not in methods
    assert runs[0][0] == "hpatches" and runs[0][-6:-4] == ["--output", "o/runs"]
    assert tables == ["tables", "hpatches", "--output", "o/tables", "--runs", "o/runs"]
    assert plot == ["plot", "mma", "--output", "o/plots", "--runs", "o/runs"]
    assert page == ["report", "--output", "o/report.html", "--runs", "o/runs"]
    for words, message in (
        (call, "nothing can be measured"),
        ([*call, "--data", "hpatchs=HP"], "must be NAME=DIR"),
        ([*call, "--data", "hpatches=A", "--data", "hpatches=B"], "two folders of hpatches"),
        (["reproduce", "cifar10"], "cifar10: has no rows of a paper"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err


def write(folder: Path, text: str, **manifest) -> Path:
    folder.mkdir(parents=True)
    (folder / "pairs.csv").write_text(text)
    content = {"benchmark": "hpatches", "method": "orb", "seed": 3, **manifest}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_rows_are_compared_without_costs(tmp_path):
    old = write(tmp_path / "old", PAIRS)
    dearer = write(tmp_path / "dearer", PAIRS.replace("1.0", "7.0"))
    assert row_differences(old, dearer) == []
    other = write(tmp_path / "other", PAIRS.replace("0.25", "0.27").replace("v_a,2", "v_b,2"))
    assert row_differences(old, other) == [
        "pairs.csv: sequence differs in 1 of 2 rows, such as 'v_a' before and 'v_b' now",
        "pairs.csv: mma_3px differs in 1 of 2 rows, by up to 0.02",
    ]
    shorter = write(tmp_path / "shorter", PAIRS[: PAIRS.rindex("v_a")])
    assert row_differences(old, shorter) == ["pairs.csv: 2 rows before, 1 now"]


def test_what_may_explain_a_difference():
    old = {"seed": 0, "label": "a", "top_k": 1, "device": "cpu", "versions": {"torch": "2.6"}}
    new = {**old, "label": "b", "top_k": 2, "versions": {"torch": "2.7"}}
    assert manifest_differences(old, {**old, "label": "b"}) == []
    expected = ["top_k 1 there, 2 here", "torch 2.6 before, 2.7 now"]
    assert manifest_differences(old, new) == expected


def test_a_run_is_repeated_by_its_command(tmp_path, monkeypatch, capsys):
    command = "d2eval hpatches --method orb,akaze --seed random --data HP --output runs --name x"
    old = write(tmp_path / "orb", PAIRS, command=command.split())
    started = []

    def start(words):
        started.append(list(words))
        folder = Path(words[words.index("--output") + 1]) / "hpatches/orb"
        write(folder, PAIRS if len(started) == 1 else PAIRS.replace("0.25", "0.5"))
        return 0

    monkeypatch.setattr(rerun, "run_command", start)
    assert main(["rerun", str(old / "manifest.json"), "--cache", "c"]) == 0
    assert "the rows are the same" in capsys.readouterr().out
    (words,) = started
    output = words[words.index("--output") + 1]
    assert words == [
        "hpatches", "--data", "HP", "--method", "orb", "--seed", "3", "--output", output,
        "--name", "orb", "--cache", "c", "--fresh",
    ]  # fmt: skip
    assert not Path(output).exists()
    monkeypatch.chdir(old)
    assert main(["rerun", "manifest.json"]) == 1
    assert started.pop()[started[0].index("--name") + 1] == "orb"
    call = ["rerun", str(old), "--data", "there", "--stored", "--output", str(tmp_path / "new")]
    assert main(call) == 1
    assert "mma_3px differs in 1 of 2 rows, by up to 0.25" in capsys.readouterr().out
    assert "there" in started[1] and "HP" not in started[1] and "--fresh" not in started[1]


def test_a_run_is_not_repeated_over_itself(tmp_path, monkeypatch, capsys):
    """Its old rows would be gone, and the new ones compared with themselves."""
    old = write(tmp_path / "runs/hpatches/orb", PAIRS, command=["d2eval", "hpatches"])
    monkeypatch.setattr(rerun, "run_command", lambda words: pytest.fail("it ran"))
    assert main(["rerun", str(old), "--output", str(tmp_path / "runs")]) == 2
    assert "holds the run itself; choose another folder" in capsys.readouterr().err


def test_a_manifest_without_a_command_is_one_line(tmp_path, capsys):
    old = write(tmp_path / "orb", PAIRS, command=["d2eval", "script.py"])
    for where, message in ((old, "its manifest names none"), (tmp_path, "is missing")):
        assert main(["rerun", str(where)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error
