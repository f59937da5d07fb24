import sqlite3
from contextlib import closing
from pathlib import Path

import aachen_folder
import numpy as np
import pycolmap
import pytest
from places import DATA, needs

from d2eval.aachen.data.database import read_database
from d2eval.aachen.data.parsing import read_intrinsics, read_nvm, read_pairs
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import center


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, ""]))
    return path


def message(reader, path: Path) -> str:
    """The error without the file's name, which comes first."""
    with pytest.raises(D2EvalError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def change(path: Path, statement: str, *values: object) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)
    return path


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "database.db"
    aachen_folder.write_database(path, ["db/1.png", "query/a.png"])
    return path


def test_a_pose_from_nvm_by_hand(tmp_path):
    # A quarter turn about x: R = [[1 0 0] [0 0 -1] [0 1 0]], and c = (1, 2, 3): -R c = (-1, 3, -2)
    half = repr(0.5**0.5)
    path = write(
        tmp_path / "m.nvm",
        "NVM_V3",
        "",
        "2",
        f"db/1.jpg 500 {half} {half} 0 0 1 2 3 0.1 0",
        "db/2.jpg\t500 1 0 0 0 4 5 6 0 0",
        "",
        "1",
        "0 0 0 255 255 255 1 0 0 1 1",
    )
    poses = read_nvm(path)
    assert list(poses) == ["db/1.jpg", "db/2.jpg"]
    turned = poses["db/1.jpg"]
    expected = [[1, 0, 0, -1], [0, 0, -1, 3], [0, 1, 0, -2]]
    np.testing.assert_allclose(turned.matrix(), expected, atol=1e-12)
    np.testing.assert_allclose(center(turned), [1, 2, 3], atol=1e-12)
    np.testing.assert_allclose(poses["db/2.jpg"].translation, [-4, -5, -6])


CAMERA = "db/1.jpg 500 1 0 0 0 1 2 3 0 0"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "not NVM_V3 and a number"),
        (["NVM_V2", "1", CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", "2", CAMERA], "fewer than the 2 cameras"),
        (["NVM_V3", "", "2", CAMERA, "", "0"], "fewer than the 2 cameras"),
        (["NVM_V3", "", "0", "", "0"], "no camera in the first model"),
        (["NVM_V3", "", "2", CAMERA, CAMERA], "line 5: db/1.jpg stands twice"),
        (["NVM_V3", "", "1", CAMERA + " 0"], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", "db/1.jpg 500 1 0 0 0 1 2 3 0"], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", CAMERA.replace("500", "f")], "line 4: not `name f qw qx"),
        (["NVM_V3", "", "1", CAMERA.replace("1 0 0 0", "0 0 0 0")], "line 4: no pose"),
        (["NVM_V3", "", "1", CAMERA.replace("1 2 3", "1 nan 3")], "line 4: no pose"),
        (["NVM_V3", "", "1", CAMERA.replace("1 2 3", "1 1e300 3")], "line 4: no pose"),
        (["NVM_V3", "", "1", CAMERA.replace("1 0 0 0", "1e300 1e300 0 0")], "line 4: no pose"),
        (["NVM_V3", "", "9" * 4301, CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", "-1", CAMERA], "not NVM_V3 and a number"),
        (["NVM_V3", "", "9" * 18, CAMERA], "fewer than the 9999"),
        (["NVM_V3", "", "1", f"../{CAMERA}"], "line 4: the image name '../db/1.jpg' leads out"),
    ],
)
def test_a_broken_nvm(tmp_path, lines, expected):
    assert message(read_nvm, write(tmp_path / "m.nvm", *lines)).startswith(expected)


def test_points_of_an_nvm_are_not_read(tmp_path):
    path = write(tmp_path / "m.nvm", "NVM_V3", "", "1", CAMERA, "", "1")
    path.write_bytes(path.read_bytes() + b"0 0 0 1\n" * 100_000 + b"\xff")  # the last is no text
    assert list(read_nvm(path)) == ["db/1.jpg"]


def test_intrinsics(tmp_path):
    path = write(
        tmp_path / "list.txt",
        "# a comment",
        "db/1.jpg SIMPLE_RADIAL 1600 1200 1199.91 800.0 600.5 -0.0324314",
        "",
        "db/2.jpg PINHOLE 640 480 500 501 320 240",
    )
    cameras = read_intrinsics(path)
    assert list(cameras) == ["db/1.jpg", "db/2.jpg"]
    first, second = cameras.values()
    assert (first.model, first.width, first.height) == (
        pycolmap.CameraModelId.SIMPLE_RADIAL,
        1600,
        1200,
    )
    assert first.params.tolist() == [1199.91, 800, 600.5, -0.0324314]
    assert (second.model, second.params.tolist()) == (
        pycolmap.CameraModelId.PINHOLE,
        [500, 501, 320, 240],
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.jpg", "line 2: not `name MODEL"),
        ("a.jpg SIMPLE_RADIAL 8 six 9 4 3 0", "line 2: not `name MODEL"),
        ("a.jpg SIMPLE_RADIAL 8 6 9 4 3 zero", "line 2: not `name MODEL"),
        ("a.jpg FISHY 8 6 9 4 3 0", "line 2: FISHY is no camera model"),
        ("a.jpg INVALID 8 6 9 4 3 0", "line 2: INVALID is no camera model"),
        ("a.jpg SIMPLE_RADIAL 8 6 9 4 3", "line 2: SIMPLE_RADIAL has 4 parameters (f, cx, cy, k)"),
        ("a.jpg PINHOLE 8 6 9 4 3 0 1", "line 2: PINHOLE has 4 parameters (fx, fy, cx, cy), found"),
        ("a.jpg SIMPLE_RADIAL 8 0 9 4 3 0", "line 2: 8 x 0 is no image size"),
        ("a.jpg SIMPLE_RADIAL 8 6 nan 4 3 0", "line 2: parameters not finite"),
        ("a.jpg PINHOLE 8 6 9 0 4 3", "line 2: parameters not finite or beyond reason, or a foc"),
        ("z.jpg SIMPLE_RADIAL 8 6 9 4 3 0", "line 2: z.jpg stands twice"),
        (f"a.jpg PINHOLE {2**64} 6 9 9 4 3", "line 2: not `name MODEL"),
        (f"a.jpg PINHOLE {10**9} 6 9 9 4 3", "line 2: 1000000000 x 6 is no image size"),
        (f"a.jpg PINHOLE {'9' * 4301} 6 9 9 4 3", "line 2: not `name MODEL"),
        ("a.jpg PINHOLE -8 6 9 9 4 3", "line 2: -8 x 6 is no image size"),
        ("a.jpg PINHOLE 8_0 6 9 9 4 3", "line 2: not `name MODEL"),
        ("a.jpg PINHOLE 8 6 9_0 9 4 3", "line 2: not `name MODEL"),
        ("a.jpg PINHOLE \u0668 6 9 9 4 3", "line 2: not `name MODEL"),
        ("a.jpg PINHOLE 8 6 1e400 9 4 3", "line 2: parameters not finite or beyond reason"),
        ("a.jpg PINHOLE 8 6 1e300 9 4 3", "line 2: parameters not finite or beyond reason"),
        ("/a.jpg PINHOLE 8 6 9 9 4 3", "line 2: the image name '/a.jpg' is an absolute path"),
        ("a/../../b.jpg PINHOLE 8 6 9 9 4 3", "line 2: the image name 'a/../../b.jpg' leads out"),
        (f"{'a' * 256} PINHOLE 8 6 9 9 4 3", f"line 2: the image name '{'a' * 100}' is too long"),
        (f"{'a/' * 999}b PINHOLE 8 6 9 9 4 3", f"line 2: the image name '{'a/' * 50}' is too long"),
        ("a\x1b[1m.jpg PINHOLE 8 6 9 9 4 3", "line 2: the image name 'a\\x1b[1m.jpg' holds con"),
    ],
)
def test_a_broken_line_of_intrinsics(tmp_path, line, expected):
    path = write(tmp_path / "list.txt", "z.jpg SIMPLE_PINHOLE 8 6 9 4 3", line)
    assert message(read_intrinsics, path).startswith(expected)


def test_pairs_are_merged_either_way_round(tmp_path):
    path = write(tmp_path / "pairs.txt", "b a", "", "c d", "a b", "# x", "b a", "a c")
    pairs = read_pairs(path)
    assert pairs.pairs == (("b", "a"), ("c", "d"), ("a", "c"))
    assert pairs.lines == (1, 3, 7)
    assert pairs.merged == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", "line 2: not two image names"),
        ("a b c", "line 2: not two image names"),
        ("c c", "line 2: c is paired with itself"),
        ("c /d", "line 2: an image name is an absolute path"),
        ("../c d", "line 2: an image name leads out of the dataset's folder"),
        ("c\x00 d", "line 2 holds a zero byte"),
    ],
)
def test_a_broken_pair(tmp_path, line, expected):
    assert message(read_pairs, write(tmp_path / "p.txt", "a b", line)).startswith(expected)


@pytest.mark.parametrize("reader", [read_nvm, read_intrinsics, read_pairs])
def test_files_that_hold_nothing_of_use(tmp_path, reader):
    path = tmp_path / "file"
    assert message(reader, path) == "is missing; add it"
    path.write_bytes(b"\xff\xfe\x00")
    assert message(reader, path) == "is UTF-16 text; save it as UTF-8"
    path.write_text("# nothing\n\n")
    assert message(reader, path).startswith(("no camera;", "no pair", "not NVM_V3"))
    path.unlink()
    path.mkdir()
    assert message(reader, path) == "is a folder, not a file; give a file"


def test_a_report_that_returns_hears_of_every_line(tmp_path):
    told: list[str] = []
    intrinsics = write(tmp_path / "i", "a X 1 1 1", "b PINHOLE 8 6 1 1 4 3", "c PINHOLE 8 6 1", "d")
    assert list(read_intrinsics(intrinsics, told.append)) == ["b"]
    nvm = write(tmp_path / "m", "NVM_V3", "", "3", "x 1", CAMERA, CAMERA)
    assert list(read_nvm(nvm, told.append)) == ["db/1.jpg"]
    pairs = write(tmp_path / "p", "a", "a b", "c c")
    assert read_pairs(pairs, told.append).pairs == (("a", "b"),)
    numbers = [int(line.split(": line ")[1].split(":")[0]) for line in told]
    assert numbers == [1, 3, 4, 4, 6, 1, 3]


@needs(DATA / "aachen-meta")
def test_aachens_own_files():
    folder = DATA / "aachen-meta"
    found = read_database(folder / "database.db")
    assert len(found.image_ids) == len(found.cameras) == 5401
    focal_lengths = {n: c.params[0] for n, c in found.cameras.items() if n.startswith("db/")}
    assert len(focal_lengths) == 4479
    assert set(focal_lengths.values()) == {1920.0}
    assert not any(c.has_prior_focal_length for c in found.cameras.values())
    pairs = read_pairs(folder / "image_pairs_to_match.txt")
    assert (len(pairs.pairs), pairs.merged) == (14941, 0)
    night = read_intrinsics(folder / "night_time_queries_with_intrinsics_from_database.txt")
    assert len(night) == 98
    for name, camera in night.items():  # made from the database, so they agree
        np.testing.assert_allclose(camera.params, found.cameras[name].params, rtol=1e-12)
