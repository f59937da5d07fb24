import csv
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from d2eval.cli import main


@pytest.fixture
def importing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the command; gives its exit code and what it said on standard error."""

    def importing(values: str, *more: str, method: str = "d2_ms", epoch: str = "2019"):
        options = ["--method", method, "--epoch", epoch, "--output", str(tmp_path), *more]
        code = main(["import-result", "aachen", *options, "--values", *values.split(" ")])
        return code, capsys.readouterr().err

    return importing


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_file(importing, tmp_path: Path) -> None:
    before = datetime.now(timezone.utc).date().isoformat()
    assert importing("44.9 66.3 88.8", "--source", "entry 416, night") == (0, "")
    after = datetime.now(timezone.utc).date().isoformat()
    header, *found = rows(tmp_path / "aachen/d2_ms/site.csv")
    assert header == [
        "method", "label", "protocol", "epoch", "split", "position_m", "rotation_deg", "percent",
        "source", "date",
    ]  # fmt: skip
    assert found[0][-1] in (before, after)
    shared = ["d2_ms", "d2_ms", "aachen", "2019", "night"]
    assert [row[:-1] for row in found] == [
        [*shared, "0.5", "2", "44.9", "entry 416, night"],
        [*shared, "1", "5", "66.3", "entry 416, night"],
        [*shared, "5", "10", "88.8", "entry 416, night"],
    ]


@pytest.mark.parametrize("values", ["44.9/66.3/88.8", "44.9 / 66.3 / 88.8", "44.9 66.3 88.8"])
def test_ways_to_write_the_values(importing, tmp_path: Path, values: str) -> None:
    assert importing(values)[0] == 0
    found = rows(tmp_path / "aachen/d2_ms/site.csv")[1:]
    assert [row[7] for row in found] == ["44.9", "66.3", "88.8"]


def test_the_papers_fourth_threshold_may_be_there(importing, tmp_path: Path) -> None:
    assert importing("44.9 64.3 88.8 100")[0] == 0
    assert rows(tmp_path / "aachen/d2_ms/site.csv")[4][5:8] == ["10", "25", "100"]


def test_results_of_other_groups_stay_and_one_is_replaced(importing, tmp_path: Path) -> None:
    path = tmp_path / "aachen/d2_ms/site.csv"
    assert importing("44.9 66.3 88.8")[1] == ""
    assert importing("74.5 86.7 100", epoch="2020")[1] == ""
    assert importing("84.5 86.7 100", "--split", "day", epoch="2020")[1] == ""
    assert len(rows(path)) == 10
    code, error = importing("45 67 89")
    assert code == 0 and error.startswith("note: an earlier result of challenge protocol, night")
    found = [(row[3], row[4], row[7]) for row in rows(path)[1:]]
    assert found == [
        ("2020", "night", "74.5"), ("2020", "night", "86.7"), ("2020", "night", "100"),
        ("2020", "day", "84.5"), ("2020", "day", "86.7"), ("2020", "day", "100"),
        ("2019", "night", "45"), ("2019", "night", "67"), ("2019", "night", "89"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ("44.9 66.3", {}, "2 values; epoch 2019 takes 3 or 4"),
        ("1 2 3 4 5", {}, "5 values; epoch 2019 takes 3 or 4"),
        ("1 2 3 4", {"epoch": "2020"}, "4 values; epoch 2020 takes 3"),
        ("44.9 66.3 88,8", {}, "'88,8' is not a percentage in 0..100"),
        ("44.9 66.3 101", {}, "'101' is not a percentage in 0..100"),
        ("44.9 66.3 nan", {}, "'nan' is not a percentage in 0..100"),
        ("66.3 44.9 88.8", {}, "a coarser threshold never localizes fewer"),
        ("1 2 3", {"epoch": "2021"}, "epoch is '2021'; protocol aachen has 2019 and 2020"),
        ("1 2 3", {"--protocol": "aachen_hloc"}, "protocol aachen_hloc has 2020"),
        ("1 2 3", {"--protocol": "inloc"}, "protocol is 'inloc'; choose from aachen, "),
        ("1 2 3", {"--split": "dawn"}, "split is 'dawn'; the site reports day and night"),
        ("1 2 3", {"--label": "a/b"}, "names a folder"),
        ("1 2 3", {"--label": ".."}, "names a folder"),
        ("1 2 3", {"--label": ""}, "names a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    importing, tmp_path: Path, values: str, more: dict[str, str], message: str
) -> None:
    epoch = more.pop("epoch", "2019")
    code, error = importing(values, *(word for item in more.items() for word in item), epoch=epoch)
    assert code == 2 and message in error
    assert error.startswith("d2eval: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_label_of_another_method_is_refused(importing, tmp_path: Path) -> None:
    assert importing("1 2 3")[0] == 0
    before = (tmp_path / "aachen/d2_ms/site.csv").read_text()
    code, error = importing("1 2 3", "--label", "d2_ms", method="d2_ss", epoch="2020")
    assert code == 2 and "is of method 'd2_ms', not 'd2_ss'" in error
    assert (tmp_path / "aachen/d2_ms/site.csv").read_text() == before


def test_the_run_that_is_there_must_be_the_submitted_one(importing, tmp_path: Path) -> None:
    folder = tmp_path / "aachen" / "d2_ms"
    hloc = ("--protocol", "aachen_hloc", "--label", "d2_ms")
    folder.mkdir(parents=True)
    manifest = {
        "benchmark": "aachen", "protocol": "aachen_hloc", "method": "d2_ms", "label": "d2_ms",
        "dataset": {"completeness": "complete"}, "weights": None,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, error = importing("1 2 3")
    assert code == 2 and "holds a run of d2_ms, protocol aachen_hloc" in error
    assert importing("1 2 3", *hloc, epoch="2020") == (0, "")
    (folder / "manifest.json").write_text("{")
    code, error = importing("1 2 3", *hloc, epoch="2020")
    assert code == 2 and error.count("\n") == 1 and "manifest.json" in error


def test_the_name_of_a_run_on_another_protocol(importing, tmp_path: Path) -> None:
    assert importing("1 2 3", "--protocol", "aachen_hloc", epoch="2020") == (0, "")
    assert (tmp_path / "aachen/d2_ms-hloc/site.csv").is_file()


def test_a_method_by_its_path_gives_a_label(importing, tmp_path: Path) -> None:
    assert importing("1 2 3", method="methods.TEMPLATE:../../evil")[0] == 0
    assert [path.name for path in (tmp_path / "aachen").iterdir()] == [
        "methods.TEMPLATE..._.._evil"
    ]


def test_an_unknown_method_gets_a_note(importing) -> None:
    code, error = importing("1 2 3", method="d2_mss")
    assert code == 0 and error == "note: d2_mss is no method that d2eval knows; taken as it is\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("44.9", "x", "'x' is not a percentage"),
        (",0.5,", ",0.4,", "not the benchmark file's"),
        (",2019,", ",2018,", "epoch is '2018'"),
        ("percent", "share", "the header lacks percent"),
    ],
)
def test_a_broken_file_is_left_alone(
    importing, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "aachen/d2_ms/site.csv"
    assert importing("44.9 66.3 88.8")[0] == 0
    broken = path.read_text().replace(old, new)
    path.write_text(broken)
    code, error = importing("1 2 3", epoch="2020")
    assert code == 2 and message in error and error.count("\n") == 1
    assert path.read_text() == broken


@pytest.fixture
def importing_inloc(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the command for InLoc; gives its exit code and what it said on standard error."""

    def importing(values: str, *more: str):
        options = ["--method", "d2_ms", "--output", str(tmp_path), *more]
        code = main(["import-result", "inloc", *options, "--values", *values.split(" ")])
        return code, capsys.readouterr().err

    return importing


def test_the_file_of_inloc(importing_inloc, tmp_path: Path) -> None:
    assert importing_inloc("39.9 57.6 67.2", "--floor", "DUC1", "--source", "entry 7") == (0, "")
    assert importing_inloc("36.6/53.4/61.8", "--floor", "DUC2") == (0, "")
    header, *found = rows(tmp_path / "inloc/d2_ms/site.csv")
    assert header == [
        "method", "label", "protocol", "floor", "position_m", "rotation_deg", "percent", "source",
        "date",
    ]  # fmt: skip
    site = "visuallocalization.net"
    assert [row[:-1] for row in found] == [
        ["d2_ms", "d2_ms", "inloc", floor, metres, "10", value, source]
        for floor, metres, value, source in [
            ("DUC1", "0.25", "39.9", "entry 7"), ("DUC1", "0.5", "57.6", "entry 7"),
            ("DUC1", "1", "67.2", "entry 7"), ("DUC2", "0.25", "36.6", site),
            ("DUC2", "0.5", "53.4", site), ("DUC2", "1", "61.8", site),
        ]
    ]  # fmt: skip
    code, error = importing_inloc("40 58 68", "--floor", "DUC1")
    assert code == 0 and error == ("note: an earlier result of InLoc protocol, DUC1 was replaced\n")
    assert [row[6] for row in rows(tmp_path / "inloc/d2_ms/site.csv")[1:]] == [
        "36.6", "53.4", "61.8", "40", "58", "68",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ("1 2", ("--floor", "DUC1"), "2 values; floor DUC1 takes 3"),
        ("1 2 3", (), "required: --floor"),
        ("1 2 3", ("--floor", "all"), "floor is 'all'; the site reports DUC1 and DUC2"),
        ("1 2 3", ("--floor", "DUC1", "--epoch", "2019"), "--epoch: no such option"),
        ("1 2 3", ("--floor", "DUC1", "--protocol", "aachen"), "protocol is 'aachen'; choose from"),
        ("3 2 1", ("--floor", "DUC1"), "a coarser threshold never localizes fewer"),
    ],
)
def test_bad_input_of_inloc_is_one_line_and_writes_nothing(
    importing_inloc, tmp_path: Path, values: str, more: tuple[str, ...], message: str
) -> None:
    code, error = importing_inloc(values, *more)
    assert code == 2 and message in error
    assert error.startswith("d2eval: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [(), ("--epoch", "2019", "--floor", "DUC1")])
def test_options_of_the_other_benchmark(tmp_path: Path, capsys, more: tuple[str, ...]) -> None:
    options = ["--method", "d2_ms", "--output", str(tmp_path), *more]
    assert main(["import-result", "aachen", *options, "--values", "1", "2", "3"]) == 2
    error = capsys.readouterr().err
    assert ("--floor: no such option" if more else "required: --epoch") in error


def test_a_merged_run_of_inloc_is_of_two_methods(importing_inloc, tmp_path: Path) -> None:
    folder = tmp_path / "inloc" / "merged"
    folder.mkdir(parents=True)
    manifest = {
        "benchmark": "inloc", "protocol": "inloc", "method": "vgg16_dense and d2_ms",
        "label": "merged", "dataset": {"completeness": "complete"},
        "weights": {"dense": None, "sparse": None},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    options = ("--floor", "DUC1", "--label", "merged")
    assert importing_inloc("1 2 3", *options) == (0, "")
    code, error = importing_inloc("1 2 3", *options, "--protocol", "inloc_hloc")
    assert code == 2 and "holds a run of vgg16_dense and d2_ms, protocol inloc" in error
