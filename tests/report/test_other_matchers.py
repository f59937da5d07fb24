"""Runs with a matcher that isn't the protocol's stand beside no published number."""

import csv
import json
from pathlib import Path

import pytest

from d2eval.aachen.report.description import AACHEN
from d2eval.evaluation.pairs_runs import load_run
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.report.table import hpatches_table
from d2eval.inloc.report.description import INLOC
from d2eval.localization.runs import load_folder
from d2eval.report.names import legend_entry, method_name

RATIO = {"name": "ratio", "config": {"ratio": 0.8}, "default": False}


def with_matcher(folder: Path, matcher: object) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "matcher": matcher}))
    return folder


def names(runs: Path) -> dict[str, str]:
    """Section and row of each run's line, by label."""
    lines = csv.DictReader(hpatches_table(runs).csv.splitlines())
    return {line["label"]: f"{line['section']}: {line['row']}" for line in lines if line["label"]}


def test_the_table_of_hpatches(runs, write_run):
    write_run("old", "d2_ms")
    with_matcher(write_run("new", "d2_ms"), {**RATIO, "name": "mnn", "default": True})
    with_matcher(write_run("other", "d2_ms"), RATIO)
    assert names(runs) == {
        "old": "paper: D2 MS", "new": "paper: D2 MS", "other": "further: D2 MS + ratio"
    }  # fmt: skip


def test_aachen_and_inloc(write_aachen_run, write_inloc_run):
    aachen = with_matcher(write_aachen_run("d2_ms", "d2_ms", {("2019", "night"): None}), RATIO)
    (run,) = load_folder(AACHEN, aachen).measured
    assert (run.kind.method, run.kind.matcher, run.named) == ("d2_ms", "ratio", "d2_ms + ratio")
    inloc = write_inloc_run("d2_ms", ("sparse", "d2_ms", "none"), {"all": None})
    assert load_folder(INLOC, inloc).measured[0].kind.matcher == ""
    loaded = load_folder(INLOC, with_matcher(inloc, RATIO))
    assert loaded.measured[0].kind.named == "d2_ms + ratio"
    measured = loaded.numbers[loaded.numbers["source"] == "measured"]
    assert set(zip(measured["method"], measured["matcher"], strict=True)) == {("d2_ms", "ratio")}


def test_legends(write_run):
    folder = with_matcher(write_run("d2_ms-ratio", "d2_ms"), RATIO)
    assert legend_entry(load_run(folder, "hpatches")) == "d2_ms-ratio"
    folder = with_matcher(write_run("d2_ms", "d2_ms"), RATIO)
    assert legend_entry(load_run(folder, "hpatches")) == "d2_ms (D2 MS + ratio)"
    assert method_name("mine + ratio") == "mine + ratio"


@pytest.mark.parametrize("matcher", ["ratio", {}, {"name": 3}, {"name": "ratio", "default": "no"}])
def test_a_broken_entry_is_one_line(write_run, matcher):
    folder = with_matcher(write_run("x", "d2_ms"), matcher)
    with pytest.raises(D2EvalError, match=r"manifest\.json: .*; run the evaluation again"):
        load_run(folder, "hpatches")
