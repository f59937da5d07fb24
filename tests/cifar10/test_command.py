"""``d2eval cifar10`` from the sample to table and plot; mistakes."""

import csv
import itertools
import json
from pathlib import Path
from statistics import mean, stdev

import pytest

import d2eval.sample.cifar10 as sample
from d2eval import D2EvalError, evaluate, load_runs
from d2eval.cifar10.runs import Cifar10Run, load_published
from d2eval.cifar10.table import _clock, table_of_runs
from d2eval.cli import main

SWEEP = "nesterov = [true, false]\nepochs = [1, 2]\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(46.7, "46.7 s"), (59.96, "1 m 0 s"), (119.7, "2 m 0 s"), (192.0, "3 m 12 s")],
)
def test_no_clock_shows_sixty_seconds(seconds, said):
    assert _clock(seconds) == said


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Runs the command on few pictures; the file of settings that it is given has some text."""
    monkeypatch.setattr(sample, "RECORDS", 20)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, settings: str = SWEEP) -> int:
        Path("sweep.toml").write_text(settings)
        config = ["--config", "sweep.toml", "--cache", "cache", "--output", "runs"]
        return main(["cifar10", *config, *words])

    return run


@pytest.fixture
def no_plot(monkeypatch):
    """Nothing is drawn, which takes longer than all else."""
    monkeypatch.setattr("d2eval.cifar10.curves.plot", lambda *_: [])


def test_rows_table_and_plot(small, capsys, monkeypatch):
    assert small("--seeds", "2", "--no-cuda") == 0
    out = capsys.readouterr().out
    assert "CIFAR-10 sample: 100 training and 20 test images; 4 configurations, 2 seeds" in out
    folder = Path("runs/cifar10/sweep-seeds2-sample")
    trainings, summary = rows(folder / "trainings.csv"), rows(folder / "summary.csv")
    assert [(r["epochs_at_most"], r["seed"]) for r in trainings[:4]] == [
        ("1", "0"), ("1", "1"), ("2", "0"), ("2", "1"),
    ]  # fmt: skip
    document = {"timestamp", "model", "criterion", "batch_size", "optimizer", "scheduler",
                "n_epochs", "device", "test_accuracy"}  # fmt: skip
    assert document <= set(summary[0])
    for number, row in enumerate(summary):
        own = [float(t["test_accuracy"]) for t in trainings[2 * number : 2 * number + 2]]
        assert float(row["test_accuracy"]) == pytest.approx(mean(own))
        assert float(row["test_accuracy_sd"]) == pytest.approx(stdev(own))
        assert (row["trainings"], row["device"], row["dataset"]) == ("2", "cpu", "sample")
        assert float(row["user_s"]) > 0
    assert len(rows(folder / "epochs.csv")) == 2 * (1 + 2 + 1 + 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["seeds"] == [0, 1]
    table = (folder / "cifar10.md").read_text()
    assert "| 13     | 76.88     |" in table
    assert "3 m 12 s, 22 m 2 s" in table
    assert table.index("76.88") < table.index("## Embedded sample") < table.index(folder.name)
    for kind in ("png", "svg"):
        assert (folder / f"cifar10_sample.{kind}").stat().st_size > 10_000

    # The same again trains nothing, and a table and a plot of all runs are made from the files.
    monkeypatch.setattr("d2eval.cifar10.curves.write_figure", lambda _, *where: [where])
    capsys.readouterr()
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".csv"}
    assert small("--seeds", "2") == 0
    assert "  epoch " not in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".csv"} == before
    assert main(["tables", "cifar10", "--runs", "runs", "--output", "tables"]) == 0
    assert folder.name in Path("tables/cifar10.csv").read_text()
    assert main(["plot", "cifar10", "--runs", "runs", "--output", "plots"]) == 0
    assert "'cifar10_sample'" in capsys.readouterr().out
    numbers = load_runs("runs", "cifar10")
    accuracy = numbers[numbers["metric"] == "test_accuracy"]
    assert list(accuracy["source"]) == ["published"] * 3 + ["measured"] * 4
    assert list(accuracy["value"][:3]) == [76.88, 75.89, 74.90]


def test_it_takes_no_features(small, capsys):
    assert small("--method", "rootsift") == 2
    assert "--method: no such option" in capsys.readouterr().err
    with pytest.raises(D2EvalError, match="cifar10: takes neither a method nor a matcher"):
        evaluate("cifar10", "rootsift")


def test_early_stop_is_in_the_rows(small, no_plot):
    settings = "epochs = 12\npatience = 1\nheld_out = 30\nlearning_rate = 0.3\n"
    assert small(settings=settings) == 0
    (row,) = rows(Path("runs/cifar10/sweep-sample/summary.csv"))
    epochs = rows(Path("runs/cifar10/sweep-sample/epochs.csv"))
    assert int(row["n_epochs"]) == len(epochs) < int(row["epochs_at_most"]) == 12
    losses = [float(epoch["held_out_loss"]) for epoch in epochs]
    assert losses[-1] >= min(losses[:-1])
    assert all(later < earlier for earlier, later in itertools.pairwise(losses[:-1]))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "nothing"], "nothing: no such folder"),
        (["--data", "python"], "data_batch_1: is of the Python version, a pickle"),
        (["--seeds", "0"], "--seeds must be 1"),
        (["--config", "nothing.toml"], "nothing.toml: is missing"),
        (["--device", "cuda:77"], "--device cuda:77: not available here"),
    ],
)
def test_mistakes_are_one_line(small, capsys, words, reason):
    Path("python").mkdir()
    Path("python/data_batch_1").write_bytes(b"\x80")
    assert small(*words) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_the_check_lists_what_is_wrong(small, tmp_path, capsys):
    root = sample.make_cifar10_sample(tmp_path)
    (root / "data_batch_5.bin").write_bytes(b"1234")
    assert main(["check-data", "cifar10", str(root)]) == 2
    out = capsys.readouterr().out
    assert out.count("problem: ") == 6
    assert "data_batch_5.bin: has 4 bytes" in out
    assert "test_batch.bin: has 20 records, not 10,000" in out


def measured(label: str, dataset: str, **changes) -> Cifar10Run:
    """A run of the document's best model."""
    row = {
        **load_published("rows")[0].named, "timestamp": "2026-01-01T00:00:00+00:00",
        "model": "NetCustom", "criterion": "CrossEntropyLoss", "device": "cpu", "hardware": "X",
        "dataset": dataset, "held_out": 0, "patience": 0, "epochs_at_most": 13, "trainings": 1,
        "test_images": 10_000, "test_accuracy": 75.5, "test_accuracy_sd": float("nan"),
        "real_s": 61.0, "user_s": 70.0, "sys_s": 1.0, **changes,
    }  # fmt: skip
    return Cifar10Run(label, "NetCustom", "", dataset, "trained here", False, [row], [])


def test_beside_published_rows_stand_trainings_of_the_same_on_the_whole_set():
    timed = load_published("times")[1].named | {"test_accuracy": 74.0}
    runs = [
        measured("same", "complete"),
        measured("kept", "complete", held_out=5000),
        measured("other", "complete", n_epochs=12),
        measured("small", "sample"),
        measured("timed", "complete", **timed),
    ]
    lines = list(csv.DictReader(table_of_runs(runs).csv.splitlines()))
    found = {
        (line["section"], line["run"]): (
            line["test_accuracy_published"], line["test_accuracy_measured"], line["real_s_measured"]
        )
        for line in lines
    }  # fmt: skip
    assert found == {
        ("The document's table", "same"): ("76.88", "75.5", ""),
        ("The document's table", ""): ("75.89", "", ""),
        ("The document's table", "timed"): ("74.9", "74", ""),
        ("Time of a training", ""): ("", "", ""),
        ("Time of a training", "timed"): ("", "", "61"),
        ("Further configurations", "kept"): ("", "75.5", "61"),
        ("Further configurations", "other"): ("", "75.5", "61"),
        ("Embedded sample", "small"): ("", "75.5", "61"),
    }
    times = [line for line in lines if line["section"] == "Time of a training"]
    assert [(t["device"], t["real_s_published"], t["user_s_published"]) for t in times] == [
        ("cuda", "46.7", "112"), ("cpu", "192", "1322"),
    ]  # fmt: skip
    records = runs[0].records()
    assert (records[0]["count"], records[0]["of"]) == (7550, 10_000)
    assert records[0]["low"] < 75.5 < records[0]["high"]


@pytest.mark.slow
def test_the_sample_is_learned_with_every_seed(tmp_path):
    """Chance is 10 %."""
    found = evaluate("cifar10", seeds=5, cache=tmp_path / "cache", output=tmp_path / "runs")
    assert len(found.rows) == 15
    assert (found.rows["test_accuracy"] > 70).all()
    assert (found.summary["test_accuracy_sd"] < 5).all()
