"""What features cost, against accuracy: machine by machine."""

import json
import shutil

import pytest

from d2eval.cli import main
from d2eval.foundation.machine.resources import Cost
from d2eval.leaderboard.costs import costs_of, machine_of
from d2eval.runs.manifest import image_costs
from d2eval.runs.measured import SHIPPED_RUNS

RECORDS = [
    {"metric": "mean_features", "value": 1000.0},
    {"metric": "seconds_per_image", "value": 2.0},
    {"metric": "peak_memory_mib", "value": 300.0},
]


def test_of_an_image_by_hand():
    nan = float("nan")
    costs = [Cost(1.0, nan, "a", "A CPU"), Cost(nan, 50.0), Cost(3.0, 20.0, "b", "A CPU")]
    assert image_costs(costs, [100, 200]) == {
        "seconds": 2.0, "peak_memory_mib": 50.0, "descriptor_bytes": 150.0,
        "machines": ["A CPU"], "hosts": ["a", "b"],
    }  # fmt: skip
    unknown = image_costs([Cost(nan, nan)], [])
    assert {*list(unknown.values())[:3]} == {None}


def test_features_of_several_machines_are_of_none_of_them():
    run = {"device": "cpu", "machine": "The run's"}
    assert machine_of(run) == "cpu, The run's"
    assert machine_of({**run, "image_costs": {"machines": ["A CPU"]}}) == "cpu, A CPU"
    mixed = machine_of({**run, "image_costs": {"machines": ["A CPU", "Another"]}})
    assert mixed == "cpu, several machines (A CPU; Another)"


def test_what_a_manifest_says_and_what_follows_from_older_ones():
    said = {"seconds": 1.0, "peak_memory_mib": 20.0, "descriptor_bytes": 3e6}
    found = costs_of({"method": "rootsift", "image_costs": said}, RECORDS)
    assert found == {"seconds": 1.0, "memory_mib": 20.0, "descriptor_mb": 3.0}
    older = costs_of({"method": "rootsift"}, RECORDS)
    assert older == {"seconds": 2.0, "memory_mib": 300.0, "descriptor_mb": 1000 * 128 * 4 / 1e6}
    anybodys = costs_of({"method": "nowhere:Method", "peak_memory_mib": 5}, RECORDS[:1])
    assert anybodys == {"seconds": None, "memory_mib": 5.0, "descriptor_mb": None}
    assert costs_of({"method": "dense"}, [{"metric": "memory", "value": 43.5}])[
        "descriptor_mb"
    ] == (pytest.approx(43.5))


def test_runs_of_another_machine_are_not_on_the_axis(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "d2eval.leaderboard.cost_figure.draw_costs", lambda rows, *_: drawn.extend(rows)
    )
    monkeypatch.setattr("d2eval.leaderboard.cost_figure.write_figure", lambda *_: [tmp_path])
    for name in ("d2_ss", "rootsift", "upright_rootsift"):
        shutil.copytree(SHIPPED_RUNS / "hpatches" / name, tmp_path / "hpatches" / name)
    path = tmp_path / "hpatches/d2_ss/manifest.json"
    content = json.loads(path.read_text()) | {"device": "cuda", "machine": "A GPU"}
    path.write_text(json.dumps(content))
    assert machine_of(content) == "cuda, A GPU"
    assert main(["plot", "cost", "--runs", str(tmp_path)]) == 0
    (row,) = drawn
    assert [mark.label for mark in row.marks] == ["rootsift", "upright_rootsift"]
    assert row.ylabel == "MMA@3px" and 0 < row.marks[0].accuracy < 1
    said = "1 of 3 runs are of another machine or device than cpu, machine not said, and not drawn"
    assert said in capsys.readouterr().err


def test_it_draws_what_is_known_and_says_what_is_not(tmp_path):
    from d2eval.report.cost_figure import CostRow, Mark, draw_costs

    marks = [Mark("a", "orb", {"s": 1.0, "m": None}, 0.5), Mark("b", "orb", {"s": 40.0}, 0.7)]
    figure = draw_costs([CostRow("own", "MMA", marks)], {"s": "seconds", "m": "MiB"}, "here")
    times, memory = figure.axes
    assert [line.get_xydata().tolist() for line in times.lines] == [[[1.0, 0.5]], [[40.0, 0.7]]]
    assert times.get_xscale() == "log" and not memory.lines
    assert memory.texts[0].get_text() == "no run says it"
