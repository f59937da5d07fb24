"""What names nothing, or covers only part, is told by a run and by check-data alike."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from inloc_folder import CUTOUTS, POSES, Q1, Q2, SIZE, InlocFolder
from places import CASES, DATA, SHARED, needs

from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.data.check import check
from d2eval.inloc.data.dataset import load_dataset
from d2eval.inloc.protocol import load_benchmark

LINE = f"PINHOLE {SIZE[0]} {SIZE[1]} 10.5 11 3.5 2.5"


@pytest.fixture
def folder(tmp_path):
    return InlocFolder(tmp_path / "data")


def told(root: Path) -> tuple[str, ...]:
    """The notes of a run, which are those of check-data."""
    found = check(root, load_benchmark())
    notes = load_dataset(root, load_benchmark()).notes
    assert not found.problems
    assert sorted(f"note: {note}" for note in notes) == [
        line for line in sorted(found.lines) if line.startswith("note: ")
    ]
    return notes


def refused(root: Path) -> str:
    """The error of a run, which is a problem of check-data."""
    with pytest.raises(D2EvalError) as error:
        load_dataset(root, load_benchmark())
    assert str(error.value) in check(root, load_benchmark()).problems
    return str(error.value)


def test_nothing_is_told_of_what_fits(folder):
    folder.intrinsics = [f"{Q1} {LINE}", f"query/iphone7/{Q2} {LINE}"]
    assert told(folder.write()) == ()


def test_intrinsics_of_a_part_and_of_what_is_not_there(folder):
    folder.intrinsics = [f"{Q1} {LINE}", f"IMG_9999.JPG {LINE}", f"{Q2.lower()} {LINE}"]
    path = folder.write() / "query/intrinsics.txt"
    assert told(folder.root) == (
        f"{path}: 2 names are no query and not used: IMG_9999.JPG, {Q2.lower()}",
        f"{path}: 1 queries have no line and get the protocol's focal length: {Q2}",
    )


def test_intrinsics_of_no_query_are_refused(folder):
    folder.intrinsics = [f"IMG_9999.JPG {LINE}"]
    path = folder.write() / "query/intrinsics.txt"
    assert refused(folder.root).startswith(f"{path}: none of its 1 names is a query: IMG_9999.JPG")


def test_intrinsics_without_a_line_are_refused(folder):
    folder.intrinsics = ["# nothing"]
    assert "intrinsics.txt: no camera; add lines" in refused(folder.write())


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(folder, mark):
    folder.intrinsics = [f"{Q1} {LINE}", f"{Q2} {LINE}"]
    path = folder.write() / "query/intrinsics.txt"
    path.write_bytes(mark + path.read_bytes())
    assert told(folder.root) == ()
    camera = load_dataset(folder.root, load_benchmark()).query_camera(Q1, SIZE)
    assert camera.params.tolist() == [10.5, 11, 3.5, 2.5]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_intrinsics_that_are_no_file_are_not_taken_for_none(folder, kind):
    path = folder.write() / "query/intrinsics.txt"
    if kind == "link":
        path.symlink_to("nothing.txt")
        assert refused(folder.root) == f"{path}: is missing; add it"
    else:
        path.mkdir()
        assert refused(folder.root) == f"{path}: is a folder, not a file; give a file"


def test_references_of_a_part_and_of_a_floor_without_cutouts(folder):
    folder.poses = {"DUC1": {Q1: POSES["DUC1"][Q1]}, "CSE3": {"IMG_9999.JPG": np.eye(4)[:3]}}
    root = folder.write()
    assert told(root) == (
        "1 queries with a reference pose are missing and count as failures: IMG_9999.JPG",
        f"1 queries have no reference pose and aren't scored: {Q2}",
        f"{folder.references}: no cutout is of floor CSE3, so that its queries count as failures",
    )


def test_references_of_no_query_are_refused(folder):
    folder.poses = {"DUC1": {"IMG_9999.JPG": np.eye(4)[:3]}}
    root = folder.write()
    expected = f"{folder.references}: none of its 1 names is a query: IMG_9999.JPG"
    assert refused(root).startswith(expected)


def test_retrieval_of_a_part_and_repeated_lines(folder):
    folder.scores = np.zeros((0, 0))
    folder.pairs = {"pairs-query-x.txt": [f"{Q1} {CUTOUTS[0]}", f"{Q1} {CUTOUTS[0]}"]}
    path = folder.write() / "pairs-query-x.txt"
    assert told(folder.root) == (
        f"{path}: 1 lines repeat a pair; the first ones count",
        f"{path}: 1 queries have no cutout: {Q2}",
    )


def test_alignments_and_scans_of_what_is_not_there(folder):
    root = folder.write()
    shutil.copy(folder.alignment("DUC1", "000"), folder.alignment("DUC1", "777"))
    shutil.copy(folder.scan("DUC1", "000"), folder.scan("DUC1", "778"))
    assert told(root) == (
        "1 alignments are of scans without cutouts and not used: DUC1/777",
        "1 point clouds are of scans without cutouts and not used: DUC1/778",
    )


def test_two_alignments_of_one_scan_are_refused(folder):
    root = folder.write()
    path = folder.alignment("DUC1", "000")
    shutil.copy(path, path.with_name("cse_trans_000.txt"))
    for look in (load_dataset, check):
        with pytest.raises(D2EvalError, match=r"is of the same scan as DUC_trans_000\.txt") as told:
            look(root, load_benchmark())
        assert "\n" not in str(told.value)


@needs(CASES)
def test_real_intrinsics_with_a_byte_order_mark(tmp_path):
    root = tmp_path / "hololens"
    shutil.copytree(DATA / "inloc-hololens", root, symlinks=True)
    path = root / "query/intrinsics.txt"
    plain = load_dataset(root, load_benchmark())
    path.chmod(0o644)
    path.write_bytes((SHARED / "cases/inloc_intrinsics_names/bom.txt").read_bytes())
    marked = load_dataset(root, load_benchmark())
    assert marked.notes == plain.notes
    assert {name: str(c) for name, c in marked.intrinsics.items()} == {
        name: str(c) for name, c in plain.intrinsics.items()
    }


@pytest.mark.parametrize(
    ("protocol", "used", "spare"),
    [
        ("inloc", "inputs/scores.mat", "pairs-query-a.txt"),
        ("inloc_hloc", "pairs-query-a.txt", "inputs/scores.mat"),
    ],
)
def test_a_second_retrieval_list_is_not_passed_over(folder, protocol, used, spare):
    names = [CUTOUTS[k] for k in (3, 2, 1, 0)]
    folder.scored, folder.scores = ([Q1, Q2], names), np.eye(2, 4)
    folder.pairs = {"pairs-query-a.txt": [f"{query} {CUTOUTS[0]}" for query in (Q1, Q2)]}
    root, benchmark = folder.write(), load_benchmark(protocol)
    line = (
        f"2 retrieval lists: {used} is used, which protocol {protocol} takes first, and not {spare}"
    )
    assert line in load_dataset(root, benchmark).notes
    assert f"note: {line}" in check(root, benchmark).lines
    named = load_dataset(root, benchmark, retrieval=root / spare).notes
    assert not any("retrieval lists" in note for note in named)
