"""Tables in LaTeX, and what of a table is shown."""

import re
import shutil
import subprocess

import pytest
from report_tables import TABLES

from d2eval.cli import main
from d2eval.report.latex import latex_tables, latex_text, mark
from d2eval.report.tables import TableLine, TableSection, build_table
from d2eval.runs.columns import Column
from d2eval.runs.measured import SHIPPED_RUNS

COLUMNS = (
    Column("row", "Method", key=True),
    Column("score", "A score that is long", best="most"),
    Column("cost", "Cost", best="least"),
    Column("plain", "Plain"),
)


def lines_of(*records):
    return [TableLine(record, [record]) for record in records]


def test_best_and_second_by_hand():
    assert mark(["3", "10", "7", ""], "most") == ["3", r"\textbf{10}", r"\underline{7}", ""]
    assert mark(["3", "10", "7", ""], "least") == [r"\textbf{3}", "10", r"\underline{7}", ""]
    # Equal as printed, equal marks; the second best is the next other number.
    assert mark(["0.50", "0.50", "0.25", "0.10"], "most") == [
        r"\textbf{0.50}", r"\textbf{0.50}", r"\underline{0.25}", "0.10",
    ]  # fmt: skip
    # Each number among those of its place; "-" is none; what follows a number stays as it is.
    assert mark(["1 / 9", "2 / -", "3 / 8", "0 / 7 (a_b)"], "most") == [
        r"1 / \textbf{9}", r"\underline{2} / -", r"\textbf{3} / \underline{8}", r"0 / 7 (a\_b)",
    ]  # fmt: skip
    # A single number, or one value alone, is not better than another.
    assert mark(["5", "", ""], "most") == ["5", "", ""] and mark(["5", "5"], "most") == ["5", "5"]
    assert mark(["5", "6"], "most") == ["5", r"\textbf{6}"]


def test_every_character_is_shown_as_it_is():
    assert latex_text(r"50% of a_b & {c} #1 $x$ ~^\ <b>") == (
        r"50\% of a\_b \& \{c\} \#1 \$x\$ \textasciitilde{}\textasciicircum{}"
        r"\textbackslash{} \textless{}b\textgreater{}"
    )
    assert latex_text("2°") == r"2\textdegree{}"


def test_a_table():
    section = TableSection(
        "Ours", "At 3 px:", lines_of({"row": "a_b", "score": "1.5", "cost": "7"},
                                     {"row": "c", "score": "2.5", "cost": "3"}),
        ["Run `d2eval x_y`."],
    )  # fmt: skip
    table = build_table("own", ["# A heading"], [section], COLUMNS, COLUMNS, [])
    text = latex_tables("own", table.content)
    assert r"\caption{A heading. Ours. At 3 px.}\label{tab:own-1}" in text
    assert r"\begin{tabular}{@{}lrr@{}}" in text  # no empty column
    assert r"Method & \shortstack{A score that\\is long} & Cost \\" in text
    assert r"a\_b & 1.5 & 7 \\" in text and r"c & \textbf{2.5} & \textbf{3} \\" in text
    assert r"Run \texttt{d2eval x\_y}." in text


HOSTILE = r"\input{/etc/passwd} % $ # _ & ~ ^ { } \\ ü … <x>"


@pytest.mark.slow
def test_it_compiles(tmp_path):
    found = [shutil.which("pdflatex")]
    if all(found):
        words = ["kpsewhich", "booktabs.sty"]  # which texlive-latex-base alone has not
        found += [subprocess.run(words, capture_output=True, check=False).stdout]
    if not all(found):
        pytest.skip("no pdflatex with booktabs (Debian: texlive-latex-recommended)")
    section = TableSection("", "", lines_of({"row": HOSTILE, "plain": HOSTILE}), [HOSTILE])
    tables = [build_table("hostile", ["# x"], [section], COLUMNS, COLUMNS, [])]
    tables += [table(SHIPPED_RUNS) for table in TABLES.values()]
    body = "\n\\clearpage\n".join(latex_tables(own.name, own.content) for own in tables)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage[T1]{fontenc}\\extrafloats{200}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    wide = re.findall(r"Overfull \\hbox \(([0-9.]+)pt", done.stdout)
    assert all(float(points) < 20 for points in wide[1:]), wide  # the first is the hostile one


@pytest.fixture
def tables(tmp_path, capsys):
    """Runs ``d2eval tables hpatches`` on what ships; gives code, Markdown and errors."""

    def run(*words):
        code = main(
            ["tables", "hpatches", "--runs", "shipped", "--output", str(tmp_path / "out"), *words]
        )
        return code, *capsys.readouterr()

    return run


def first_cells(markdown):
    body = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [line.split("|")[2].strip() for line in body]


def test_columns_methods_and_order(tables, tmp_path):
    code, out, _ = tables(
        "--columns", "h_auc,matching_score", "--methods", "d2_ms,D2 MS Trained,rootsift,d2_ss",
        "--sort", "h_auc:2", "--format", "csv,latex",
    )  # fmt: skip
    assert code == 0
    assert re.search(r"\| Homography AUC@1,3,5px +\| Matching score", out)
    assert "MMA" not in "".join(line for line in out.splitlines() if line.startswith("|"))
    assert "; b: bundled stand-in" in out  # what the weights were is always said
    assert first_cells(out) == ["Run", "d2_ms_trained", "d2_ms", "d2_ss", "Run", "rootsift"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["hpatches.csv", "hpatches.tex"]
    csv = (tmp_path / "out/hpatches.csv").read_text().splitlines()
    assert len(csv) == 5 and "mma_10px_published" in csv[0]  # all columns, the chosen rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--columns", "mma"], "mma: no such column; there are top_k, features_published, "),
        (
            ["--methods", "d3"],
            "d3: no row is of it; there are hesaff_rootsift, Hes. det. + RootSIFT, ",
        ),
        (["--sort", "mma"], "mma: no column to sort by"),
        (["--sort", "h_auc:0"], "h_auc:0: no column to sort by"),
        (["--format", "html"], "must be some of csv, md, latex, not 'html'"),
    ],
)
def test_mistakes_are_one_line(tables, words, said):
    code, out, err = tables(*words)
    assert code == 2 and not out
    assert said in err and len(err.splitlines()) <= 2
