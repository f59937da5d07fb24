import hashlib

import pytest

import d2eval.protocol
from d2eval.errors import D2EvalError
from d2eval.protocol import load_protocol


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a benchmark file into a folder that stands for ``benchmarks``."""
    monkeypatch.setattr(d2eval.protocol, "files", lambda _: tmp_path)
    return lambda name, text: (tmp_path / f"{name}.toml").write_text(text)


def test_a_variant_holds_what_differs(write):
    write("a", 'name = "A"\nlist = [1, 2]\n[one]\nx = 1\ny = 2\n[two]\nz = 3\n')
    write("b", 'extends = "a"\nname = "B"\nlist = [3]\n[one]\ny = 9\n[three]\nw = 4\n')
    assert load_protocol("b").content == {
        "name": "B", "list": [3], "one": {"x": 1, "y": 9}, "two": {"z": 3}, "three": {"w": 4},
    }  # fmt: skip
    assert load_protocol("a").content["one"] == {"x": 1, "y": 2}


def test_the_hash_is_of_all_that_it_extends(write, tmp_path):
    write("a", "x = 1\n")
    write("b", 'extends = "a"\n')
    assert load_protocol("a").sha256 == hashlib.sha256(b"x = 1\n").hexdigest()
    before = load_protocol("b").sha256
    write("a", "x = 2\n")
    assert load_protocol("b").sha256 != before


def test_a_file_that_extends_nothing_known(write):
    write("b", 'extends = "a"\n')
    with pytest.raises(D2EvalError, match=r"a\.toml: "):
        load_protocol("b")


def test_the_demos_variant_of_inloc_differs_in_its_faults_alone():
    one, other = load_protocol("inloc").content, load_protocol("inloc_demo").content
    assert other.keys() == one.keys()
    differ = {
        (name, key): (value, other[name][key])
        for name, table in one.items()
        if isinstance(table, dict)
        for key, value in table.items()
        if other[name][key] != value
    }
    assert differ == {
        ("dense", "cell_point"): ("center", "inloc_demo"),
        ("dense", "ransac"): ("poselib", "inloc_demo"),
        ("p3p", "rotation"): ("own", "first"),
        ("p3p", "keypoints"): ("center", "inloc_demo"),
    }
    tables = {name for name, value in one.items() if isinstance(value, dict)}
    assert all(one[name] == other[name] for name in one.keys() - tables - {"name"})
