import json
import re

import pytest

import d2eval.contracts.protocol
from d2eval.contracts.protocol import load_protocol, load_toml
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.bundled import bundled


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a benchmark file into a folder that stands for ``benchmarks``."""
    monkeypatch.setattr(d2eval.contracts.protocol, "bundled", lambda _: tmp_path)
    return lambda name, text: (tmp_path / f"{name}.toml").write_text(text)


def test_a_variant_holds_what_differs(write):
    write("a", 'name = "A"\nlist = [1, 2]\n[one]\nx = 1\ny = 2\n[two]\nz = 3\n')
    write("b", 'extends = "a"\nname = "B"\nlist = [3]\n[one]\ny = 9\n[three]\nw = 4\n')
    assert load_protocol("b").content == {
        "name": "B", "list": [3], "one": {"x": 1, "y": 9}, "two": {"z": 3}, "three": {"w": 4},
    }  # fmt: skip
    assert load_protocol("a").content["one"] == {"x": 1, "y": 2}


def test_a_variant_is_without_what_it_says(write):
    write("a", "[one]\nx = 1\ny = 2\n[two.deep]\nz = 3\nw = 4\n[three]\nkind = 5\nold = 6\n")
    write("b", 'extends = "a"\nwithout = ["one.x", "two.deep.z", "three"]\n[three]\nkind = 7\n')
    assert load_protocol("b").content == {
        "one": {"y": 2}, "two": {"deep": {"w": 4}}, "three": {"kind": 7}
    }  # fmt: skip


@pytest.mark.parametrize("entry", ["x", "one.y", "one.x.z", "two.x", ""])
def test_a_variant_without_what_is_not_there(write, entry):
    write("a", "[one]\nx = 1\n")
    write("b", f'extends = "a"\nwithout = ["{entry}"]\n')
    with pytest.raises(D2EvalError, match=rf"b\.toml: without '{entry}', which"):
        load_protocol("b")


@pytest.mark.parametrize("entries", ["nan", "5", "[5]", '"one"'])
def test_without_is_a_list_of_names(write, entries):
    write("a", "[one]\nx = 1\n")
    write("b", f'extends = "a"\nwithout = {entries}\n')
    with pytest.raises(D2EvalError, match=r"b\.toml: without = .* must be a list of names"):
        load_protocol("b")


NUMBERS = 'name = "A"\ntimes = 3\nlist = [1, 2]\n[one]\nx = 1.5\nkind = "k"\n[two]\ny = true\n'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "A"\n', 'name = "Another"\n'),
        ('name = "A"\n', ""),
        ("times = 3\n", "# of what\ntimes  =  3.0  # three\n"),
        ("times = 3\nlist = [1, 2]\n", "list = [\n  1,\n  2,\n]\ntimes = 3\n"),
        ('x = 1.5\nkind = "k"\n', "kind = 'k'\nx = 15e-1\n"),
        ('[one]\nx = 1.5\nkind = "k"\n[two]\ny = true\n', "two.y = true\none = {x=1.5,kind='k'}\n"),
    ],
)
def test_how_a_file_is_written_leaves_its_hash(write, old, new):
    write("a", NUMBERS)
    write("b", NUMBERS.replace(old, new))
    assert NUMBERS.count(old) == 1
    assert load_protocol("b").sha256 == load_protocol("a").sha256


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("times = 3", "times = 4"), ("[1, 2]", "[2, 1]"), ("1.5", "1.5000001"), ('"k"', '"l"'),
        ("true", "false"), ("[two]", "[three]"), ("y = true\n", ""),
        ("y = true", "y = true\nz = 0"),
    ],
)  # fmt: skip
def test_another_number_is_another_hash(write, old, new):
    write("a", NUMBERS)
    write("b", NUMBERS.replace(old, new))
    assert NUMBERS.count(old) == 1
    assert load_protocol("b").sha256 != load_protocol("a").sha256


def test_the_hash_is_of_all_that_it_extends(write):
    write("a", NUMBERS)
    write("b", 'extends = "a"\nname = "B"\n')
    before = load_protocol("b").sha256
    assert before == load_protocol("a").sha256
    write("a", NUMBERS.replace("1.5", "2.5"))
    assert load_protocol("b").sha256 != before


def test_a_variant_s_hash_is_not_of_what_it_is_without(write):
    write("a", NUMBERS)
    write("b", 'extends = "a"\nwithout = ["one"]\n')
    before = load_protocol("b").sha256
    write("a", NUMBERS.replace("1.5", "2.5"))
    assert load_protocol("b").sha256 == before


FILES = sorted(
    set(bundled("benchmarks").glob("*.toml")) - {bundled("benchmarks") / "downloads.toml"}
)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_a_benchmark_file_says_nothing_of_how_results_are_shown(name):
    keys = set(re.findall(r'"(\w+)":', json.dumps(load_protocol(name).content)))
    assert keys & {"thresholds", "thresholds_px", "classes"}
    shown = {"rows", "label", "legend", "title", "color", "line", "line_width", "panels"}
    assert keys.isdisjoint(shown)


def values(content, *tables):
    """Every value that isn't a table, by the names of its tables and its own."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from values(value, *tables, name)
        else:
            yield (*tables, name), value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_variant_shares_stands_once(path):
    own = load_toml(path)
    base = dict(values(load_protocol(own["extends"]).content)) if "extends" in own else {}
    without = [tuple(entry.split(".")) for entry in own.get("without", [])]
    for place, value in values(own):
        taken_over = not any(place[: len(entry)] == entry for entry in without)
        assert not (taken_over and base.get(place) == value), place


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
    assert all(one[name] == other[name] for name in one.keys() - tables - {"name", "source"})
