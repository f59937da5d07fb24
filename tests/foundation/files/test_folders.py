import subprocess
import sys

import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.folders import RECORD, build_once


def build(folder):
    (folder / "images").mkdir()
    (folder / "images" / "1.png").write_bytes(b"pixels")
    (folder / "list.txt").write_bytes(b"1.png\n")


def refuse(folder):
    raise AssertionError("is whole and yet built")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != RECORD}


@pytest.fixture
def target(tmp_path):
    return build_once(tmp_path / "sample" / "set-12", build)


def test_a_folder_is_built_once(target):
    assert contents(target) == {"1.png": b"pixels", "list.txt": b"1.png\n"}
    assert build_once(target, refuse) == target
    assert [path.name for path in target.parent.iterdir()] == ["set-12"]


def test_more_files_do_no_harm(target):
    (target / ".DS_Store").write_bytes(b"a viewer's")
    build_once(target, refuse)


DAMAGES = {
    "changed": lambda target: (target / "images" / "1.png").write_bytes(b"pixelx"),
    "zeros": lambda target: (target / "images" / "1.png").write_bytes(bytes(6)),
    "cut": lambda target: (target / "list.txt").write_bytes(b"1.p"),
    "missing": lambda target: (target / "list.txt").unlink(),
    "record": lambda target: (target / RECORD).write_bytes(bytes(100)),
    "record no object": lambda target: (target / RECORD).write_text("[1]"),
    "record of other values": lambda target: (target / RECORD).write_text('{"list.txt": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_built_again_with_a_note(target, capsys, damage):
    DAMAGES[damage](target)
    assert build_once(target, build) == target
    note = capsys.readouterr().err
    assert note.startswith(f"note: {target}")
    assert note.endswith("; made again\n")
    assert note.count("\n") == 1
    assert contents(target) == {"1.png": b"pixels", "list.txt": b"1.png\n"}
    build_once(target, refuse)
    assert [path.name for path in target.parent.iterdir()] == ["set-12"]


def test_a_folder_of_an_older_version_is_built_again(target, capsys):
    (target / RECORD).unlink()
    build_once(target, build)
    assert capsys.readouterr().err == ""
    build_once(target, refuse)


BUILDER = """
import sys, time
from pathlib import Path
from d2eval.foundation.files.folders import build_once
def build(folder):
    (folder / "file").write_bytes(b"half")
    print("building", flush=True)
    sys.stdin.read()
build_once(Path(sys.argv[1]), build)
"""


def test_what_a_killed_build_left_goes(tmp_path):
    target = tmp_path / "sample" / "set-12"
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(target)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "building\n"
        assert len(list(target.parent.iterdir())) == 1
        build_once(target.with_name("set-13"), build)  # the other build is alive
        assert len(list(target.parent.iterdir())) == 2
        process.kill()
    build_once(target.with_name("set-13"), refuse)
    assert [path.name for path in target.parent.iterdir()] == ["set-13"]


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "file").write_bytes(b"")
        raise OSError(28, "No space left on device")

    with pytest.raises(D2EvalError, match=r"set-12: can't be written \(No space left on device"):
        build_once(tmp_path / "set-12", fail)
    assert list(tmp_path.iterdir()) == []
