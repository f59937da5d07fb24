import csv
import json
from pathlib import Path

import markdown_tables as markdown
import pytest
from report_tables import aachen_table

from d2eval.aachen.report.description import AACHEN
from d2eval.aachen.report.groups import PUBLISHED, Group
from d2eval.cli import main
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.localization.runs import load_runs, no_runs
from d2eval.metrics.poses import Threshold
from d2eval.runs.results import numbers_of, records_of

PAPER_TITLE = "The paper's table (challenge protocol, night queries, epoch 2019)"
NIGHT_2019, NIGHT_2020 = ("2019", "night"), ("2020", "night")
PARTIAL = "partial (8 of 4479 database images, 3 of 98 night queries)"
# Typed from the paper: features, then percent at 0.5 m, 1 m, 5 m and 10 m.
PAPER = [
    ("Upright RootSIFT", "11.3K", "36.7", "54.1", "72.5", "81.6"),
    ("DenseSfM", "7.5K / 30K", "39.8", "60.2", "84.7", "99.0"),
    ("HAN + HN++", "11.5K", "39.8", "61.2", "77.6", "88.8"),
    ("SuperPoint", "6.6K", "42.8", "57.1", "75.5", "86.7"),
    ("DELF", "11K", "38.8", "62.2", "85.7", "98.0"),
    ("D2 SS", "7K", "41.8", "66.3", "85.7", "98.0"),
    ("D2 MS", "11.4K", "43.9", "67.3", "87.8", "99.0"),
    ("D2 SS Trained", "14.5K", "44.9", "66.3", "88.8", "100.0"),
    ("D2 MS Trained", "19.3K", "44.9", "64.3", "88.8", "100.0"),
]


def sections(runs: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each section, with a cell for each threshold."""
    found = {}
    for title, body in markdown.sections(aachen_table(runs).markdown).items():
        keys = 2 if "| Run " in body else 1
        found[title] = markdown.by_threshold(body, keys)
    return found


def note_of(runs: Path, title: str, column: str) -> str:
    return markdown.notes(markdown.sections(aachen_table(runs).markdown)[title])[column]


def record_of(runs: Path, **wanted: str) -> dict[str, str]:
    records = csv.DictReader(aachen_table(runs).csv.splitlines())
    (found,) = [r for r in records if all(r[name] == text for name, text in wanted.items())]
    return found


def test_the_papers_nine_rows(runs: Path) -> None:
    (runs / "aachen").mkdir()
    rows = sections(runs)[PAPER_TITLE]
    heads = ["0.5 m, 2°", "1 m, 5°", "5 m, 10°", "10 m, 25°"]
    columns = ["Method", "Features published", *(f"{head} published" for head in heads)]
    assert [tuple(row[column] for column in columns) for row in rows] == PAPER
    assert not [column for column in rows[0] if "measured" in column or "site" in column]


def test_published_numbers_of_other_epochs_and_protocols(runs: Path) -> None:
    (runs / "aachen").mkdir()
    found = {
        (title, row["Method"]): [value for column, value in row.items() if " published" in column]
        for title, rows in sections(runs).items()
        if title != PAPER_TITLE
        for row in rows
    }
    assert found == {
        ("Epoch 2020 (challenge protocol, night queries)", "D2 SS Trained"): [
            "74.5", "86.7", "100.0",
        ],
        ("Epoch 2020 (challenge protocol, night queries)", "SuperPoint"): [
            "73.5", "79.6", "88.8",
        ],
        ("hloc protocol (night queries, epoch 2020)", "D2 SS Trained"): ["83.7", "90.8", "100.0"],
        ("hloc protocol (night queries, epoch 2020)", "SuperPoint"): ["75.5", "86.7", "92.9"],
        ("hloc protocol (day queries, epoch 2020)", "D2 SS Trained"): ["84.6", "91.4", "97.1"],
        ("hloc protocol (day queries, epoch 2020)", "SuperPoint"): ["85.4", "93.3", "97.2"],
    }  # fmt: skip


def test_every_published_group_has_the_benchmarks_thresholds() -> None:
    rows = numbers_of(records_of(no_runs(AACHEN).numbers))
    assert len(rows) == 9 + 2 + 2 + 2
    for row in rows:
        group = Group(row.protocol, *row.subset.split(" "))
        assert group in PUBLISHED
        entries = load_protocol(group.protocol).content["thresholds"][group.epoch]
        shares = [own for (metric, _), own in row.at.items() if metric == "localized"]
        said = [Threshold(own["threshold"], own["angle"]) for own in shares]
        assert said == [Threshold(**entry) for entry in entries]


def test_measured_and_returned_numbers_beside_the_papers(runs: Path, write_aachen_run) -> None:
    write_aachen_run("mine", "d2_ms", {NIGHT_2019: [49, 50, 95, 95]}, weights="bundled stand-in")
    run = ["import-result", "aachen", "--method", "d2_ms", "--label", "mine", "--epoch", "2019"]
    assert main([*run, "--values", "44.9", "66.3", "88.8", "--output", str(runs)]) == 0
    (row,) = [row for row in sections(runs)[PAPER_TITLE] if row["Run"] == "mine"]
    assert row["Method"] == "D2 MS"
    assert row["Features published"] == "11.4K" and row["Features measured"] == "11.4K"
    assert note_of(runs, PAPER_TITLE, "Registered") == "95 of 98"
    # 49 of 98 are 50 %; the fixture's interval is 10 points to both sides
    assert row["0.5 m, 2° published"] == "43.9"
    assert row["0.5 m, 2° measured"] == "50.0 (49; 40.0-60.0)"
    assert row["0.5 m, 2° measured diff."] == "+6.1"
    assert row["0.5 m, 2° site"] == "44.9"
    assert row["0.5 m, 2° site diff."] == "+1.0"
    assert row["10 m, 25° measured"] == "96.9 (95; 86.9-100.0)"
    assert (row["10 m, 25° site"], row["10 m, 25° site diff."]) == ("-", "-")
    assert row["Median error"] == "0.125 m, 0.75°"
    assert note_of(runs, PAPER_TITLE, "Dataset") == "complete"
    assert note_of(runs, PAPER_TITLE, "Weights") == "bundled stand-in"


def test_the_csv_has_a_line_for_each_threshold(runs: Path, write_aachen_run) -> None:
    write_aachen_run("mine", "d2_ms", {NIGHT_2019: [49, 50, 95, 95]})
    record = record_of(runs, label="mine", epoch="2019", position_m="1.0")
    assert record["section"] == PAPER_TITLE
    assert (record["protocol"], record["split"], record["method"]) == ("aachen", "night", "d2_ms")
    assert (record["localized"], record["queries"], record["registered"]) == ("50", "98", "95")
    assert float(record["measured"]) == pytest.approx(5000 / 98)
    assert float(record["difference"]) == pytest.approx(5000 / 98 - 67.3, abs=1e-6)
    assert (record["published"], record["rotation_deg"]) == ("67.3", "5.0")
    assert record["dataset"] == "complete" and record["site"] == ""


def test_a_partial_run_has_no_difference(runs: Path, write_aachen_run) -> None:
    write_aachen_run("mine", "d2_ms", {NIGHT_2019: [49, 50, 95, 95]}, dataset=PARTIAL)
    record = record_of(runs, label="mine", epoch="2019", position_m="1.0")
    assert (record["dataset"], record["published"], record["localized"]) == (PARTIAL, "67.3", "50")
    assert record["difference"] == ""


def test_epochs_protocols_and_kinds_of_runs_stand_apart(runs: Path, write_aachen_run) -> None:
    both = {NIGHT_2019: [1, 2, 3, 4], NIGHT_2020: [1, 2, 3], ("2019", "day"): [5, 6, 7, 8]}
    write_aachen_run("whole", "d2_ss", both)
    write_aachen_run("hloc", "d2_ss_trained", {NIGHT_2020: [1, 2, 3]}, protocol="aachen_hloc")
    write_aachen_run("v11", "d2_ss", {NIGHT_2020: [1, 2, 3]}, protocol="aachen_v1_1")
    write_aachen_run("held", "d2_ss", {("2019", "holdout"): [1, 2, 3, 4]}, holdout=50)
    write_aachen_run("held_night", "d2_ss", {NIGHT_2019: [1, 2, 3, 4]}, holdout=50)
    write_aachen_run("tiny", "d2_ss", {NIGHT_2019: [1, 2, 3, 4]}, dataset="sample")
    found = sections(runs)
    labels = {title: [row.get("Run", "") for row in rows] for title, rows in found.items()}
    assert list(labels) == [
        PAPER_TITLE,
        "Epoch 2020 (challenge protocol, night queries)",
        "hloc protocol (night queries, epoch 2020)",
        "hloc protocol (day queries, epoch 2020)",
        "Day queries (challenge protocol, epoch 2019)",
        "Holdout (challenge protocol, night queries, epoch 2019)",
        "Holdout (challenge protocol, held-out database images, epoch 2019)",
        "Aachen v1.1 (night queries, epoch 2020)",
        "Embedded sample (challenge protocol, night queries, epoch 2019)",
    ]
    assert [list(filter(None, own)) for own in labels.values()] == [
        ["whole"], ["whole"], ["hloc"], [], ["whole"], ["held_night"], ["held"], ["v11"], ["tiny"],
    ]  # fmt: skip
    for title, rows in found.items():
        published = any("published" in column for column in rows[0])
        assert published == title.startswith(("The paper's", "Epoch 2020", "hloc"))
        differs = any("diff." in column for column in rows[0])
        assert differs == (title == PAPER_TITLE)
    # measured, but with other pairs than hloc's: beside the published row without a difference
    (hloc,) = [row for row in found["hloc protocol (night queries, epoch 2020)"] if row["Run"]]
    assert hloc["Method"] == "D2 SS Trained" and hloc["0.25 m, 2° measured"].startswith("1.0 (1;")


def test_a_method_the_paper_lacks_stands_below_its_rows(runs: Path, write_aachen_run) -> None:
    write_aachen_run("sift", "rootsift", {NIGHT_2019: [1, 2, 3, 4]})
    rows = sections(runs)[PAPER_TITLE]
    assert len(rows) == 10 and rows[9]["Method"] == "rootsift"
    assert rows[9]["Features published"] == "" and rows[9]["0.5 m, 2° published"] == ""


def test_two_runs_of_a_method_have_a_line_each(runs: Path, write_aachen_run) -> None:
    for label in ("a", "b"):
        write_aachen_run(label, "d2_ss", {NIGHT_2019: [1, 2, 3, 4]})
    rows = [row for row in sections(runs)[PAPER_TITLE] if row["Method"] == "D2 SS"]
    assert [row["Run"] for row in rows] == ["a", "b"]
    assert [row["1 m, 5° published"] for row in rows] == ["66.3", "66.3"]


def test_without_reference_poses_percentages_stay_empty(runs: Path, write_aachen_run) -> None:
    write_aachen_run("blind", "d2_ss", {NIGHT_2019: None})
    (row,) = [row for row in sections(runs)[PAPER_TITLE] if row["Run"] == "blind"]
    assert note_of(runs, PAPER_TITLE, "Registered") == "95 of 98"
    assert not [value for column, value in row.items() if "measured" in column and "°" in column]
    assert "submit their Aachen_eval file" in aachen_table(runs).markdown
    record = record_of(runs, label="blind", position_m="0.5")
    assert (record["measured"], record["localized"], record["difference"]) == ("", "", "")


def test_a_site_result_needs_no_run(runs: Path) -> None:
    call = ["import-result", "aachen", "--method", "d2_ms_trained", "--epoch", "2020"]
    assert main([*call, "--values", "70.0/80.0/90.0", "--output", str(runs)]) == 0
    table = aachen_table(runs)
    assert not table.notes  # a folder with nothing but site.csv is no unfinished run
    rows = sections(runs)["Epoch 2020 (challenge protocol, night queries)"]
    (row,) = [row for row in rows if row["Method"] == "D2 MS Trained"]
    assert row["0.5 m, 5° site"] == "80.0" and "0.5 m, 5° measured" not in row
    # and the day's, of the same run, stands elsewhere
    assert main([*call, "--values", "1", "2", "3", "--split", "day", "--output", str(runs)]) == 0
    rows = sections(runs)["Day queries (challenge protocol, epoch 2020)"]
    assert [row["0.5 m, 5° site"] for row in rows] == ["2.0"]


def test_an_empty_split_is_left_out(runs: Path, write_aachen_run) -> None:
    folder = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1, 2, 3, 4], ("2019", "day"): None})
    text = (folder / "summary.csv").read_text()
    (folder / "summary.csv").write_text(
        "".join(
            line.replace(",98,95,", ",0,0,") if ",day," in line else line
            for line in text.splitlines(keepends=True)
        )
    )
    numbers = load_runs(AACHEN, runs).numbers
    assert set(numbers[numbers["source"] == "measured"]["subset"]) == {"2019 night"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmark": "hpatches"}, "not the manifest of an aachen run"),
        ({"protocol": "aachen_v2"}, "protocol is 'aachen_v2'"),
        ({"protocol": "aachen_hloc"}, r"summary\.csv: is of protocol 'aachen', manifest"),
        ({"holdout": "50"}, "holdout is '50'"),
        ({"dataset": {"completeness": "sample"}}, "but manifest.json says"),
    ],
)
def test_a_broken_manifest(runs: Path, write_aachen_run, change: dict, message: str) -> None:
    path = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1, 2, 3, 4]}) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(D2EvalError, match=message):
        aachen_table(runs)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.5,2.0,98,95,1,", ",0.4,2.0,98,95,1,", "are not the benchmark file's"),
        (",0.5,2.0,98,95,1,", ",0.5,2.0,98,95,96,", "localized of split night is '96'"),
        (",98,95,", ",98,99,", "registered of split night is '99'"),
        (",2019,", ",2018,", "epoch '2018'"),
        (",night,", ",dusk,", "split 'dusk'"),
        ("percent_low", "low", "the header lacks percent_low"),
    ],
)
def test_a_broken_summary(runs: Path, write_aachen_run, old: str, new: str, message: str) -> None:
    path = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1, 2, 3, 4]}) / "summary.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(D2EvalError, match=message) as error:
        aachen_table(runs)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_rows_of_a_group_must_stand_together(runs: Path, write_aachen_run) -> None:
    counts = {NIGHT_2019: [1, 2, 3, 4], NIGHT_2020: [1, 2, 3]}
    path = write_aachen_run("run", "d2_ss", counts) / "summary.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[7], *lines[3:7]]))
    with pytest.raises(D2EvalError, match="don't stand together"):
        aachen_table(runs)


def test_command(runs: Path, write_aachen_run, tmp_path: Path, capsys) -> None:
    write_aachen_run("run", "d2_ss", {NIGHT_2019: [1, 2, 3, 4]})
    (write_aachen_run("half", "d2_ss", {NIGHT_2019: None}) / "manifest.json").unlink()
    output = tmp_path / "tables"
    assert main(["tables", "aachen", "--runs", str(runs), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert (output / "aachen.md").read_text() in printed.out
    assert (output / "aachen.csv").read_text() == aachen_table(runs).csv
    assert "half: skipped, manifest.json missing" in printed.err
    (runs / "aachen" / "run" / "summary.csv").write_bytes(b"\xff\xfe")
    assert main(["tables", "aachen", "--runs", str(runs), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "summary.csv" in error


def test_why_queries_have_no_pose(runs: Path, write_aachen_run) -> None:
    reasons = {
        "a.jpg": "too few matches: 3 of 500 features, 30 are needed",
        **{f"{n}_.jpg": f"too few inliers: {n} of 90 keypoints" for n in range(4)},
    }
    queries = [
        {"name": name, "split": "night", "registered": 0, "reason": reason}
        for name, reason in reasons.items()
    ]
    queries.append({"name": "day.jpg", "split": "day", "registered": 0, "reason": "too few x: 1"})
    write_aachen_run("mine", "d2_ms", {NIGHT_2019: [49, 50, 95, 95]}, queries=queries)
    assert (
        "- Without a pose in mine, 5 of 98 queries: too few inliers (4: 0\\_.jpg, 1\\_.jpg, "
        "2\\_.jpg, ...); too few matches (1: a.jpg).\n"
    ) in aachen_table(runs).markdown


def test_a_run_of_an_earlier_version_says_no_reasons(runs: Path, write_aachen_run) -> None:
    folder = write_aachen_run("mine", "d2_ms", {NIGHT_2019: [49, 50, 95, 95]})
    (folder / "queries.csv").write_text("name,split,registered\na.jpg,night,0\n")
    assert "Without a pose" not in aachen_table(runs).markdown


def test_a_row_says_that_lost_queries_have_a_database_images_pose(runs, write_aachen_run):
    folder = write_aachen_run("named", "d2_ss", {NIGHT_2020: [1, 2, 3]}, protocol="aachen_hloc")
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "nearest_pose": True}))
    found = record_of(runs, label="named", position_m="0.25")
    assert (found["row"], found["method"]) == ("D2 SS, nearest pose where lost", "d2_ss")
