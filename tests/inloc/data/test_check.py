from pathlib import Path

import numpy as np
import pytest
import scipy.io
from inloc_folder import CUTOUTS, Q1, Q2, SIZE, InlocFolder
from PIL import Image
from places import DATA, needs

from d2eval.cli import main

HOLOLENS = DATA / "inloc-hololens"
needs_data = needs(HOLOLENS)
FULL = (
    "a full set: 356 queries, 9972 cutouts, 277 scans (DUC1 50, DUC2 80, CSE3 7, CSE4 75, "
    "CSE5 65), 36 cutouts a scan"
)
SOUND = "sound: the files fit each other, and the depth has the sizes of the images"
LINE = "PINHOLE 8 6 10 10 4 3"


@pytest.fixture
def folder(tmp_path):
    return InlocFolder(tmp_path / "data")


@pytest.fixture
def check(capsys):
    """Runs ``d2eval check-data inloc``: (exit code, lines that are no problems, problems)."""

    def check(path: Path) -> tuple[int, list[str], list[str]]:
        code = main(["check-data", "inloc", str(path)])
        out, error = capsys.readouterr()
        assert error == ""
        lines = out.splitlines()
        problems = [line for line in lines if line.startswith("problem: ")]
        assert lines[len(lines) - len(problems) :] == problems  # they come last
        return code, lines[: len(lines) - len(problems)], problems

    return check


def test_a_sound_part(check, folder):
    folder.intrinsics = [f"{Q1} {LINE}"]
    folder.poses["DUC2"]["IMG_0009.JPG"] = np.eye(4)[:3]
    del folder.poses["DUC2"][Q2]
    root = folder.write()
    folder.scan("DUC1", "001").unlink()
    assert check(root) == (0, [
        f"InLoc in {root}: partial (2 of 356 queries, 4 of 9972 cutouts, 3 of 277 scans)",
        "queries: 2, 1 with intrinsics of their own",
        "cutouts: 4 (DUC1 3 of 2 scans, DUC2 1 of 1 scans)",
        "scans with cutouts: 3, 3 with an alignment, 2 with a point cloud",
        "reference poses: 2 (DUC1 1, DUC2 1)",
        "retrieval: inputs/scores.mat: 2 queries, each with 4 cutouts",
        FULL,
        "lacking: 48 of 50 scans of DUC1, 79 of 80 scans of DUC2, 7 of 7 scans of CSE3, 75 of 75 "
        "scans of CSE4, 65 of 65 scans of CSE5",
        "scans without all 36 cutouts: 3: DUC1/000 (2), DUC1/001 (1), DUC2/000 (1)",
        "no point cloud, so no pose verification, of 1 scans: DUC1/001",
        f"note: {root / 'query/intrinsics.txt'}: 1 queries have no line and get the protocol's "
        f"focal length: {Q2}",
        "note: 1 queries with a reference pose are missing and count as failures: IMG_0009.JPG",
        f"note: 1 queries have no reference pose and aren't scored: {Q2}",
        SOUND,
    ], [])  # fmt: skip


def test_a_folder_without_lists(check, folder):
    folder.poses, folder.scores = {}, np.zeros(0)
    folder.pairs = {"pairs-query-x.txt": [f"{Q1} {CUTOUTS[0]}", f"{Q2} {CUTOUTS[3]}",
                                          f"{Q2} {CUTOUTS[0]}"]}  # fmt: skip
    root = folder.write()
    _, lines, _ = check(root)
    assert lines[4:6] == [
        "reference poses: none",
        "retrieval: pairs-query-x.txt: 2 queries, each with 1 to 2 cutouts",
    ]
    (root / "pairs-query-x.txt").unlink()
    assert check(root)[1][5] == "retrieval: no list"


def test_all_problems_are_listed_at_once(check, folder):
    folder.intrinsics = [f"{Q1} PINHOLE 6 8 10 10 3 4"]
    folder.pairs = {"pairs-query-x.txt": [f"{Q1} DUC1/x"]}
    root = folder.write()
    folder.score_matrix.unlink()
    folder.query(Q2).write_text("no image")
    folder.depth(0).unlink()
    scipy.io.savemat(folder.depth(1), {"XYZcut": np.zeros((8, 6, 3))})
    scipy.io.savemat(folder.depth(2), {"RGBcut": np.zeros((6, 8, 3))})
    folder.depth(3).write_bytes(folder.depth(3).read_bytes()[:-40])
    folder.alignment("DUC1", "000").write_text("1 0 0 0\n")
    folder.alignment("DUC2", "000").unlink()
    folder.references.write_text("no references")
    scipy.io.savemat(folder.scan("DUC1", "001"), {"B": 1.0})
    folder.scan("DUC2", "000").write_bytes(b"")
    code, lines, problems = check(root)
    assert code == 2
    assert "scans with cutouts: 3, 2 with an alignment, 3 with a point cloud" in lines
    expected = [
        f"{folder.query(Q2)}: is not an image",
        f"1 queries are not of the size of their line: {Q1} ({SIZE[0]}x{SIZE[1]}, not 6x8)",
        f"1 cutouts without depth: {CUTOUTS[0]}; add",
        f"{folder.depth(1)}: XYZcut is 8x6x3, but its image is 8x6",
        f"{folder.depth(2)}: has no XYZcut",
        f"{folder.depth(3)}: broken .mat file (cut short: 40 bytes are missing)",
        "1 scans have no alignment: DUC2/000",
        f"{folder.alignment('DUC1', '000')}: 1 lines, but",
        f"{folder.scan('DUC1', '001')}: has no A of 1x7 cells",
        f"{folder.scan('DUC2', '000')}: broken .mat file",
        f"{folder.references}: broken .mat file",
        "pairs-query-x.txt: names 1 unknown images, no cutout in database/cutouts: DUC1/x",
    ]
    assert len(problems) == len(expected)
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem


def test_images_that_are_missing(check, folder):
    root = folder.write()
    for path in (folder.query(Q1), folder.query(Q2), *map(folder.cutout, range(4))):
        path.unlink()
    code, _, problems = check(root)
    assert code == 2
    assert problems[:2] == [
        f"problem: {root / 'query/iphone7'}: no images; add them",
        f"problem: {root / 'database/cutouts'}: no images; add them",
    ]


def test_a_query_is_not_turned_by_exif(check, folder):
    folder.intrinsics = [f"{Q1} {LINE}"]
    root = folder.write()
    image = Image.new("RGB", SIZE)
    exif = image.getexif()
    exif[274] = 6  # orientation: a quarter turn
    image.save(folder.query(Q1), format="JPEG", exif=exif)
    assert check(root)[0] == 0


def test_no_folder(capsys, tmp_path):
    assert main(["check-data", "inloc", str(tmp_path / "nothing")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "nothing: no such folder" in error


@needs_data
def test_the_real_building(check):
    code, lines, problems = check(HOLOLENS)
    assert (code, problems) == (0, [])
    assert lines[:6] == [
        f"InLoc in {HOLOLENS}: partial (16 of 356 queries, 60 of 9972 cutouts, 14 of 277 scans)",
        "queries: 16, 16 with intrinsics of their own",
        "cutouts: 60 (DUC1 35 of 8 scans, DUC2 25 of 6 scans)",
        "scans with cutouts: 14, 14 with an alignment, 14 with a point cloud",
        "reference poses: 16 (DUC1 9, DUC2 7)",
        "retrieval: inputs/scores.mat: 16 queries, each with 60 cutouts",
    ]
    assert lines[-1] == SOUND
