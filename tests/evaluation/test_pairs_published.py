import csv
import json

import pytest

from d2eval.contracts.protocol import load_protocol
from d2eval.contracts.registry import registered
from d2eval.evaluation.pairs_published import published_rows
from d2eval.hpatches.homographies.homography import Homography
from d2eval.leaderboard.collect import collect
from d2eval.twoview.twoview import TwoView

COLUMNS = {
    "twoview": ("auc_{}deg", "thresholds_deg"),
    "homography": ("h_auc_{}px", "thresholds_px"),
}
MEASURED = {"auc_5deg": 0.6543, "auc_10deg": 0.79, "auc_20deg": 0.885}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_stand_under_a_protocol_that_measures_them(name):
    column, thresholds = COLUMNS[name]
    rows = published_rows(name)
    for own in rows:
        limits = load_protocol(own.protocol).content["errors"][thresholds]
        assert own.percent.keys() <= {column.format(limit) for limit in limits}
        assert [*own.percent.values()] == sorted(own.percent.values()) and len(own.percent) == 3
        assert own.source and own.row
        assert own.measured_as in ("", *registered())
        assert own.matcher in ("", *registered("matchers"))
    assert len({(own.row, own.part) for own in rows}) == len(rows)
    measured = [(own.measured_as, own.matcher, own.part) for own in rows if own.measured_as]
    assert len({*measured}) == len(measured)  # at most one beside a run


def test_numbers_as_they_were_read():
    by_row = {(own.row, own.part): [*own.percent.values()] for own in published_rows("twoview")}
    assert by_row["SuperPoint + LightGlue", "megadepth1500_glue"] == [66.8, 79.3, 87.9]
    assert by_row["SuperPoint + LightGlue", "megadepth1500_glue (OpenCV)"] == [51.0, 68.1, 80.7]
    assert by_row["RIPE", "megadepth1500_glue (PoseLib, 0.5 px)"] == [55.11, 68.34, 78.03]
    by_row = {(own.row, own.part): [*own.percent.values()] for own in published_rows("homography")}
    part = "hpatches_homography_glue (weighted DLT)"
    assert by_row["SuperPoint + LightGlue", part] == [35.1, 67.2, 77.6]


@pytest.fixture
def write(tmp_path):
    """Writes a run of aliked with LightGlue."""

    def write(label, dataset="complete", *, own_pairs=False, **entries):
        folder = tmp_path / "runs/twoview" / label
        folder.mkdir(parents=True)
        manifest = {
            "benchmark": "twoview", "protocol": "megadepth1500_glue", "label": label,
            "method": "aliked", "matcher": {"name": "lightglue", "default": False}, "weights": None,
            "dataset": {"completeness": dataset, "own_pairs": own_pairs}, **entries,
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest))
        numbers = ",".join(map(str, MEASURED.values()))
        (folder / "summary.csv").write_text(
            f"method,split,pairs,{','.join(MEASURED)},dataset,weights\n"
            + "".join(
                f"{label},{split},9,{numbers},{dataset},fetched\n" for split in ("overall", "0015")
            )
        )
        return tmp_path / "runs"

    return write


def test_published_measured_and_difference(write):
    write("lg")
    write("few", "partial (9 of 1500 pairs)")
    write("mine", own_pairs=True)
    write("less", top_k=100)
    runs = write("tiny", "sample")
    table = TwoView().table(runs)
    records = [*csv.DictReader(table.csv.splitlines())]
    lines = {(r["label"], r["split"]): r for r in records if r["label"]}
    own = lines["lg", "overall"]
    assert own["published_as"] == "ALIKED + LightGlue"
    assert [own[f"auc_{t}deg_published"] for t in (5, 10, 20)] == ["0.664", "0.79", "0.875"]
    differences = [float(own[f"auc_{t}deg_difference"]) for t in (5, 10, 20)]
    assert differences == pytest.approx([-0.0097, 0, 0.01], abs=1e-6)
    assert lines["few", "overall"]["auc_5deg_published"] == "0.664"
    assert lines["few", "overall"]["auc_5deg_difference"] == ""
    beside = {key for key, line in lines.items() if line["published_as"]}
    assert beside == {("lg", "overall"), ("few", "overall")}
    assert "66.4 / 79.0 / 87.5 | 65.4 / 79.0 / 88.5 | -1.0 / +0.0 / +1.0" in table.markdown
    # Others stand alone, and what has other constants in a section of its own.
    alone = [r for r in records if not r["label"]]
    assert sum(r["protocol"] == "megadepth1500_glue" and not r["constants"] for r in alone) == 4
    section = table.markdown.partition("glue, published with other constants")[2]
    assert "| ALIKED + LightGlue     | 52.3 / 68.8 / 81.0 | OpenCV" in section.partition("##")[0]
    assert "lg" not in section.partition("##")[0].split()


def test_the_page_has_them_side_by_side(write):
    write("mine", own_pairs=True)
    (own,) = collect("x", [write("lg")], print)["benchmarks"]
    rows = [
        dict(zip(own["numbers"]["columns"], row, strict=True)) for row in own["numbers"]["rows"]
    ]
    places = {run["label"]: index for index, run in enumerate(own["runs"])}
    published = [r for r in rows if r["published"] is not None]
    beside = [r for r in published if r["run"] is not None]
    assert {r["run"] for r in beside} == {places["lg"]} and len(beside) == 3
    assert {r["subset"] for r in beside} == {"megadepth1500_glue overall"}
    assert beside[0]["difference"] == pytest.approx(0.6543 - 0.664)
    assert "megadepth1500_glue (OpenCV) overall" in {r["subset"] for r in published}


def test_other_benchmarks_of_pairs_have_their_own(tmp_path):
    (tmp_path / "homography").mkdir()
    text = Homography().table(tmp_path).markdown
    assert "| LoFTR | 65.9 / 75.6 / 84.6 |" in text and "with other constants" in text
