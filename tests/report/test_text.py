import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.display import csv_cell, from_csv_cell, markdown_text, printable
from d2eval.hpatches.report.table import hpatches_table
from d2eval.runs.columns import Column
from d2eval.runs.folder import write_csv
from d2eval.runs.rows import read_rows

EVIL = "=1+1|<b>x</b>\x1b[31m\nrow"
TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("'=+-@\\|\n\r\t\x1b,\"nxu0")), max_size=12
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("d2_ms, 0.25 m, 10°, Bäume", "d2_ms, 0.25 m, 10°, Bäume"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x9b31m\x7f", r"\x1b[2J\x9b31m\x7f"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\udcff.png", r"\udcff.png"),  # how Python holds a file name that isn't UTF-8
    ],
)
def test_a_terminal_shows_and_does_not_obey(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("d2_ms", "d2_ms"), ("-0.5", "-0.5"), ("+1.5e-07", "+1.5e-07"), ("-inf", "-inf"),
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("@SUM(A1)", "'@SUM(A1)"),
        ("-1+1", "'-1+1"), ("\uff1d1", "'\uff1d1"), ("'=1", "''=1"), ("'quoted'", "'quoted'"),
        ("\t=1", r"\t=1"), ("a\nb", r"a\nb"), (r"C:\new", r"C:\\new"),
    ],
)  # fmt: skip
def test_cells_that_no_spreadsheet_computes(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert from_csv_cell(cell) == text


@given(TEXT)
def test_every_text_comes_back_from_its_cell(text: str) -> None:
    cell = csv_cell(text)
    assert from_csv_cell(cell) == text
    assert cell.isprintable()
    if cell and cell[0] in "=+-@":
        float(cell)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("d2_ms_trained, 66.7 (2; 20.8-93.9)", "d2_ms_trained, 66.7 (2; 20.8-93.9)"),
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),  # a backslash before the bar would undo what stands for it
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("&lt;", "&amp;lt;"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("`a` *b* $c$", r"\`a\` \*b\* \$c\$"),
        ("_a_ __b__ a_b", r"\_a\_ \_\_b\_\_ a_b"),
        ("a\n| b |\x1b[0m", r"a\\n\| b \|\\x1b\[0m"),
    ],
)
def test_markdown_shows_what_was_written(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


def test_rows_with_any_text_come_back(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [{"name": EVIL, "x": -0.5}, {"name": "\udcff", "x": None}])
    assert path.read_bytes().count(b"\n") == 3
    assert b"\x1b" not in path.read_bytes()
    assert read_rows(path, [Column("name")]) == [
        {"name": EVIL, "x": "-0.5"},
        {"name": "\udcff", "x": ""},
    ]


def test_tables_show_a_runs_name_as_text(write_run, runs) -> None:
    write_run("mine", EVIL)
    table = hpatches_table(runs)
    found = [row for row in csv.DictReader(io.StringIO(table.csv)) if row["label"] == "mine"]
    assert [row["method"] for row in found] == [r"'=1+1|<b>x</b>\x1b[31m\nrow"]
    line = next(line for line in table.markdown.splitlines() if "mine" in line)
    assert r"| =1+1\|&lt;b&gt;x&lt;/b&gt;\\x1b\[31m\\nrow " in line
    assert "\x1b" not in table.markdown


def test_what_the_site_returned_is_text(tmp_path, capsys) -> None:
    source = '=HYPERLINK("http://x")\x1b[2J'
    options = ["--values", "44.9", "66.3", "88.8", "--epoch", "2019", "--output", str(tmp_path)]
    said = main(["import-result", "aachen", "--method", "d2_ms", "--source", source, *options])
    assert said == 0
    path = tmp_path / "aachen/d2_ms/site.csv"
    assert '"\'=HYPERLINK(""http://x"")\\x1b[2J"' in path.read_text(encoding="utf-8")
    assert {row["source"] for row in read_rows(path, [Column("source")])} == {source}
    capsys.readouterr()
    assert main(["tables", "aachen", "--runs", str(tmp_path), "--output", str(tmp_path)]) == 0
    assert "\x1b" not in "".join(capsys.readouterr())


def test_errors_notes_and_usage_are_one_line_of_text(tmp_path, capsys, monkeypatch) -> None:
    folder = tmp_path / "no\n\x1b[31mfolder"
    assert main(["check-data", "hpatches", str(folder)]) == 2
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said
    assert r"no\n\x1b[31mfolder" in said
    assert main(["methods", "--x\x1b[31m"]) == 2
    assert r"--x\x1b[31m: no such option" in capsys.readouterr().err

    def failing(args):
        raise D2EvalError("a\nb")

    monkeypatch.setattr("d2eval.cli.methods.run", failing)
    assert main(["methods"]) == 2
    assert capsys.readouterr().err == "d2eval: a\\nb\n"
