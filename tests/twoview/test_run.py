import csv
import json
import shutil

import numpy as np
import pytest
from fountain_pairs import make_fountain_pairs
from hololens_pairs import make_hololens_pairs
from places import DATA, needs

import d2eval
from d2eval.cli import main
from d2eval.contracts.options import Runtime
from d2eval.contracts.weights import WeightsInfo
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography import error_auc
from d2eval.report.figures import Sources
from d2eval.runs.measured import RunPlace
from d2eval.sample.twoview import make_twoview_sample
from d2eval.twoview.dataset import COLUMNS, read_list
from d2eval.twoview.twoview import TwoView
from methods.modern.binary import Orb

THIRD = """
extends = "twoview"
without = ["estimator.options"]
name = "Mine"
source = "me"
overlaps = ["Square/1", "Square/2"]
keypoints = 300
repeats = 2
[resize]
side = "long"
size_px = [256]
interpolation = "antialias"
[pairs]
file = "list.csv"
count = 2
by_scene = true
[estimator]
name = "poselib"
options = {}
thresholds_px = [1.0, 3.0]
[errors]
thresholds_deg = [2, 30]
"""


class Seen(Orb):
    weights = WeightsInfo("seen", "mine", "0" * 64, trained_on=("Other", "Square/2"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def sample(cache):
    return make_twoview_sample(cache)


@pytest.fixture(scope="module")
def found(cache, tmp_path_factory):
    """A run on the sample, to be looked at only."""
    return d2eval.evaluate("twoview", "orb", cache=cache, output=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def folder(found, tmp_path):
    """Its folder, which may be changed."""
    return shutil.copytree(found.folder, tmp_path / "twoview" / found.folder.name)


def test_the_poses_of_the_sample_are_those_of_its_pictures(found, cache):
    assert len(found.rows) == 6
    summary = found.summary.iloc[0]
    assert summary["dataset"] == "sample"
    assert summary["epipolar_precision_5e-04"] > 0.6
    assert summary["auc_10deg"] > 0.7
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert manifest["protocol"] == "twoview"
    assert len(manifest["protocol_sha256"]) == 64
    costs = manifest["image_costs"]
    assert costs["seconds"] == pytest.approx(summary["seconds_per_image"])
    assert costs["descriptor_bytes"] == pytest.approx(4 * 256 * summary["mean_features"])
    assert costs["peak_memory_mib"] == pytest.approx(summary["peak_memory_mib"])
    assert manifest["machine"].endswith(" processors")
    # A picture counts its matches as the row does.
    benchmark, run = TwoView(), RunPlace("orb", found.folder)
    item = benchmark.item_names(run.path, run.label)[0]
    legend = benchmark.view([run], item, Sources(cache)).axes[0].get_legend().get_texts()
    counts = [int(text.get_text().rpartition(": ")[2].replace(",", "")) for text in legend]
    row = found.rows.iloc[0]
    assert sum(counts) == row["matches"]
    assert sum(counts[:2]) / sum(counts) == pytest.approx(row["epipolar_precision_5e-04"])


def csv_rows(path):
    return [*csv.DictReader(path.read_text().splitlines())]


@pytest.mark.parametrize("lost", ["protocol", "own_pairs"])
def test_a_manifest_that_lacks_its_protocol_or_pairs_is_named(lost, folder, tmp_path, capsys):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    (content if lost in content else content["dataset"]).pop(lost)
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["tables", "twoview", "--runs", str(tmp_path), "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{path}: lacks {lost}" in error


def test_a_number_that_is_none_is_named_by_its_file(folder, tmp_path, capsys):
    path = folder / "summary.csv"
    header, row = path.read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True), auc_5deg="2.O")
    path.write_text(f"{header}\n{','.join(cells.values())}\n")
    assert main(["plot", "twoview", "--runs", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert f"{path}: auc_5deg of split overall is '2.O'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_third_partys_protocol_runs_by_its_path(sample, cache, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(sample, root)
    lines = (root / "pairs.csv").read_text().splitlines()
    (root / "pairs.csv").unlink()
    (tmp_path / "list.csv").write_text("\n".join([*lines[:2], lines[2].replace("square", "other")]))
    (tmp_path / "mine.toml").write_text(THIRD)
    runs = tmp_path / "runs"
    command = ["twoview", "--method", "orb", "--data", str(root), "--cache", str(cache)]
    assert main([*command, "--protocol", str(tmp_path / "mine.toml"), "--output", str(runs)]) == 0
    capsys.readouterr()
    manifest = json.loads((runs / "twoview/orb-mine/manifest.json").read_text())
    assert manifest["dataset"]["completeness"] == "complete"
    assert manifest["features"]["config"]["resized"]["size_px"] == [256]
    header, *rows = (runs / "twoview/orb-mine/pairs.csv").read_text().splitlines()
    assert "pose_error_deg_at_3px_run_2" in header.split(",")
    assert [row.split(",")[3] for row in rows] == ["square", "other"]
    features = [int(row.split(",")[4]) for row in rows]
    assert max(features) <= 300
    # Its row stands in a part of its own, beside those of other protocols.
    assert main([*command, "--output", str(runs), "--top-k", "300", "--protocol", "twoview"]) == 2
    assert "pairs.csv: is missing" in capsys.readouterr().err
    assert main(["tables", "twoview", "--runs", str(runs), "--output", str(tmp_path)]) == 0
    assert "## mine" in (tmp_path / "twoview.md").read_text()
    assert main(["plot", "twoview", "--runs", str(runs), "--output", str(tmp_path)]) == 0
    assert (tmp_path / "twoview_mine.png").is_file()
    view = [
        "view",
        "twoview",
        "--run",
        "orb-mine",
        "--worst",
        "1",
        "--runs",
        str(runs),
        "--cache",
        str(cache),
    ]
    assert main([*view, "--output", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 1
    (tmp_path / "mine.toml").write_text(THIRD.replace("256", "257"))
    assert main([*view, "--output", str(tmp_path / "pictures")]) == 2
    assert "mine.toml: has other numbers than for" in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text(THIRD)
    # Of a method that was trained on what is measured, every table, figure and page says so.
    settings = {"output": runs, "cache": cache, "name": "seen"}
    chosen = {"data": root, "protocol": str(tmp_path / "mine.toml")}
    found = d2eval.evaluate("twoview", Seen(Seen.Config(), Runtime()), **chosen, **settings)
    assert "trained on the benchmark's Square 2" in capsys.readouterr().err
    assert json.loads((found.folder / "manifest.json").read_text())["leaks"] == ["Square/2"]
    written = ["--runs", str(runs), "--output", str(tmp_path)]
    assert main(["tables", "twoview", *written, "--format", "csv,md,latex"]) == 0
    rows = [row for row in csv_rows(tmp_path / "twoview.csv") if row["label"]]
    leaks = {row["label"]: row["leak"] for row in rows}
    assert leaks == {"orb-mine": "", "seen": "Square 2"}
    markdown = (tmp_path / "twoview.md").read_text()
    assert {line.split("|")[2].strip() for line in markdown.splitlines() if "| seen" in line} == {
        "Square 2"
    }
    assert "- Leak: of this data" in markdown
    assert "seen & Square 2 &" in (tmp_path / "twoview.tex").read_text()
    assert main(["plot", "twoview", *written]) == 0
    assert "leak -->" in (tmp_path / "twoview_mine.svg").read_text()
    assert main(["report", "--runs", str(runs), "--output", str(tmp_path / "page.html")]) == 0
    page = json.loads((tmp_path / "results.json").read_text())["reports"][0]["benchmarks"][0]
    assert [run["badges"] for run in page["runs"]] == [[], ["leak: Square 2"]]
    frame = d2eval.load_runs(runs, "twoview")
    assert set(frame.loc[frame["run"] == "seen", "leak"]) == {"Square 2"}


def test_intervals_and_areas_are_at_the_run_s_own_thresholds(tmp_path):
    """A protocol's file that d2eval doesn't have, any more or on this machine."""
    folder = tmp_path / "twoview/theirs"
    folder.mkdir(parents=True)
    content = {
        "benchmark": "twoview", "method": "orb", "label": "theirs", "weights": None,
        "protocol": "theirs", "dataset": {"completeness": "complete", "own_pairs": True},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content))
    errors = [1.0, 6.0, 2.0, 3.0, np.inf, 0.5, 4.0]
    rows = [f"s{i},a{i},b{i},pairs,9,{error}" for i, error in enumerate(errors)]
    header = "scene,image0,image1,split,matches,pose_error_deg"
    (folder / "pairs.csv").write_text("\n".join([header, *rows]) + "\n")
    areas = {t: error_auc(errors, t) for t in (2.5, 7)}
    (folder / "summary.csv").write_text(
        "method,split,pairs,auc_2.5deg,auc_7deg,dataset,weights\n"
        f"theirs,overall,7,{areas[2.5]},{areas[7]},complete,none\n"
    )
    numbers = d2eval.load_runs([tmp_path], benchmark="twoview").set_index(["metric", "threshold"])
    for threshold, area in areas.items():
        own = numbers.loc["auc", threshold]
        assert own["value"] == pytest.approx(area)
        assert own["low"] < area < own["high"]
    items = TwoView().items_of(folder, "theirs")
    found = {s.measure.threshold: s.measure for s in items.series if s.measure.name == "auc"}
    for threshold, area in areas.items():
        assert found[threshold].statistic.of(np.array(errors)) == pytest.approx(area)
        assert found[threshold].text == f"pose AUC@{threshold} deg"


def test_a_part_of_a_protocols_images_is_partial(sample, tmp_path):
    from d2eval.twoview.dataset import load_pairs
    from d2eval.twoview.protocol import load_two_view

    protocol = load_two_view("megadepth1500_loftr")
    first = read_list(protocol.folder / protocol.pairs.file)[0]
    picture = next(sample.glob("*.jpg"))
    for name in first.names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, tmp_path / name)
    found = load_pairs(tmp_path, protocol)
    assert found.completeness == "partial (1 of 1500 pairs)"
    assert [pair.split for pair in found.pairs] == ["0015"]
    (tmp_path / first.names[0]).unlink()
    with pytest.raises(D2EvalError, match="holds no pair of MegaDepth-1500"):
        load_pairs(tmp_path, protocol)


def test_only_a_protocols_list_has_intrinsics_of_another_size(sample, tmp_path):
    from d2eval.twoview.dataset import load_pairs
    from d2eval.twoview.protocol import load_two_view

    protocol = load_two_view("scannet1500_loftr")
    own = load_pairs(sample, protocol).pairs[0].truth
    assert not own.size_px  # its intrinsics are those of the images on disk
    first = read_list(protocol.folder / protocol.pairs.file)[0]
    for name in first.names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [*load_pairs(tmp_path, protocol).pairs[0].truth.size_px] == [640, 480]


NUMBERS = "500 500 320 240 500 500 320 240 1 0 0 1 0 1 0 0 0 0 1 0"
LINE = ["s", "a.jpg", "b.jpg", *NUMBERS.split()]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fx0", "wide", "must be numbers"), ("t1", "nan", "must be numbers"),
        ("fy1", "-500", "focal length"), ("r11", "2", "no rotation"), ("r33", "-1", "no rotation"),
        ("t1", "0", "in one place"), ("image0", "../a.jpg", "image name"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path, column, value, said):
    line = [value if name == column else own for name, own in zip(COLUMNS, LINE, strict=True)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join([",".join(COLUMNS), ",".join(line)]))
    with pytest.raises(D2EvalError, match=f"line 2: .*{said}"):
        read_list(path)


def test_a_list_lacks_a_column_or_holds_a_pair_twice(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join([",".join(COLUMNS), ",".join(LINE), ",".join(LINE)]))
    with pytest.raises(D2EvalError, match="line 3: the pair stands twice"):
        read_list(path)
    path.write_text("scene,image0,image1\n")
    with pytest.raises(D2EvalError, match="the header lacks fx0"):
        read_list(path)
    path.write_text(",".join(COLUMNS))
    with pytest.raises(D2EvalError, match="lists no pair"):
        read_list(path)
    path.write_text('"scene')
    with pytest.raises(D2EvalError, match="line 1: unexpected end of data"):
        read_list(path)


def test_check_data_names_what_is_missing(sample, tmp_path, capsys):
    assert main(["check-data", "twoview", str(sample)]) == 0
    root = tmp_path / "data"
    shutil.copytree(sample, root)
    (root / "0002.jpg").unlink()
    assert main(["check-data", "twoview", str(root)]) == 2
    assert "0002.jpg: no such image" in capsys.readouterr().out


@pytest.mark.slow
@needs(DATA / "aachen-fountain")
def test_real_pairs_of_a_fountain(tmp_path):
    root = make_fountain_pairs(DATA / "aachen-fountain", tmp_path / "data")
    found = d2eval.evaluate("twoview", "rootsift", data=root, cache=tmp_path, output=tmp_path)
    assert len(found.rows) == 88
    day = ~(found.rows["image0"].str.contains("night") | found.rows["image1"].str.contains("night"))
    near = found.rows[day & (found.rows["matches"] > 500)]
    assert np.median(near["pose_error_deg"]) < 1
    assert found.summary.iloc[0]["auc_10deg"] > 0.5


@pytest.mark.slow
@needs(DATA / "inloc-hololens")
def test_real_pairs_of_rooms(tmp_path):
    root = make_hololens_pairs(tmp_path / "data")
    options = {"data": root, "cache": tmp_path, "output": tmp_path, "top_k": 1024}
    found = d2eval.evaluate("twoview", "rootsift", **options)
    assert len(found.rows) == 81
    matched = found.rows[found.rows["inliers"] > 100]
    assert len(matched) > 10
    assert np.median(matched["rotation_error_deg"]) < 1  # poses of truth are that good
    assert np.median(matched["pose_error_deg"]) < 5
    assert 0.1 < found.summary.iloc[0]["auc_10deg"] < 0.4


@pytest.mark.slow
def test_features_made_elsewhere_are_taken_as_they_are(sample, cache, tmp_path, capsys):
    made = tmp_path / "made"
    arguments = ["--method", "orb", "--cache", str(cache)]
    assert main(["extract", str(sample), *arguments, "--output", str(made)]) == 0
    text = 'extends = "twoview"\n[resize]\nside = "long"\nsize_px = [300]\n'
    (tmp_path / "small.toml").write_text(text)
    command = ["twoview", "--method", f"precomputed:{made}", "--data", str(sample)]
    command += ["--cache", str(cache), "--output", str(tmp_path)]
    assert main([*command, "--protocol", str(tmp_path / "small.toml")]) == 0
    assert "images were not resized here" in capsys.readouterr().err
