"""``d2eval compare`` on the runs that ship, recomputed by pandas, and its mistakes."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from d2eval import D2EvalError, compare
from d2eval.cli import main
from d2eval.report.tables import name_in_table
from d2eval.runs.measured import SHIPPED_RUNS


@pytest.fixture
def command(tmp_path, capsys):
    """Runs it; gives its exit code, output and errors."""

    def run(*words):
        code = main(["compare", *map(str, words), "--output", str(tmp_path / "out")])
        return code, *capsys.readouterr()

    return run


def rows(benchmark, run, name):
    return pd.read_csv(SHIPPED_RUNS / benchmark / run / name)


def test_hpatches_recomputed_from_rows():
    found = compare("d2_ms", "d2_ms_trained", benchmark="hpatches", runs=SHIPPED_RUNS)
    keys = ["sequence", "image"]
    own, other = (rows("hpatches", run, "pairs.csv") for run in ("d2_ms", "d2_ms_trained"))
    both = own.merge(other, on=keys, suffixes=("_a", "_b"))
    for line in found.itertuples():
        subset = both if line.subset == "overall" else both[both["split_a"] == line.subset]
        assert line.items == len(subset) and line.clusters == subset["sequence"].nunique()
        column = line.metric.removeprefix("mean_")
        if line.threshold == line.threshold:
            column += f"_{line.threshold:g}px"
        if line.metric == "h_auc":
            continue  # its definition is tested beside it
        a, b = subset[f"{column}_a"], subset[f"{column}_b"]
        assert line.first_value == pytest.approx(a.mean())
        assert line.difference == pytest.approx(b.mean() - a.mean())
        assert (line.first_wins, line.second_wins) == ((a > b).sum(), (b > a).sum())
        if line.subset == "overall":
            assert line.low < line.difference < line.high
            assert line.p_value * 128 == pytest.approx(round(line.p_value * 128))  # 2^7 ways
        else:
            assert np.isnan(line.low) and line.better == "too few"
    assert set(found["subset"]) == {"overall", "i", "v"} and len(found) == 75


def test_aachen_recomputed_from_rows():
    found = compare("d2_ms", "rootsift", benchmark="aachen", runs=SHIPPED_RUNS)
    own, other = (
        rows("aachen", run, "queries.csv").set_index("name") for run in ("d2_ms", "rootsift")
    )
    for line in found.itertuples():
        _, split = line.subset.split(" ")
        a, b = (
            (f["position_m"] <= line.threshold) & (f["rotation_deg"] <= line.angle)
            for f in (own[own["split"] == split], other[other["split"] == split])
        )
        assert line.first_value == pytest.approx(100 * a.mean())
        assert line.second_value == pytest.approx(100 * b.mean())
        assert (line.first_wins, line.second_wins) == ((a & ~b).sum(), (b & ~a).sum())
        assert line.better == "no difference shown"
    assert len(found) == 14


def test_it_says_plainly_what_the_data_show(command, tmp_path):
    code, out, _ = command("d2_ms", "d2_ms_trained", "--runs", "shipped")
    assert code == 0
    said = " ".join(out.split())
    assert "Of 75 differences 25 can be tested: A is better in 0, B in 18." in said
    assert "too few sequences (3)" in said and "no difference shown" in said
    assert "i_leuven | 0.4202 | 0.5541 | +0.1339" in said
    # A query that one has no pose of differs most.
    assert "night_0008.jpg | none | 0.0345 |" in said
    assert "# aachen" in out and "# inloc" not in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{benchmark}-d2_ms-d2_ms_trained.{suffix}"
        for benchmark in ("aachen", "hpatches")
        for suffix in ("csv", "md")
    ]


def test_several_runs_stand_against_the_first(command):
    code, out, _ = command(
        "rootsift", "d2_ss", "d2_ms", "--runs", "shipped", "--benchmark", "hpatches"
    )
    assert code == 0
    assert "## d2_ss against rootsift" in out and "## d2_ms against rootsift" in out


def test_own_runs_come_before_those_that_ship(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, source in (("rootsift-mine", "rootsift"), ("d2_ms-mine" + "e" * 40, "d2_ms")):
        shutil.copytree(SHIPPED_RUNS / "hpatches" / source, f"results/runs/hpatches/{name}")
    code, out, _ = command("rootsift", "d2_ms", "--benchmark", "hpatches")
    assert code == 0 and "shipped/" not in out
    shown = name_in_table("d2_ms-mine" + "e" * 40)
    assert "\N{HORIZONTAL ELLIPSIS}" in shown
    assert command(shown, "rootsift-mine", "--benchmark", "hpatches")[0] == 0
    code, out, _ = command("rootsift", "d2_ss", "--benchmark", "hpatches")  # there is no own d2_ss
    assert code == 0 and "shipped/rootsift" in out
    _, _, err = command("nothing", "d2_ss")
    assert err.startswith("d2eval: nothing to compare: ") and err.count("has no run of nothing") > 1


def copy_with_seed(source, target, seed, shift=0.0):
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest |= {"seed": seed}
    (target / "manifest.json").write_text(json.dumps(manifest))
    pairs = pd.read_csv(target / "pairs.csv")
    pairs["mma_3px"] += shift
    pairs.to_csv(target / "pairs.csv", index=False)


def test_seeds_of_both_pair(command, tmp_path):
    runs = tmp_path / "runs/hpatches"
    for name in ("d2_ms", "d2_ss"):
        for seed in (0, 1, 2):
            source = SHIPPED_RUNS / "hpatches" / name
            shift = seed / 100 if name == "d2_ms" else 0.0
            copy_with_seed(source, runs / f"{name}-seed{seed}", seed, shift)
    code, out, _ = command("d2_ms", "d2_ss", "--seeds", "--runs", tmp_path / "runs")
    assert code == 0
    assert "seeds 0, 1, 2" in out and "paired by seed" in out
    line = next(line for line in out.splitlines() if "| overall | MMA@3px" in line)
    assert "0.2930" in line and line.count("105") == 0
    assert "0.0100 / 0.0000 / 0.0100" in out
    # One that a later version made says more; one of another matcher is another run.
    path = runs / "d2_ss-seed1/manifest.json"
    matcher = {"name": "mnn", "default": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"matcher": matcher}))
    words = ("d2_ms", "d2_ss", "--seeds", "--runs", tmp_path / "runs")
    assert "seeds 0, 1, 2" in command(*words)[1]
    matcher |= {"default": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"matcher": matcher}))
    assert "d2_ss: may be each of d2_ss-seed0, d2_ss-seed1, d2_ss-seed2" in command(*words)[2]
    shutil.rmtree(runs / "d2_ss-seed1")
    shutil.rmtree(runs / "d2_ss-seed2")
    code, _, err = command(
        "d2_ms", "d2_ss", "--seeds", "--runs", tmp_path / "runs", "--benchmark", "hpatches"
    )
    assert code == 2 and "d2_ss-seed0 has 0)" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["d2_ms"], "name the runs to compare it with"),
        (["d2_ms", "d3_ms"], "hpatches has no run of d3_ms"),
        (["d2_ms", "d3_ms", "--benchmark", "hpatches"], "d3_ms: no such run or method; there are"),
        (["d2_ms", "d2_ss", "--benchmark", "inloc"], "d2_ms: may be each of d2_ms_direct, "),
        (["dense", "dense-demo", "--benchmark", "inloc"], "their protocol is inloc and inloc_demo"),
    ],
)
def test_mistakes_are_one_line(command, words, said):
    code, out, err = command(*words, "--runs", "shipped")
    assert code == 2 and not out
    assert said in err and err.count("\n") == 1


def test_a_folder_may_be_named_by_its_path(command, monkeypatch):
    names = ("d2_ms_trained", "d2_ss_trained")
    expected = command(*names, "--benchmark", "hpatches", "--runs", "shipped")
    assert expected[0] == 0
    folder = SHIPPED_RUNS / "hpatches"
    found = command(*(folder / name for name in names), "--runs", "shipped")
    monkeypatch.chdir(folder)
    relative = command(*(f"./{name}" for name in names), "--runs", "shipped")
    for code, out, err in (found, relative):
        assert (code, err) == (0, "")  # no other benchmark has these folders
        assert out.splitlines()[4:] == expected[1].splitlines()[4:]


def test_a_few_of_many_runs_are_named(command):
    _, _, err = command("d2_ms_direct", "nothing", "--benchmark", "inloc", "--runs", "shipped")
    assert err.count(", ") < 25 and " more" in err


def test_broken_rows_are_one_line(command, tmp_path):
    runs = tmp_path / "runs/hpatches"
    for name in ("d2_ms", "d2_ss"):
        shutil.copytree(SHIPPED_RUNS / "hpatches" / name, runs / name)
    path = runs / "d2_ss/pairs.csv"
    lines = path.read_text().splitlines(keepends=True)
    words = ("d2_ms", "d2_ss", "--benchmark", "hpatches", "--runs", tmp_path / "runs")
    for text, said in (
        ("".join([*lines, lines[-1]]), "a pair stands twice"),
        (lines[0], "holds no numbers to compare"),
        ("".join(lines).replace("sequence", "scene"), "the header lacks sequence"),
        ("".join(lines).replace("0.", "O."), "not a number"),
    ):
        path.write_text(text)
        code, _, err = command(*words)
        assert code == 2 and said in err and "pairs.csv" in err and err.count("\n") == 1


@pytest.mark.parametrize("seed", ["three", [3], 1e400])
def test_a_seed_that_is_none_is_one_line(command, tmp_path, seed):
    for name in ("d2_ms", "d2_ss"):
        source = SHIPPED_RUNS / "hpatches" / name
        copy_with_seed(source, tmp_path / "runs/hpatches" / name, seed)
    words = ("d2_ms", "d2_ss", "--benchmark", "hpatches", "--runs", tmp_path / "runs")
    code, _, err = command(*words)
    assert code == 2 and "manifest.json: seed is " in err and err.count("\n") == 1


def test_from_python_a_mistake_is_an_error():
    with pytest.raises(D2EvalError, match="no such run or method"):
        compare("d2_ms", "nothing", benchmark="hpatches", runs=SHIPPED_RUNS)
