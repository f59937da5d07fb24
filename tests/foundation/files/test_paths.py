"""Listing folders: what matches, in order, and never a part in place of the whole."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded, find, listed, walk

PARTS = st.sampled_from(["a", "b1", "b2", "c[x]", "*", "b?", "[ab]*", ".h"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in ("a/b1/x.txt", "a/b2/y.txt", "b1/x.txt", "b1/c[x]/z", "b2", "c[x]/a/b1/q"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


@given(st.lists(PARTS, min_size=1, max_size=3).map("/".join))
def test_it_finds_what_glob_finds_in_readable_folders(tree, pattern):
    assert list(find(tree, pattern)) == sorted(tree.glob(pattern))


def test_all_files_of_a_tree(tree):
    assert list(walk(tree)) == sorted(p for p in tree.rglob("*") if p.is_file())


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert list(find(tmp_path / "none", "*/*")) == []


def forbid(monkeypatch, folder: Path) -> None:
    """Whoever runs the tests may be allowed to read everything; here ``folder`` can't be read."""
    real = os.scandir

    def scandir(path="."):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(folder))
        return real(path)

    def iterdir(self):
        with scandir(self) as entries:
            yield from (Path(entry.path) for entry in entries)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "iterdir", iterdir)


@pytest.mark.parametrize(
    "look",
    [
        lambda root: list(find(root, "*/*/*")),
        lambda root: listed(root / "a"),
        lambda root: list(walk(root)),
    ],
)
def test_a_folder_that_cannot_be_read_is_said_and_not_passed_over(tree, monkeypatch, look):
    forbid(monkeypatch, tree / "a")
    with pytest.raises(D2EvalError, match=r"a: can't be read \(Permission denied\)"):
        look(tree)


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/x") == Path("/somewhere/x")
    with pytest.raises(D2EvalError, match="~nosuchuser/x: no such home folder"):
        expanded("~nosuchuser/x")
