from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2eval.aachen.report.description import AACHEN
from d2eval.aachen.report.groups import PAPER, Group
from d2eval.aachen.report.queries import load_queries
from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.localization import curves
from d2eval.localization.curves import Panel, draw, plot_recall
from d2eval.localization.runs import Runs, load_runs
from d2eval.metrics.poses import Threshold, count_within

LIMITS_2019 = PAPER.thresholds
NIGHT_2019, NIGHT_2020 = ("2019", "night"), ("2020", "night")
IDENTITY = {"qw": 1, "qx": 0, "qy": 0, "qz": 0, "tx": 0, "ty": 0, "tz": 0}
REFERENCE = {f"ref_{name}": value for name, value in IDENTITY.items()}


def query(index: int, error: tuple[float, float] | None, split: str = "night") -> dict:
    row = {"name": f"query/{index}.jpg", "split": split, "registered": 0, **REFERENCE}
    if error is not None:
        row |= {"registered": 1, "position_m": error[0], "rotation_deg": error[1], **IDENTITY}
    return row


def value_at(curve: tuple[list[float], list[float]], metres: float) -> float:
    """The step function's value: that of the last corner up to there, before an angle's change."""
    before = [i for i, corner in enumerate(curve[0]) if corner <= metres]
    first = curve[0].index(curve[0][before[-1]])
    return curve[1][first]


def test_recall_by_hand() -> None:
    # 2 deg up to 0.5 m, then 5 deg up to 1 m
    limits = [Threshold(0.5, 2.0), Threshold(1.0, 5.0)]
    errors = [(0.2, 1.0), (0.3, 4.0), (0.7, 2.0), (inf, inf)]
    metres, recall = curves.recall_curve(errors, limits, replace(AACHEN.rule, last_m=1.0))
    assert metres == [0.0, 0.2, 0.5, 0.5, 0.7, 1.0]
    # at 0.5 m the second query counts as soon as 5 deg do
    assert recall == [0.0, 0.25, 0.25, 0.5, 0.75, 0.75]


def test_the_curve_passes_through_the_tables_numbers() -> None:
    rng = np.random.default_rng(3)
    errors = [tuple(error) for error in rng.exponential((2.0, 4.0), (98, 2))] + [(inf, inf)] * 2
    errors += [(limit.position_m, limit.rotation_deg) for limit in LIMITS_2019]  # inclusive
    curve = curves.recall_curve(errors, LIMITS_2019, AACHEN.rule)
    for limit in LIMITS_2019:
        expected = count_within(errors, limit) / len(errors)
        assert value_at(curve, limit.position_m) == pytest.approx(expected)
    assert curve[0] == sorted(curve[0]) and curve[1] == sorted(curve[1])
    assert curve[0][-1] == 10.0


def test_the_last_angle_holds_beyond_the_last_threshold() -> None:
    limits = Group("aachen", "2020", "night").thresholds
    curve = curves.recall_curve([(7.0, 9.0), (7.0, 11.0)], limits, AACHEN.rule)
    assert value_at(curve, 5.0) == 0.0 and value_at(curve, 7.0) == 0.5
    assert curve[0][-1] == 10.0


def panels(runs: Runs, published: bool = True) -> list[Panel]:
    return curves.panels(AACHEN, runs, published).get("recall", [])


def test_panels_hold_published_measured_and_returned_numbers(runs: Path, write_aachen_run) -> None:
    errors = [(0.2, 1.0), None, (2.0, 1.0), (0.1, 50.0)]
    queries = [query(i, error) for i, error in enumerate(errors)]
    queries.append(query(9, (0.1, 0.1), "day"))
    counts = {NIGHT_2019: [1, 1, 2, 2], NIGHT_2020: [1, 1, 2]}
    write_aachen_run("mine", "d2_ms", counts, queries=queries)
    call = ["import-result", "aachen", "--method", "d2_ms", "--label", "mine", "--epoch", "2019"]
    assert main([*call, "--values", "44.9/66.3/88.8", "--output", str(runs)]) == 0
    made = panels(load_runs(AACHEN, runs))
    assert made[0].section.group == PAPER
    assert [panel.section.group.epoch for panel in made] == ["2019", "2020"]
    assert value_at(made[0].curves["mine"], 1.0) == 0.25
    assert value_at(made[0].curves["mine"], 5.0) == 0.5

    axes = draw(AACHEN, made).axes[0]
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert len(lines) == 9 + 2 + len(LIMITS_2019)
    published = lines["D2 MS"]
    assert list(published.get_xdata()) == [0.5, 1.0, 5.0, 10.0]
    assert list(published.get_ydata()) == pytest.approx([0.439, 0.673, 0.878, 0.99])
    returned = lines["mine"]
    assert list(returned.get_xdata()) == [0.5, 1.0, 5.0]
    assert list(returned.get_ydata()) == pytest.approx([0.449, 0.663, 0.888])
    measured = lines["mine (D2 MS)"]
    assert list(measured.get_ydata()) == made[0].curves["mine"][1]
    assert measured.get_color() == published.get_color()
    assert axes.get_xlabel().startswith("position error up to [m], rotation error up to")


def test_published_numbers_stand_only_with_their_own(runs: Path, write_aachen_run) -> None:
    queries = [query(0, (0.2, 1.0)), query(1, (0.2, 1.0), "day"), query(2, (0.2, 1.0), "holdout")]
    write_aachen_run("day", "d2_ss", {("2019", "day"): [1] * 4}, queries=queries)
    write_aachen_run("held", "d2_ss", {("2019", "holdout"): [1] * 4}, holdout=3, queries=queries)
    write_aachen_run(
        "hloc", "d2_ss", {NIGHT_2020: [1] * 3}, protocol="aachen_hloc", queries=queries
    )
    made = panels(load_runs(AACHEN, runs))
    published = {
        panel.section.title: sum(bool(line.published) for line in panel.lines) for panel in made
    }
    assert published == {
        "The paper's table (challenge protocol, night queries, epoch 2019)": 9,
        "hloc protocol (night queries, epoch 2020)": 2,
        "Day queries (challenge protocol, epoch 2019)": 0,
        "Holdout (challenge protocol, held-out database images, epoch 2019)": 0,
    }
    made = panels(load_runs(AACHEN, runs), published=False)
    assert len(made) == 3 and not any(line.published for panel in made for line in panel.lines)


def test_sample_runs_have_a_figure_of_their_own(
    runs: Path, write_aachen_run, tmp_path: Path
) -> None:
    queries = [query(0, (0.2, 1.0))]
    write_aachen_run("tiny", "d2_ss", {NIGHT_2019: [1] * 4}, dataset="sample", queries=queries)
    paths, _ = plot_recall(AACHEN, load_runs(AACHEN, runs), tmp_path / "a")
    names = ["recall.png", "recall.svg", "recall_sample.png", "recall_sample.svg"]
    assert [path.name for path in paths] == names
    assert "published" in (tmp_path / "a" / "recall.svg").read_text()
    svg = (tmp_path / "a" / "recall_sample.svg").read_text()
    assert "tiny (D2 SS)" in svg and "<!-- published -->" not in svg
    paths, _ = plot_recall(AACHEN, load_runs(AACHEN, runs), tmp_path / "b", sample_only=True)
    assert [path.name for path in paths] == names[2:]
    with Image.open(paths[0]) as image:
        assert min(image.size) > 300


@pytest.mark.slow
def test_the_same_runs_give_the_same_svg(runs: Path, write_aachen_run, tmp_path: Path) -> None:
    write_aachen_run("r", "d2_ss", {NIGHT_2019: [1] * 4}, queries=[query(0, (0.2, 1.0))])
    for name in "ab":
        plot_recall(AACHEN, load_runs(AACHEN, runs), tmp_path / name)
    first, second = ((tmp_path / name / "recall.svg").read_bytes() for name in "ab")
    assert first == second


def test_without_reference_poses_there_is_a_note(
    runs: Path, write_aachen_run, tmp_path: Path
) -> None:
    blind = {name: value for name, value in query(0, None).items() if "ref" not in name}
    folder = write_aachen_run("blind", "d2_ss", {NIGHT_2019: None}, queries=[blind])
    found = load_runs(AACHEN, runs)
    made, (_, notes) = panels(found), plot_recall(AACHEN, found, tmp_path / "plots")
    assert notes == [f"{folder}: no reference poses, so no recall curve"]
    assert [panel.section.group for panel in made] == [PAPER] and not made[0].curves


def test_queries(runs: Path, write_aachen_run) -> None:
    lost = query(1, None)
    unknown = {k: v for k, v in query(2, (0.0, 0.0)).items() if "ref_" not in k}
    unknown |= {"position_m": "", "rotation_deg": "", "tx": 3.5}
    rows = [query(0, (0.5, 2.0)), lost, unknown]
    folder = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1] * 4}, queries=rows)
    first, second, third = load_queries(folder)
    assert first.error == (0.5, 2.0) and first.split == "night"
    assert second.error == (inf, inf) and second.estimate is None and second.reference is not None
    assert third.error is None and third.reference is None
    assert third.estimate.translation.tolist() == [3.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_m": ""}, "position_m of split night is ''"),
        ({"qx": ""}, r"the pose of query/0\.jpg lacks numbers"),
        ({"ref_tz": "nan"}, r"query/0\.jpg: no pose"),
    ],
)
def test_broken_queries(runs: Path, write_aachen_run, change: dict, message: str) -> None:
    rows = [query(0, (0.5, 2.0)) | change]
    folder = write_aachen_run("run", "d2_ss", {NIGHT_2019: [1] * 4}, queries=rows)
    with pytest.raises(D2EvalError, match=message) as error:
        load_queries(folder)
    assert "queries.csv" in str(error.value) and "\n" not in str(error.value)


def test_command(runs: Path, write_aachen_run, tmp_path: Path, capsys) -> None:
    for label in "ab":
        write_aachen_run(label, "d2_ss", {NIGHT_2019: [1] * 4}, queries=[query(0, (0.2, 1.0))])
    (runs / "aachen" / "b" / "queries.csv").unlink()
    call = ["plot", "aachen", "--runs", str(runs), "--output", str(tmp_path / "plots")]
    assert main([*call, "--run", "a"]) == 0
    printed = capsys.readouterr()
    assert f"wrote {tmp_path / 'plots/aachen/recall.svg'}" in printed.out
    assert "no model/, so no view from above" in printed.err
    for more, message in (
        ([], "queries.csv: is missing"),
        (["--run", "c"], "--run c: no such run; there are: a, b"),
        (["--run", "a", "--sample"], "nothing to draw"),
    ):
        assert main([*call, *more]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert main(["plot", "mma", "--run", "a", "--output", str(tmp_path)]) == 2
    assert "--run goes with another benchmark's figure" in capsys.readouterr().err
