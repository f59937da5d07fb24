import json
import mmap
import os
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from d2eval import __version__
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import git_commit, measure
from d2eval.runs.manifest import SCHEMA, environment, load_manifest, read_manifest, write_manifest

CONTENT = {"benchmark": "hpatches", "top_k": None, "seed": 3, "nested": {"a": [1, 2.5]}}


def test_a_manifest_comes_back(tmp_path):
    write_manifest(tmp_path / "run", CONTENT)
    assert read_manifest(tmp_path / "run") == {"schema": SCHEMA, **CONTENT}
    text = (tmp_path / "run" / "manifest.json").read_text()
    assert json.loads(text) == {"schema": SCHEMA, **CONTENT}
    assert text.endswith("}\n")


def test_paths_become_text(tmp_path):
    write_manifest(tmp_path, {"root": tmp_path})
    assert read_manifest(tmp_path) == {"schema": SCHEMA, "root": str(tmp_path)}


@pytest.mark.parametrize(
    ("schema", "refused"),
    [
        ({}, None),  # of the versions before there was one
        ({"schema": 0}, None),
        ({"schema": SCHEMA}, None),
        ({"schema": SCHEMA + 1}, f"is of schema {SCHEMA + 1}, and this d2eval reads up to"),
        ({"schema": "new"}, "schema is 'new', no number"),
    ],
)
def test_earlier_schemas_are_read_and_later_ones_refused(tmp_path, schema, refused):
    content = {"benchmark": "hpatches", "method": "m", "label": "l", "weights": None}
    content |= {"dataset": {"completeness": "complete"}, **schema}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    if refused is None:
        assert load_manifest(tmp_path, "hpatches").method == "m"
        return
    for read in (read_manifest, lambda folder: load_manifest(folder, "hpatches")):
        with pytest.raises(D2EvalError, match=refused) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "costs",
    [
        {"image_costs": []},
        {"image_costs": {"machines": 3}},
        {"image_costs": {"hosts": ["one", {}]}},
        {"image_costs": {"seconds": 10**400}},
        {"image_costs": {"descriptor_bytes": "many"}},
        {"peak_memory_mib": 10**400},
        {"peak_memory_mib": {}},
    ],
)
def test_costs_that_are_none_are_one_line(tmp_path, costs):
    write_manifest(tmp_path, {**CONTENT, **costs})
    with pytest.raises(D2EvalError, match=r"broken manifest \(costs that are none\)"):
        read_manifest(tmp_path)


def test_a_cost_that_is_not_known_is_read(tmp_path):
    costs = {"image_costs": {"seconds": None, "machines": ["a"], "hosts": []}}
    write_manifest(tmp_path, {**CONTENT, **costs, "peak_memory_mib": float("nan")})
    assert read_manifest(tmp_path)["image_costs"] == costs["image_costs"]


def test_no_manifest(tmp_path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "nowhere") is None


DEEP = b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "broken JSON (Expecting value"),
        (b"{", "broken JSON ("),
        (b'{"a": 1', "broken JSON ("),
        (b"[1, 2]", "broken manifest (no object)"),
        (b"null", "broken manifest (no object)"),
        (b"\xff\xfe", "is UTF-16 text"),
        (DEEP, "broken JSON (nested too deep)"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "broken JSON (nested too deep)"),
        (b'{"a": ' + b"9" * 4301 + b"}", "broken JSON (Exceeds the limit"),
        (b'{"a": 1, "b": 2, "a": 3}', "broken JSON ('a' stands twice)"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, content, expected):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(D2EvalError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)


def test_the_environment_says_what_ran(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py", "hpatches", "--top-k", "5"])
    monkeypatch.setattr("d2eval.runs.manifest.machine", "a GPU at {}".format)
    found = environment("cuda:1")
    assert found["machine"] == "a GPU at cuda:1"
    assert found["command"] == ["d2eval", "hpatches", "--top-k", "5"]
    assert found["device"] == "cuda:1"
    assert found["d2eval"] == __version__
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    import numpy

    assert found["versions"]["numpy"] == numpy.__version__
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["finished"])
    assert -2 < age.total_seconds() < 60


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_commit_and_whether_it_was_changed(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "--no-verify", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "untracked").write_text("")
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == f"{commit}+changes"


def test_no_checkout_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))  # and no git either
    assert git_commit(tmp_path) is None


def test_the_cost_counts_memory_that_was_given_back():
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system can't reset the peak of a process's memory")
    with measure() as small:
        pass
    # Fresh pages, whatever this process has freed before: an allocator may hand out memory that is
    # resident already, which raises no peak.
    with measure() as large, mmap.mmap(-1, 200 << 20) as block:
        block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    assert large.peak_memory_mib > small.peak_memory_mib + 150
    assert 0 <= small.seconds < 5
