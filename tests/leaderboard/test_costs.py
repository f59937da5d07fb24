"""What features cost, against accuracy: machine by machine."""

import json
import shutil

import pytest

from d2eval.cli import main
from d2eval.foundation.machine.resources import Cost
from d2eval.leaderboard.costs import KINDS, costs_of, machine_of
from d2eval.report.cost_figure import CostRow, Mark, draw_costs
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


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Rows of the figure, and the folder of its runs."""
    rows = []
    module = "d2eval.leaderboard.cost_figure"
    monkeypatch.setattr(f"{module}.draw_costs", lambda own, *_: rows.extend(own))
    monkeypatch.setattr(f"{module}.write_figure", lambda *_: [tmp_path])
    return rows


def copied(root, name, sequence="v_bird", fingerprint=None, **content):
    """A shipped run as ``--sequences`` would leave it, with another manifest."""
    folder = root / "hpatches" / name
    shutil.copytree(SHIPPED_RUNS / "hpatches" / name, folder)
    whole, part = "partial (7 of 108 sequences)", "partial (1 of 108 sequences)"
    for file in ("manifest.json", "summary.csv"):
        (folder / file).write_text((folder / file).read_text().replace(whole, part))
    lines = (folder / "pairs.csv").read_text().splitlines(keepends=True)
    own = [line for line in lines if line.startswith(("sequence,", f"{sequence},"))]
    (folder / "pairs.csv").write_text("".join(own))
    path = folder / "manifest.json"
    said = json.loads(path.read_text())
    said["dataset"]["fingerprint"] = fingerprint or said["dataset"]["fingerprint"]
    costs = {"seconds": 1.0, "descriptor_bytes": 4e5}
    here = {"device": "cpu", "machine": "Here", "image_costs": costs}
    path.write_text(json.dumps(said | here | content))


def test_runs_of_other_machines_or_data_are_on_no_common_axis(tmp_path, capsys, monkeypatch, drawn):
    for name in ("rootsift", "upright_rootsift", "d2_ms"):
        copied(tmp_path, name)
    copied(tmp_path, "orb", device="cuda")
    copied(tmp_path, "xfeat", fingerprint="0" * 64)
    copied(tmp_path, "d2_ss", "i_leuven")
    own = {"d2_ms": dict.fromkeys(KINDS)}
    monkeypatch.setattr(
        "d2eval.leaderboard.cost_figure.costs_of",
        lambda manifest, records: own.get(manifest["method"]) or costs_of(manifest, records),
    )
    assert main(["plot", "cost", "--runs", str(tmp_path)]) == 0
    one = "hpatches, Overall: 1 of 108 sequences"
    assert {row.title: [mark.label for mark in row.marks] for row in drawn} == {
        f"{one} (i_leuven); cpu, Here": ["d2_ss"],
        f"{one} (v_bird); cuda, Here": ["orb"],
        f"{one} (v_bird); cpu, Here; content 3e718090": ["rootsift", "upright_rootsift"],
        f"{one} (v_bird); cpu, Here; content 00000000": ["xfeat"],
    }
    assert {(row.ylabel, row.most) for row in drawn} == {("MMA@3px", 1.0)}
    said = "hpatches: d2_ms is not drawn (it doesn't say what its features cost)"
    assert said in capsys.readouterr().err


def test_an_axis_of_recall_ends_at_all_queries():
    marks = [Mark("a", "orb", {"s": 1.0}, 100.0), Mark("b", "orb", {"s": 4.0}, 90.0)]
    rows = [CostRow("own", "recall", marks, 100.0), CostRow("own", "error", marks)]
    recall, error = draw_costs(rows, {"s": "seconds"}, "here").axes
    assert 80 < recall.get_ylim()[0] < 90 and recall.get_ylim()[1] == 100
    assert error.get_ylim()[1] > 100


def test_it_draws_what_is_known_and_says_what_is_not(tmp_path):
    marks = [Mark("a", "orb", {"s": 1.0, "m": None}, 0.5), Mark("b", "orb", {"s": 40.0}, 0.7)]
    figure = draw_costs([CostRow("own", "MMA", marks)], {"s": "seconds", "m": "MiB"}, "here")
    times, memory = figure.axes
    assert [line.get_xydata().tolist() for line in times.lines] == [[[1.0, 0.5]], [[40.0, 0.7]]]
    assert times.get_xscale() == "log" and not memory.lines
    assert memory.texts[0].get_text() == "no run says it"
