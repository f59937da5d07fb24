import csv
import json
import math
from pathlib import Path

import markdown_tables as markdown
import pytest
from report_tables import inloc_table

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.report.description import INLOC
from d2eval.localization.runs import load_runs, no_runs
from d2eval.runs.results import Numbers, numbers_of, records_of

PAPER_TITLE = "The paper's table (both floors)"
PARTIAL = "partial (16 of 356 queries, 60 of 9972 cutouts, 14 of 277 scans)"
SPARSE = ("sparse", "d2_ms", "none")
# Typed from the paper: memory, then percent at 0.25 m, 0.5 m and 1 m.
PAPER = [
    ("Direct PE - Aff. RootSIFT", "", "18.5", "26.4", "30.4"),
    ("Direct PE - D2 MS", "", "27.7", "40.4", "48.6"),
    ("Sparse PE - Aff. RootSIFT", "5MB", "21.3", "32.2", "44.1"),
    ("Sparse PE - D2 MS", "15MB", "35.0", "48.6", "62.6"),
    ("Dense PE", "44MB", "35.0", "46.2", "58.1"),
    ("Sparse PE - Aff. RootSIFT + Dense PV", "", "29.5", "42.6", "54.5"),
    ("Sparse PE - D2 MS + Dense PV", "", "38.0", "54.1", "65.4"),
    ("Dense PE + Dense PV (= InLoc)", "", "41.0", "56.5", "69.9"),
    ("InLoc + D2 MS", "", "43.2", "61.1", "74.2"),
]
COUNTS = {
    "all": [120, 160, 200, 30, 60],
    "DUC1": [80, 100, 120, 20, 40],
    "DUC2": [40, 60, 80, 10, 20],
}


def sections(runs: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each section, with a cell for each threshold."""
    found = {}
    for title, body in markdown.sections(inloc_table(runs).markdown).items():
        keys = 2 if "| Run " in body else 1
        found[title] = markdown.by_threshold(body, keys)
    return found


def note_of(runs: Path, title: str, column: str) -> str:
    return markdown.notes(markdown.sections(inloc_table(runs).markdown)[title])[column]


def lines_of(runs: Path, **wanted: str) -> list[dict[str, str]]:
    records = csv.DictReader(inloc_table(runs).csv.splitlines())
    return [r for r in records if all(r[name] == text for name, text in wanted.items())]


def returned(runs: Path, label: str, floor: str, *values: str) -> None:
    options = ["--method", "d2_ms", "--label", label, "--floor", floor, "--output", str(runs)]
    assert main(["import-result", "inloc", *options, "--values", *values]) == 0


def pooled(runs: Path) -> list[Numbers]:
    """What the site returned, on both floors together."""
    found = numbers_of(records_of(load_runs(INLOC, runs).numbers))
    return [own for own in found if own.source == "site" and own.subset == "all"]


def test_the_papers_nine_rows(runs: Path) -> None:
    (runs / "inloc").mkdir()
    rows = sections(runs)[PAPER_TITLE]
    heads = ["0.25 m, 10°", "0.5 m, 10°", "1 m, 10°"]
    columns = ["Row", "Memory published", *(f"{head} published" for head in heads)]
    assert [tuple(row[column] for column in columns) for row in rows] == PAPER
    assert not [column for column in rows[0] if "measured" in column or "site" in column]


def test_hlocs_rows_are_apart_and_pooled_from_the_floors(runs: Path) -> None:
    (runs / "inloc").mkdir()
    found = {
        title: [[v for k, v in row.items() if " published" in k] for row in rows]
        for title, rows in sections(runs).items()
        if title != PAPER_TITLE
    }
    assert found == {
        "hloc protocol, both floors": [["38.6", "55.9", "65.0"], ["38.9", "56.2", "68.4"]],
        "hloc protocol, DUC1": [["39.9", "57.6", "67.2"], ["39.9", "55.6", "67.2"]],
        "hloc protocol, DUC2": [["36.6", "53.4", "61.8"], ["37.4", "57.3", "70.2"]],
    }
    rows = [
        own
        for own in numbers_of(records_of(no_runs(INLOC).numbers))
        if own.protocol == "inloc_hloc"
    ]
    by_floor = {
        floor: [own.curve("localized") for own in rows if own.subset == floor]
        for floor in ("DUC1", "DUC2", "all")
    }
    for one, two, both in zip(*by_floor.values(), strict=True):
        for limit, value in both.items():
            counts = round(1.98 * one[limit]) + round(1.31 * two[limit])
            assert round(100 * counts / 329, 1) == value


def test_measured_cells(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, weights="bundled stand-in")
    (row,) = [row for row in sections(runs)[PAPER_TITLE] if row.get("Run")]
    assert row["Row"] == "Sparse PE - D2 MS"
    assert (row["Memory published"], row["Memory measured"]) == ("15MB", "15.0 MB")
    # 120 of 329 is 36.474 %, the published number 35.0
    assert row["0.25 m, 10° published"] == "35.0"
    assert row["0.25 m, 10° measured"] == "36.5 (120; 26.5-46.5)"
    assert row["0.25 m, 10° measured diff."] == "+1.5"
    assert row["1 m, 10° measured diff."] == "-1.8"  # 60.790 - 62.6
    assert row["Median error"] == "0.125 m, 0.75°"
    notes = [note_of(runs, PAPER_TITLE, name) for name in ("With a pose", "Dataset", "Weights")]
    assert notes == ["329 of 329", "complete", "bundled stand-in"]
    (fine,) = lines_of(runs, label="mine", section=PAPER_TITLE, position_m="0.25")
    assert fine["measured"] == str(100 * 120 / 329) and fine["localized"] == "120"
    assert fine["difference"] == "1.474164" and fine["stored_mb"] == "15.04"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (("direct", "d2_ms", "none"), "Direct PE - D2 MS"),
        (("sparse", "d2_ms", "none"), "Sparse PE - D2 MS"),
        (("sparse", "d2_ms", "dense_pv"), "Sparse PE - D2 MS + Dense PV"),
        (("sparse", "affine_rootsift", "dense_pv"), "Sparse PE - Aff. RootSIFT + Dense PV"),
        (("dense", "vgg16_dense", "none"), "Dense PE"),
        (("dense", "vgg16_dense", "dense_pv"), "Dense PE + Dense PV (= InLoc)"),
        (("merge", "d2_ms", "dense_pv"), "InLoc + D2 MS"),
    ],
)
def test_a_run_stands_beside_its_row(runs: Path, write_inloc_run, kind, name: str) -> None:
    write_inloc_run("mine", kind, COUNTS)
    found = sections(runs)
    assert [row["Row"] for row in found[PAPER_TITLE] if row["Run"] == "mine"] == [name]
    assert [row["Row"] for row in found["InLoc protocol, DUC1"]] == [name]
    assert not any(title.startswith("Further") for title in found)


def test_rows_of_the_demos_protocol_stand_beside_the_papers_and_not_beside_ours(
    runs: Path, write_inloc_run
) -> None:
    write_inloc_run("mine", SPARSE, COUNTS)
    write_inloc_run("theirs", SPARSE, COUNTS, protocol="inloc_demo")
    write_inloc_run("more", ("sparse", "rootsift", "none"), COUNTS, protocol="inloc_demo")
    found = sections(runs)
    demo = "The paper's table (InLoc demo's protocol, both floors)"
    assert [row["Run"] for row in found[PAPER_TITLE] if row["Run"]] == ["mine"]
    (row,) = [row for row in found[demo] if row["Run"]]
    assert (row["Run"], row["Row"]) == ("theirs", "Sparse PE - D2 MS")
    assert row["0.25 m, 10° published"] == "35.0"
    assert [row["Run"] for row in found["Further rows (InLoc demo's protocol, both floors)"]] == [
        "more"
    ]
    text = inloc_table(runs).markdown
    assert text.count("`--protocol inloc_demo` measures with both") == 1
    assert text.count("Rows measured here do so too") == 2
    assert {r["protocol"] for r in lines_of(runs, label="theirs")} == {"inloc_demo"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (("direct", "rootsift", "none"), "Direct PE - rootsift"),
        (("direct", "d2_ms", "dense_pv"), "Direct PE - D2 MS + Dense PV"),
        (("sparse", "d2_ss", "dense_pv"), "Sparse PE - D2 SS + Dense PV"),
        (("dense", "other", "none"), "Dense PE - other"),
        (("merge", "d2_ss", "dense_pv"), "InLoc + D2 SS"),
        (("pooled", "d2_ms", "none"), "D2 MS"),
    ],
)
def test_rows_that_the_paper_lacks_are_further_ones(
    runs: Path, write_inloc_run, kind, name: str
) -> None:
    write_inloc_run("mine", kind, COUNTS)
    found = sections(runs)
    assert "Run" not in found[PAPER_TITLE][0]
    (row,) = found["Further rows (InLoc protocol, both floors)"]
    assert (row["Row"], row["Run"]) == (name, "mine")


def test_floors_and_finer_thresholds_are_apart(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, COUNTS)
    found = sections(runs)
    (first,), (second,) = found["InLoc protocol, DUC1"], found["InLoc protocol, DUC2"]
    assert first["0.5 m, 10° measured"].startswith("50.5 (100;")
    assert second["0.5 m, 10° measured"].startswith("45.8 (60;")
    assert not [column for column in (*first, *second) if "published" in column or "0.05" in column]
    (fine,) = found["Finer thresholds (InLoc protocol, both floors)"]
    assert fine["0.05 m, 5° measured"].startswith("9.1 (30;")
    assert fine["0.1 m, 10° measured"].startswith("18.2 (60;")
    assert not [column for column in fine if "0.25" in column]


def test_no_difference_for_partial_data_nor_for_hloc(runs: Path, write_inloc_run) -> None:
    write_inloc_run("some", SPARSE, COUNTS, dataset=PARTIAL)
    pooled_kind = ("pooled", "d2_ss_trained", "none")
    write_inloc_run("hloc", pooled_kind, COUNTS, protocol="inloc_hloc")
    table = inloc_table(runs)
    assert "measured diff." not in table.markdown
    assert not [r for r in csv.DictReader(table.csv.splitlines()) if r["difference"]]
    assert "they are no reproduction" in table.markdown
    row = sections(runs)["hloc protocol, both floors"][0]
    assert (row["Row"], row["Run"]) == ("D2 SS Trained", "hloc")
    assert row["0.25 m, 10° published"] == "38.6"
    assert row["0.25 m, 10° measured"].startswith("36.5 (120;")


def test_the_sample_is_alone(runs: Path, write_inloc_run) -> None:
    write_inloc_run("toy", SPARSE, COUNTS, dataset="sample")
    records = lines_of(runs, label="toy")
    assert {r["section"] for r in records} == {"Embedded sample (InLoc protocol, both floors)"}
    assert [r["position_m"] for r in records] == ["0.05", "0.1", "0.25", "0.5", "1.0"]
    assert [r["localized"] for r in records] == ["30", "60", "120", "160", "200"]
    assert not any(r["published"] or r["difference"] for r in records)


def test_runs_without_references(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, {"all": None})
    found = sections(runs)
    (row,) = [row for row in found[PAPER_TITLE] if row["Run"]]
    assert note_of(runs, PAPER_TITLE, "With a pose") == "329 of 329"
    assert "0.25 m, 10° measured" not in row
    assert not any(title.startswith("Finer") for title in found)
    assert "had no reference poses" in inloc_table(runs).markdown


def test_the_sites_numbers(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, COUNTS)
    returned(runs, "mine", "DUC1", "39.9", "57.6", "67.2")
    found = sections(runs)
    (row,) = found["InLoc protocol, DUC1"]
    assert row["0.5 m, 10° site"] == "57.6"
    assert row["0.5 m, 10° measured"].startswith("50.5 (100;")
    assert "0.5 m, 10° site" not in found["InLoc protocol, DUC2"][0]
    assert "0.5 m, 10° site" not in found[PAPER_TITLE][0]
    returned(runs, "mine", "DUC2", "36.6", "53.4", "61.8")
    (row,) = [row for row in sections(runs)[PAPER_TITLE] if row["Run"]]
    # 79 + 48, 114 + 70 and 133 + 81 of 329
    assert [row[f"{t} m, 10° site"] for t in ("0.25", "0.5", "1")] == ["38.6", "55.9", "65.0"]
    assert row["0.25 m, 10° site diff."] == "+3.6"  # 38.602 - 35.0
    assert "pooled here from DUC1 and DUC2" in note_of(runs, PAPER_TITLE, "Returned by the site")
    assert "198 on DUC1 and 131 on DUC2" in inloc_table(runs).markdown


def test_the_sites_numbers_of_a_run_without_references(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, {"all": None})
    returned(runs, "mine", "DUC1", "39.9", "57.6", "67.2")
    returned(runs, "mine", "DUC2", "36.6", "53.4", "61.8")
    found = sections(runs)
    (first,), (second,) = found["InLoc protocol, DUC1"], found["InLoc protocol, DUC2"]
    assert (first["Row"], first["0.25 m, 10° site"]) == ("Sparse PE - D2 MS", "39.9")
    assert (second["Row"], second["0.25 m, 10° site"]) == ("Sparse PE - D2 MS", "36.6")
    (row,) = [row for row in found[PAPER_TITLE] if row["Run"]]
    assert (row["Row"], row["0.25 m, 10° site"]) == ("Sparse PE - D2 MS", "38.6")
    assert note_of(runs, PAPER_TITLE, "With a pose") == "329 of 329"


def test_the_sites_numbers_alone(runs: Path) -> None:
    returned(runs, "theirs", "DUC2", "36.6", "53.4", "61.8")
    (row,) = sections(runs)["InLoc protocol, DUC2"]
    assert (row["Row"], row["Run"], row["1 m, 10° site"]) == ("D2 MS", "theirs", "61.8")
    assert "measured" not in "".join(row)
    assert load_runs(INLOC, runs).notes == []


def test_percentages_that_are_no_counts_are_not_pooled(runs: Path) -> None:
    returned(runs, "theirs", "DUC1", "39.9", "57.6", "67.2")
    returned(runs, "theirs", "DUC2", "36.6", "53.4", "62.0")  # 81 of 131 is 61.8, 82 is 62.6
    assert pooled(runs) == []
    (note,) = load_runs(INLOC, runs).notes
    assert "theirs: the site's percentages are no counts of 198 and 131" in note
    returned(runs, "theirs", "DUC2", "36.6", "53.4", "62.6")
    (both,) = pooled(runs)
    assert load_runs(INLOC, runs).notes == []
    assert both.curve("localized")[1.0] == pytest.approx(100 * (133 + 82) / 329)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("summary.csv", "mine,inloc,all", "mine,inloc,DUC3", "no such numbers"),
        ("summary.csv", "0.25,10.0", "0.2,10.0", "not the benchmark file's"),
        ("summary.csv", "mine,inloc,", "mine,inloc_hloc,", "is of protocol 'inloc_hloc'"),
        ("summary.csv", "mine,", "yours,", "is of 'yours'"),
        ("summary.csv", "complete", PARTIAL.replace(",", ";"), "manifest.json says"),
        ("summary.csv", "stored_mb", "megabytes", "the header lacks stored_mb"),
        ("summary.csv", ",120,", ",x,", "localized is 'x'"),
        ("manifest.json", '"sparse"', '"thin"', "strategy is 'thin'"),
        ("manifest.json", '"features"', '"parts"', "lacks features"),
        ("manifest.json", '"inloc"', '"aachen"', "not the manifest of an inloc run"),
        ("manifest.json", '"weights": {"sparse": null}', '"weights": {}', "lacks stand_in"),
        ("manifest.json", "{", "", "manifest.json"),
    ],
)
def test_broken_folders_are_one_line(
    runs: Path, write_inloc_run, capsys, tmp_path: Path, name, old, new, message: str
) -> None:
    folder = write_inloc_run("mine", SPARSE, COUNTS)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    code = main(["tables", "inloc", "--runs", str(runs), "--output", str(tmp_path / "tables")])
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert str(folder / name) in error and message in error


def test_unfinished_runs_are_told(runs: Path, write_inloc_run, capsys, tmp_path: Path) -> None:
    folder = write_inloc_run("mine", SPARSE, COUNTS)
    (folder / "manifest.json").unlink()
    output = tmp_path / "tables"
    assert main(["tables", "inloc", "--runs", str(runs), "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "manifest.json missing: the run is unfinished" in captured.err
    assert (output / "inloc.md").read_text() in captured.out
    assert len((output / "inloc.csv").read_text().splitlines()) == 1 + 9 * 3 + 3 * 2 * 3


def test_no_folder_of_runs(tmp_path: Path) -> None:
    with pytest.raises(D2EvalError, match=r"holds inloc/<label>/"):
        inloc_table(tmp_path)


def test_one_stand_in_of_two_models_is_said(runs: Path, write_inloc_run) -> None:
    folder = write_inloc_run("both", ("merge", "d2_ms", "dense_pv"), COUNTS)
    assert "Stand-in weights" not in inloc_table(runs).markdown
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["weights"]["dense"] = {"stand_in": True}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "Stand-in weights" in inloc_table(runs).markdown


def test_why_queries_have_no_pose(runs: Path, write_inloc_run) -> None:
    errors = [("DUC1", 0.1, 1.0), ("DUC1", math.inf, math.inf), ("DUC2", math.inf, math.inf)]
    reasons = {1: "too few matches: 2, 3 are needed", 2: "no cutout was retrieved"}
    counts = {"all": [1, 1, 1, 0, 1], "DUC1": [1, 1, 1, 0, 1], "DUC2": [0, 0, 0, 0, 0]}
    write_inloc_run("mine", ("direct", "d2_ms", "none"), counts, errors=errors, reasons=reasons)
    notes = [
        line for line in inloc_table(runs).markdown.splitlines() if line.startswith("- Without")
    ]
    assert notes == [
        "- Without a pose in mine, 2 of 329 queries: too few matches (1: IMG_0001.JPG); no cutout "
        "was retrieved (1: IMG_0002.JPG).",
        "- Without a pose in mine, 1 of 198 queries: too few matches (1: IMG_0001.JPG).",
        "- Without a pose in mine, 1 of 131 queries: no cutout was retrieved (1: IMG_0002.JPG).",
    ]
