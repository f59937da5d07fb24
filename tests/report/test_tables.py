import csv
import json
from pathlib import Path

import markdown_tables as markdown_file
import pytest
from report_tables import aachen_table, hpatches_table, inloc_table

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.report.published import load_paper
from d2eval.report.tables import markdown_grid, paper_count
from d2eval.runs.columns import Column

PARTIAL = "partial (7 of 108 sequences)"

# Typed from the paper.
PAPER = [
    ("Hes. det. + RootSIFT", "6.7K", "2.8K"),
    ("HAN + HN++", "3.9K", "2.0K"),
    ("LF-Net", "0.5K", "0.2K"),
    ("SuperPoint", "1.7K", "0.9K"),
    ("DELF", "4.6K", "1.9K"),
    ("D2 SS", "3.0K", "1.2K"),
    ("D2 MS", "4.9K", "1.7K"),
    ("D2 SS Trained", "6.0K", "2.5K"),
    ("D2 MS Trained", "8.3K", "2.8K"),
]
# Where the paper's print is not the rounding of the authors' own result files.
KNOWN_MISPRINTS = {
    ("SuperPoint", "features"): ("1.7K", "1.6K"),
    ("Hes. det. + RootSIFT", "matches"): ("2.8K", "2.9K"),
}
# Printed by the authors' notebook: features, matches, then MMA at 1, 3, 5, 10 px.
EXACT = {
    "D2 SS": (2994.068, 1182.574, 0.1269, 0.4057, 0.5995, 0.7864),
    "D2 MS Trained": (8254.474, 2831.639, 0.1024, 0.4002, 0.6395, 0.8636),
    "SuperPoint": (1562.611, 883.441, 0.3393, 0.6446, 0.7289, 0.7898),
}


def records(runs: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(hpatches_table(runs).csv.splitlines()))


def markdown_section(text: str, title: str) -> list[dict[str, str]]:
    """The rows of a section's table, by its header."""
    body = markdown_file.sections(text)[title]
    return markdown_file.rows(body, 2 if "| Run " in body else 1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (6710.137, "6.7K"),
        (500.0, "0.5K"),
        (177.476, "0.2K"),
        (1959.996, "2.0K"),
        (8254.474, "8.3K"),
    ],
)
def test_paper_count(count: float, text: str) -> None:
    assert paper_count(count) == text


def test_published_rows_are_the_papers(runs: Path) -> None:
    table = hpatches_table(runs)
    rows = markdown_section(table.markdown, "The paper's table")
    published = [
        (row["Method"], row["Features published"], row["Matches published"]) for row in rows
    ]
    assert published == PAPER
    assert "measured" not in "".join(rows[0])  # no empty columns
    assert [
        (row["row"], row["features_published"], row["matches_published"]) for row in records(runs)
    ] == PAPER


def test_exact_numbers_are_the_notebooks(runs: Path) -> None:
    by_row = {row["row"]: row for row in records(runs)}
    for name, (features, matches, *mma) in EXACT.items():
        row = by_row[name]
        assert float(row["features_published_exact"]) == features
        assert float(row["matches_published_exact"]) == matches
        for threshold, value in zip((1, 3, 5, 10), mma, strict=True):
            assert float(row[f"mma_{threshold}px_published"]) == pytest.approx(value, abs=5e-5)


def test_the_print_is_the_rounding_but_for_known_cells(runs: Path) -> None:
    disagreeing = {}
    for row in load_paper():
        exact = row.numbers["overall"]
        for count, printed, value in (
            ("features", row.features, exact.get("mean_features")),
            ("matches", row.matches, exact.get("mean_matches")),
        ):
            if row.label and paper_count(value) != printed:
                disagreeing[row.label, count] = (printed, paper_count(value))
    assert disagreeing == KNOWN_MISPRINTS
    notes = hpatches_table(runs).markdown
    assert "SuperPoint, features 1.7K, exact 1562.6" in notes
    assert "Hes. det. + RootSIFT, matches 2.8K, exact 2851.7" in notes


def test_a_run_stands_beside_its_row_with_the_difference(runs: Path, write_run) -> None:
    write_run("d2_ss", "d2_ss", weights="official d2_ots.pth", features=3004.068, matches=1180.0)
    write_run("sp", "superpoint", features=1562.611, matches=883.441)
    rows = {row["row"]: row for row in records(runs)}
    assert list(rows) == [name for name, _, _ in PAPER]
    row = rows["D2 SS"]
    assert row["section"] == "paper" and row["label"] == "d2_ss"
    assert (row["features_published"], row["features_measured"]) == ("3.0K", "3004.068")
    assert float(row["features_difference"]) == 10.0
    assert float(row["matches_difference"]) == -2.574
    assert row["mma_3px_measured"] == "0.16"
    assert float(row["mma_3px_difference"]) == pytest.approx(0.16 - 0.405687)
    assert (row["dataset"], row["weights"]) == ("complete", "official d2_ots.pth")
    # the printed 1.7K is not what a difference is against
    assert float(rows["SuperPoint"]["features_difference"]) == 0.0
    assert rows["D2 MS"]["features_measured"] == rows["D2 MS"]["dataset"] == ""

    shown = {
        r["Method"]: r for r in markdown_section(hpatches_table(runs).markdown, "The paper's table")
    }
    row = shown["D2 SS"]
    assert (row["Features measured"], row["Matches measured"]) == ("3.0K", "1.2K")
    assert row["Features, matches diff."] == "+10.0 / -2.6"
    assert row["MMA@1,3,5,10px published"] == "0.1269 / 0.4057 / 0.5995 / 0.7864"
    assert row["MMA@1,3,5,10px measured"] == "0.1200 / 0.1600 / 0.2000 / 0.3000"
    assert "no reproduction" not in hpatches_table(runs).markdown


def markdown_titles(markdown: str) -> list[str]:
    return [line[3:] for line in markdown.splitlines() if line.startswith("## ")]


def test_every_run_of_a_method_has_its_own_line(runs: Path, write_run) -> None:
    for label in ("b", "a"):
        write_run(label, "d2_ms")
    rows = records(runs)
    assert len(rows) == 10
    assert [(r["row"], r["label"]) for r in rows[6:8]] == [("D2 MS", "a"), ("D2 MS", "b")]
    assert {r["features_published"] for r in rows[6:8]} == {"4.9K"}


def test_partial_and_stand_in_are_said(runs: Path, write_run) -> None:
    write_run("d2_ms", "d2_ms", dataset=PARTIAL, weights="bundled stand-in", empty=("i",))
    row = records(runs)[6]
    assert (row["dataset"], row["weights"]) == (PARTIAL, "bundled stand-in")
    markdown = hpatches_table(runs).markdown
    assert "its difference is no reproduction" in markdown
    assert "Stand-in weights are not the paper's" in markdown


def test_other_runs_stand_apart_without_published_numbers(runs: Path, write_run) -> None:
    write_run("top", "d2_ss", top_k=2000)
    write_run("mine|disk", "precomputed")
    write_run("rootsift", "rootsift", dataset=PARTIAL)
    write_run("sample_d2", "d2_ms", dataset="sample", weights="bundled stand-in")
    write_run("sample_top", "rootsift", dataset="sample", top_k=500)
    rows = records(runs)
    assert all(not row["features_measured"] for row in rows[:9])
    assert [(r["section"], r["row"], r["label"], r["top_k"]) for r in rows[9:]] == [
        ("top_k", "D2 SS", "top", "2000"),
        ("further", "precomputed", "mine|disk", ""),
        ("further", "rootsift", "rootsift", ""),
        ("sample", "D2 MS", "sample_d2", ""),
        ("sample", "rootsift", "sample_top", "500"),
    ]
    for row in rows[9:]:
        assert not any(v for k, v in row.items() if "published" in k or "difference" in k)
    markdown = hpatches_table(runs).markdown
    assert markdown_titles(markdown) == [
        "The paper's table",
        "Measured with the K best-scored features",
        "Further measured methods",
        "Embedded sample",
    ]
    for title in markdown_titles(markdown)[1:]:
        assert "published" not in "".join(markdown_section(markdown, title)[0]).lower()
    assert markdown_section(markdown, "Further measured methods")[0]["Run"] == "mine\\|disk"


def test_unfinished_folders_are_noted_and_hidden_ones_ignored(runs: Path, write_run) -> None:
    (write_run("half", "d2_ss") / "manifest.json").unlink()
    (write_run("empty", "d2_ss") / "summary.csv").unlink()
    (runs / "hpatches" / ".cache").mkdir()
    (runs / "hpatches" / "notes.txt").write_text("mine")
    notes = hpatches_table(runs).notes
    assert len(notes) == 2
    assert "empty: skipped, summary.csv missing" in notes[0]
    assert "half: skipped, manifest.json missing" in notes[1]
    assert len(records(runs)) == 9


def cut_line(text: str) -> str:
    return text[:-40]


BROKEN_SUMMARIES = {
    "cut off": (cut_line, "line 4 doesn't have"),
    "no column": (lambda text: text.replace("mma_7px", "mma_seven"), "lacks mma_7px"),
    "no overall": (lambda text: text.replace("overall", "all"), "split overall is missing"),
    "no number": (lambda text: text.replace("3000.5", "many"), "'many', not a number"),
    "nan": (lambda text: text.replace("3000.5", "nan"), "'nan', not a number"),
    "MMA above 1": (lambda text: text.replace("0.12", "12.0"), "not a number in 0..1"),
    "split twice": (lambda text: text.replace(",v,", ",i,"), "stands twice"),
    "another method": (lambda text: text.replace("run,", "other,"), "but manifest.json says"),
    "another dataset": (lambda text: text.replace(PARTIAL, "complete"), "but manifest.json says"),
}


@pytest.mark.parametrize("case", BROKEN_SUMMARIES)
def test_a_broken_summary_is_one_line(runs: Path, write_run, case: str) -> None:
    path = write_run("run", "d2_ss", dataset=PARTIAL) / "summary.csv"
    change, message = BROKEN_SUMMARIES[case]
    path.write_text(change(path.read_text()))
    with pytest.raises(D2EvalError) as error:
        hpatches_table(runs)
    text = str(error.value)
    assert str(path) in text and message in text and "run the evaluation again" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmark": "aachen"}, "not the manifest of an hpatches run"),
        ({"top_k": "2000"}, "top_k is '2000'"),
        ({"dataset": {}}, "lacks completeness"),
        ({"dataset": {"completeness": "whole"}}, "manifest.json says"),
        ({"weights": {"description": "d2"}}, "lacks stand_in"),
    ],
)
def test_a_broken_manifest_is_one_line(runs: Path, write_run, change: dict, message: str) -> None:
    path = write_run("run", "d2_ss") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(D2EvalError, match=message):
        hpatches_table(runs)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_manifest_that_is_no_json_object(runs: Path, write_run, text: str) -> None:
    (write_run("run", "d2_ss") / "manifest.json").write_text(text)
    with pytest.raises(D2EvalError, match=r"manifest\.json: "):
        hpatches_table(runs)


def test_an_unknown_completeness_is_refused(runs: Path, write_run) -> None:
    write_run("run", "d2_ss", dataset="nearly all")
    with pytest.raises(D2EvalError, match="not complete, partial or sample"):
        hpatches_table(runs)


def test_command_writes_and_prints(
    runs: Path, write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_run("half", "d2_ss") / "manifest.json").unlink()
    output = tmp_path / "tables"
    assert main(["tables", "hpatches", "--runs", str(runs), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    markdown = (output / "hpatches.md").read_text()
    assert markdown in printed.out
    assert f"wrote {output / 'hpatches.csv'}" in printed.out
    assert "half: skipped" in printed.err
    assert (output / "hpatches.csv").read_text() == hpatches_table(runs).csv


def test_command_works_without_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tables", "hpatches"]) == 0
    assert "no measured runs yet" in capsys.readouterr().err
    assert (tmp_path / "results/tables/hpatches.md").is_file()


def test_command_exits_2_for_mistakes(
    runs: Path, write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "tables")]
    assert main(["tables", "hpatches", "--runs", str(tmp_path / "none"), *output]) == 2
    assert "no such folder; give --runs" in capsys.readouterr().err
    (write_run("run", "d2_ss") / "summary.csv").write_bytes(b"\xff\xfe\x00")
    assert main(["tables", "hpatches", "--runs", str(runs), *output]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "summary.csv" in error
    assert not (tmp_path / "tables").exists()


COLUMNS = [
    Column("row", "Row", key=True), Column("run", "Run", key=True), Column("a", "A"),
    Column("b", "B"), Column("c", "C"), Column("dataset", "Dataset", about=True),
]  # fmt: skip
LONG = "partial (8 of 4479 database images, 3 of 98 night queries)"


def test_a_table_goes_on_below_where_it_is_too_wide() -> None:
    records = [
        {"row": "one", "run": "x", "a": "1" * 60, "b": "2" * 60, "c": "3" * 60},
        {"row": "two", "a": "4"},
    ]
    text = markdown_grid(COLUMNS, records)
    assert [[len(line) for line in part.splitlines()] for part in text.split("\n\n")] == [
        [139] * 4, [76] * 3
    ]  # fmt: skip
    first, second = (markdown_file.rows(part, 2) for part in text.split("\n\n"))
    assert list(first[0]) == ["Row", "Run", "A", "B"]
    assert list(second[0]) == ["Row", "Run", "C"]
    assert [row["Row"] for row in first] == ["one", "two"]
    assert [row["Row"] for row in second] == ["one"]  # of the other one there is nothing


@pytest.mark.parametrize(
    ("datasets", "cells", "note"),
    [
        (["complete"] * 4, None, "- Dataset: complete (all rows)."),
        (["complete"] * 4 + [None], None, "- Dataset: complete (all rows that have one)."),
        (["complete", None], None, "- Dataset: complete (row0)."),
        (["complete", "sample"], ["complete", "sample"], None),
        ([LONG, "a|b"], ["a", "b"], f"- Dataset: a: {LONG}; b: a\\|b."),
        ([None, None], None, None),
    ],
)
def test_what_is_about_the_rows_is_short_or_a_note(datasets, cells, note) -> None:
    records = [
        {"row": name, "a": "1", **({} if dataset is None else {"dataset": dataset})}
        for name, dataset in ((f"row{i}", dataset) for i, dataset in enumerate(datasets))
    ]
    text = markdown_grid(COLUMNS, records)
    assert [row.get("Dataset") for row in markdown_file.rows(text, 1)] == (
        cells or [None] * len(datasets)
    )
    assert [line for line in text.splitlines() if line.startswith("- ")] == ([note] if note else [])


def test_a_long_name_leaves_room_for_numbers() -> None:
    records = [{"row": "r" * 120, "run": f"begin{'x' * 120}end", "a": "1" * 40}]
    text = markdown_grid(COLUMNS, records)
    assert max(map(len, text.splitlines())) <= markdown_file.PAGE
    (row,) = markdown_file.rows(text, 2)
    assert len(row["Run"]) == 40
    assert row["Run"].startswith("beginx") and row["Run"].endswith("xend")


@pytest.mark.slow
def test_no_table_is_wider_than_a_page_and_the_csv_keeps_all(
    runs: Path, write_run, write_aachen_run, write_inloc_run
) -> None:
    """As many runs as where the tables were 450 characters wide, and with longer words."""
    long = f"partial (8 of 4479 database images, {'and so on ' * 9})"
    for i, method in enumerate(["d2_ms", "d2_ms_trained", "superpoint", "a_method_of_mine"] * 5):
        label = f"{method}_with_options_{i}"
        weights = f"bundled stand-in {i % 3}, trained on {'one thing and another ' * 3}"
        write_run(label, method, dataset=long, weights=weights)
        counts = {("2019", "night"): [49, 50, 95, 95], ("2020", "night"): [49, 50, 95]}
        write_aachen_run(label, method, counts, dataset=long, weights=weights)
        floors = {"all": [120, 160, 200, 30, 60], "DUC1": [80, 100, 120, 20, 40]}
        write_inloc_run(
            label, ("sparse", method, "dense_pv"), floors, dataset=long, weights=weights
        )
        site = ["--method", method, "--label", label, "--output", str(runs), "--values"]
        assert main(["import-result", "aachen", "--epoch", "2019", *site, "44.9/66.3/88.8"]) == 0
        assert main(["import-result", "inloc", "--floor", "DUC1", *site, "39.9/57.6/67.2"]) == 0
    for table in (hpatches_table(runs), aachen_table(runs), inloc_table(runs)):
        lines = [line for line in table.markdown.splitlines() if line.startswith("|")]
        assert max(map(len, lines)) <= markdown_file.PAGE
        for word in ("with_options_19", long):
            assert word in table.csv
            assert word in table.markdown


def test_costs_of_several_machines_are_said_to_be_so(runs, write_run):
    for label, changes in {
        "one": {"machine": "Xeon, 2 processors"},
        "other": {"image_costs": {"machines": ["Epyc, 8 processors", "Xeon, 2 processors"]}},
        "older": {},
    }.items():
        path = write_run(label, "rootsift") / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "device": "cpu", **changes}))
        said = "of several machines" in hpatches_table(runs).markdown
        assert said == (label != "one")
    assert (
        "Seconds and memory are of several machines, and don't compare: cpu, Epyc, 8 processors "
        "(other); cpu, Xeon, 2 processors (one, other)."
    ) in hpatches_table(runs).markdown
