"""Which code a matcher's matches belong to: a file added to our package of matchers isn't ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import d2eval

REPOSITORY = Path(d2eval.__file__).parents[1]
MINE = """
from methods.matchers.mnn import MutualNearest

class Mine(MutualNearest):
    description = "{}"
"""
SOURCES = """
import sys
from d2eval.matcher import matcher_class
from d2eval.source import source_of
for name in sys.argv[1:]:
    source = source_of(matcher_class(name))
    print(source.origin, source.sha256 or "-")
"""


def test_added_and_edited_files(tmp_path):
    for name in ("d2eval", "methods"):
        shutil.copytree(
            REPOSITORY / name, tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__", "weights", "sample"),
        )  # fmt: skip

    def sources() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-B", "-c", SOURCES, "mnn", "methods.matchers.mine:Mine"],
            capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        return done.stdout.splitlines()

    mine = tmp_path / "methods/matchers/mine.py"
    mine.write_text(MINE.format("one"))
    shipped, first = sources()
    assert shipped == "shipped -"
    assert first.startswith("files ")
    mine.write_text(MINE.format("two"))
    shipped, second = sources()
    assert shipped == "shipped -"
    assert second.startswith("files ")
    assert second != first
    path = tmp_path / "methods/matchers/mnn.py"
    path.write_text(path.read_text() + "# edited\n")
    edited, third = sources()
    assert edited.startswith("files ")
    assert third not in (first, second)
