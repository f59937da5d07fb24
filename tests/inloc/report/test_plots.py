import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from d2eval.cli import main
from d2eval.inloc.report.description import INLOC
from d2eval.inloc.report.groups import PAPERS
from d2eval.localization import curves
from d2eval.localization.runs import load_runs

SPARSE = ("sparse", "d2_ms", "none")
COUNTS = {"all": [120, 160, 200, 30, 60], "DUC1": [80, 100, 120, 20, 40]}
ERRORS = [
    ("DUC1", 0.2, 3.0),
    ("DUC1", 0.25, 10.0),
    ("DUC2", 0.4, 11.0),
    ("DUC2", math.inf, math.inf),
]


def lines(figure: Figure) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Title of each panel -> label of each line -> its points."""
    return {
        axes.get_title(): {
            str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
            for line in axes.lines
            if not str(line.get_label()).startswith("_")
        }
        for axes in figure.axes
    }


def test_recall_by_hand() -> None:
    errors = [(metres, degrees) for _, metres, degrees in ERRORS]
    assert curves.recall_curve(errors, PAPERS.thresholds, INLOC.rule) == (
        [0.0, 0.2, 0.25, 2.0],
        [0.0, 0.0, 0.25, 0.5],
    )


def test_the_curve_is_strict_and_passes_through_the_counts() -> None:
    errors = [(0.25, 1.0), (0.25, 2.0), (0.0, 0.0), (0.5, 9.0), (1.5, 5.0), (2.0, 5.0), (0.1, 40.0)]
    metres, recall = curves.recall_curve(errors, PAPERS.thresholds, INLOC.rule)
    assert metres == [0.0, 0.25, 0.5, 1.5, 2.0]
    for limit in (0.1, 0.25, 0.2500001, 0.5, 1.0, 1.5, 1.9, 2.0):
        shown = next(share for corner, share in zip(metres, recall, strict=True) if limit <= corner)
        assert shown == sum(p < limit and r < 10.0 for p, r in errors) / 7


def test_panels_have_their_floors_alone(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, errors=[*ERRORS, ("", math.nan, math.nan)])
    (drawn,) = curves.panels(INLOC, load_runs(INLOC, runs)).values()
    found = lines(curves.draw(INLOC, drawn))
    label = "mine (D2 MS)"
    assert list(found) == ["InLoc protocol, both floors", "InLoc protocol, DUC1"]
    both = found["InLoc protocol, both floors"]
    assert both[label] == [(0.0, 0.0), (0.2, 0.0), (0.25, 0.25), (2.0, 0.5)]
    assert both["Sparse PE - D2 MS"] == [(0.25, 0.35), (0.5, 0.486), (1.0, 0.626)]
    assert len(both) == 9 + 1
    assert found["InLoc protocol, DUC1"] == {
        label: [(0.0, 0.0), (0.2, 0.0), (0.25, 0.5), (2.0, 1.0)]
    }


def test_protocols_and_the_sample_get_figures_of_their_own(
    runs: Path, write_inloc_run, tmp_path: Path
) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, errors=ERRORS)
    hloc = ("pooled", "rootsift", "none")
    write_inloc_run("pool", hloc, COUNTS, protocol="inloc_hloc", errors=ERRORS)
    write_inloc_run("toy", SPARSE, COUNTS, dataset="sample", errors=ERRORS)
    made = curves.panels(INLOC, load_runs(INLOC, runs))
    assert list(made) == ["recall", "recall_hloc", "recall_sample"]
    (panel,) = made["recall_sample"]
    assert [line.published for line in panel.lines] == [None]
    assert list(panel.curves) == ["toy"]
    options = ["--runs", str(runs), "--output", str(tmp_path)]
    assert main(["plot", "inloc", *options]) == 0
    names = {f"recall{end}.{kind}" for end in ("", "_hloc", "_sample") for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "inloc").iterdir()} == names
    svg = (tmp_path / "inloc" / "recall_sample.svg").read_text()
    assert "Embedded sample (not InLoc)" in svg


def test_only_the_sample(runs: Path, write_inloc_run, tmp_path: Path) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, errors=ERRORS)
    write_inloc_run("toy", SPARSE, COUNTS, dataset="sample", errors=ERRORS)
    options = ["--runs", str(runs), "--output", str(tmp_path), "--sample"]
    assert main(["plot", "inloc", *options]) == 0
    found = sorted(path.name for path in (tmp_path / "inloc").iterdir())
    assert found == ["recall_sample.png", "recall_sample.svg"]


def test_returned_numbers_are_marks(runs: Path, write_inloc_run) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, errors=ERRORS)
    options = ["--method", "d2_ms", "--label", "mine", "--floor", "DUC1", "--output", str(runs)]
    assert main(["import-result", "inloc", *options, "--values", "39.9 57.6 67.2"]) == 0
    found = lines(curves.draw(INLOC, curves.panels(INLOC, load_runs(INLOC, runs))["recall"]))
    marks = found["InLoc protocol, DUC1"]["mine"]
    assert marks == [
        (metres, pytest.approx(share))
        for metres, share in ((0.25, 0.399), (0.5, 0.576), (1.0, 0.672))
    ]
    assert "mine" not in found["InLoc protocol, both floors"]


def test_runs_without_references_are_told(runs, write_inloc_run, tmp_path, capsys) -> None:
    write_inloc_run("mine", SPARSE, {"all": None}, errors=[("", math.nan, math.nan)])
    options = ["--runs", str(runs), "--output", str(tmp_path)]
    assert main(["plot", "inloc", *options]) == 0
    assert "no reference poses, so no recall curve" in capsys.readouterr().err
    assert main(["plot", "inloc", *options, "--no-published"]) == 2
    assert "nothing to draw" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.2,3.0", "x,3.0", "position_m is 'x', not a number at least 0"),
        ("DUC1", "DUC7", "is of floor 'DUC7'"),
        ("rotation_deg", "angle", "the header lacks rotation_deg"),
    ],
)
def test_a_broken_file_is_one_line(
    runs: Path, write_inloc_run, tmp_path: Path, capsys, old: str, new: str, message: str
) -> None:
    path = write_inloc_run("mine", SPARSE, COUNTS, errors=ERRORS) / "queries.csv"
    path.write_text(path.read_text().replace(old, new))
    assert main(["plot", "inloc", "--runs", str(runs), "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error and message in error


def test_an_unknown_run(runs: Path, write_inloc_run, tmp_path: Path, capsys) -> None:
    write_inloc_run("mine", SPARSE, COUNTS, errors=ERRORS)
    options = ["--runs", str(runs), "--output", str(tmp_path), "--run", "yours"]
    assert main(["plot", "inloc", *options]) == 2
    assert "--run yours: no such run; there are: mine" in capsys.readouterr().err
