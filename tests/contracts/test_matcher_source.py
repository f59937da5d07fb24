"""Which code a matcher's matches belong to: a file added to our package of matchers isn't ours."""

from functools import partial

import pytest
from checkouts import copy_checkout, sources

MINE = """
from methods.matchers.mnn import MutualNearest

class Mine(MutualNearest):
    description = "{}"
"""


@pytest.mark.slow  # three processes; methods by the same function are tested by default
def test_added_and_edited_files(tmp_path):
    copy_checkout(tmp_path)
    names = "mnn", "methods.matchers.mine:Mine"
    found = partial(sources, tmp_path, "d2eval.contracts.matcher:matcher_class", *names)
    mine = tmp_path / "methods/matchers/mine.py"
    mine.write_text(MINE.format("one"))
    shipped, first = found()
    assert shipped == "shipped -"
    assert first.startswith("files ")
    mine.write_text(MINE.format("two"))
    shipped, second = found()
    assert shipped == "shipped -"
    assert second.startswith("files ")
    assert second != first
    path = tmp_path / "methods/matchers/mnn.py"
    path.write_text(path.read_text() + "# edited\n")
    edited, third = found()
    assert edited.startswith("files ")
    assert third not in (first, second)
