"""All numbers as one table."""

import csv
from pathlib import Path

import pytest

import d2eval
from d2eval.aachen import columns as aachen_columns
from d2eval.cli import main
from d2eval.inloc import columns as inloc_columns
from d2eval.runs.columns import names
from d2eval.runs.measured import SHIPPED_RUNS

NIGHT = {("2019", "night"): [49, 50, 95, 95]}


def test_measured_published_and_returned_numbers(runs, write_run, write_aachen_run) -> None:
    write_run("d2", "d2_ms", features=3000.5)
    write_aachen_run("mine", "d2_ms", NIGHT)
    call = ["import-result", "aachen", "--method", "d2_ms", "--label", "mine", "--epoch", "2019"]
    assert main([*call, "--values", "44.9/66.3/88.8", "--output", str(runs)]) == 0
    found = d2eval.load_runs(runs)
    assert set(found["benchmark"]) == {"aachen", "hpatches"}  # there is no folder of InLoc
    shares = found[(found["benchmark"] == "aachen") & (found["metric"] == "localized")]
    shares = shares[(shares["method"] == "d2_ms") & (shares["threshold"] == 0.5)]
    shares = shares[shares["subset"] == "2019 night"].set_index("source")
    assert shares["value"].to_dict() == {"published": 43.9, "measured": 50.0, "site": 44.9}
    assert (shares.loc["measured", "count"], shares.loc["measured", "of"]) == (49, 98)
    assert shares["count"].isna().to_dict() == {"published": True, "measured": False, "site": True}
    mma = found[(found["run"] == "d2") & (found["metric"] == "mma") & (found["threshold"] == 3)]
    assert dict(zip(mma["subset"], mma["value"], strict=True)) == {
        "overall": 0.16, "i": 0.26, "v": 0.36,
    }  # fmt: skip
    assert set(d2eval.load_runs(str(runs), "hpatches")["benchmark"]) == {"hpatches"}


def test_no_runs_are_told(tmp_path: Path) -> None:
    with pytest.raises(d2eval.D2EvalError, match="no benchmark has runs there"):
        d2eval.load_runs(tmp_path)
    with pytest.raises(d2eval.D2EvalError, match="holds aachen/<label>/"):
        d2eval.load_runs(tmp_path, "aachen")


@pytest.mark.parametrize("columns", [aachen_columns, inloc_columns])
@pytest.mark.parametrize("file", ["summary", "queries", "stages"])
def test_runs_that_ship_have_the_declared_columns(columns, file: str) -> None:
    paths = sorted((SHIPPED_RUNS / columns.__name__.split(".")[1]).glob(f"*/{file}.csv"))
    assert paths
    declared = getattr(columns, file.upper())
    for path in paths:
        with path.open(newline="", encoding="utf-8") as text:
            header = next(csv.reader(text))
        kept = {column.name for column in declared if not column.optional}
        assert header == [name for name in names(declared) if name in {*kept, *header}]
