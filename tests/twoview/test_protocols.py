import csv

import numpy as np
import pytest
from places import DATA, needs

from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.bundled import bundled
from d2eval.twoview.dataset import list_path, read_list
from d2eval.twoview.protocol import load_two_view

SETS = {
    "megadepth1500": ("loftr", "glue", "xfeat", "rdd", "dad"),
    "scannet1500": ("loftr", "glue", "xfeat"),
}
PROTOCOLS = [f"{name}_{whose}" for name, owners in SETS.items() for whose in owners]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_protocol_is_of_its_1500_pairs(name):
    protocol = load_two_view(name)
    pairs = read_list(list_path(protocol))
    assert len(pairs) == protocol.pairs.count == 1500
    scenes = {pair.scene: 0 for pair in pairs}
    for pair in pairs:
        scenes[pair.scene] += 1
    if name.startswith("megadepth"):
        assert scenes == {"0015": 600, "0022": 900}
    else:
        assert (len(scenes), set(scenes.values())) == (100, {15})
    assert load_protocol(name).content["source"]
    protocol.matcher.config()


@pytest.mark.parametrize("name", SETS)
@needs(DATA / "two-view")
def test_the_lists_have_the_numbers_of_their_sources(name):
    with (DATA / "two-view" / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    poses = np.array([
        [[float(row[f"r{i}{k}"]) for k in "123"] + [float(row[f"t{i}"])] for i in "123"]
        for row in rows
    ])  # fmt: skip
    pairs = read_list(bundled("benchmarks") / "pairs" / f"{name}.csv")
    own = np.array([np.column_stack([p.cameras.rotation, p.cameras.translation]) for p in pairs])
    assert np.abs(own).sum() == np.abs(poses).sum()
    assert own.sum() == poses.sum()
    one = "" if name.startswith("scannet") else "1"  # one camera or two
    second = [[float(row[key + one]) for key in ("fx", "fy", "cx", "cy")] for row in rows]
    assert np.array([pair.cameras.intrinsics[1] for pair in pairs]).tolist() == second
    assert all(pair.names[1].endswith(row["image1"]) for pair, row in zip(pairs, rows, strict=True))


def test_constants_are_those_of_the_papers():
    # Of what papers differ in most: estimator, threshold, size, keypoints.
    found = {}
    for name in PROTOCOLS:
        p = load_two_view(name)
        found[name] = (
            p.estimator.name,
            p.estimator.thresholds_px[0],
            p.resize.size_px,
            p.keypoints,
        )
    assert found == {
        "megadepth1500_loftr": ("opencv", 0.5, [840], None),
        "megadepth1500_glue": ("poselib", 2.0, [1600], 2048),
        "megadepth1500_xfeat": ("poselib", 2.5, [1200], 4096),
        "megadepth1500_rdd": ("opencv", 0.5, [1600], 4096),
        "megadepth1500_dad": ("poselib", 2.0, [], 8192),
        "scannet1500_loftr": ("opencv", 0.5, [640, 480], None),
        "scannet1500_glue": ("opencv", 1.0, [640, 480], 2048),
        "scannet1500_xfeat": ("poselib", 0.5, [], 4096),
    }
    assert len(load_two_view("scannet1500_xfeat").estimator.thresholds_px) == 12
    assert load_two_view("megadepth1500_dad").repeats == 5
    # LoFTR's mean takes one of each image, by what others call a mistake; theirs take all four.
    four, two = ["fx0", "fy0", "fx1", "fy1"], ["fx0", "fy1"]
    focal = {
        name: load_two_view(name).estimator.focal
        for name, own in found.items()
        if own[0] == "opencv"
    }
    assert focal == {
        "megadepth1500_loftr": two, "megadepth1500_rdd": four,
        "scannet1500_loftr": two, "scannet1500_glue": four,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repeats = 0", "repeats 1 or more"),
        ("keypoints = -1", "keypoints must be 0 or more"),
        ('keypoint_origin = "left"', "choose from corner, center"),
        ("pixels = 3", "pixels = 3 must be a str"),
        ('[resize]\nside = "wide"', r"\[resize\] side = 'wide'"),
        ("[resize]\nsize = 3", r"\[resize\] no option 'size'"),
        ("[estimator]\noptions.speed = 3", r"\[estimator\] options: opencv has no 'speed'"),
        ("[errors]\nfailure_deg = 0.0", r"\[errors\] failure_deg"),
        ("[errors]\nthresholds_deg = []", r"\[errors\] thresholds_deg"),
        ('[pairs]\nfile = "a.csv"', r"\[pairs\] lacks count, by_scene"),
        ('without = ["resize"]', r"\[resize\] is missing"),
        ("[matcher]\nname = 3", r"\[matcher\] names none"),
        ('[matcher]\nname = "mine:Matcher"', "is no registered name; name it by --matcher"),
    ],
)
def test_a_mistake_in_a_file_of_the_users_is_one_line(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "twoview"\n{text}\n')
    with pytest.raises(D2EvalError, match=said) as error:
        load_two_view(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_the_users_that_is_missing_or_extends_itself(tmp_path):
    with pytest.raises(D2EvalError, match=r"none\.toml"):
        load_two_view(str(tmp_path / "none.toml"))
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(D2EvalError, match="extends itself"):
        load_two_view(str(tmp_path / "a.toml"))
