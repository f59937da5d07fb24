from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sealed_files import sealed_hdf5

from d2eval.aachen.report.matches import WHAT, draw, load_pairs
from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.sealed import HEAD_BYTES
from d2eval.foundation.formats.hdf5 import group_names
from d2eval.foundation.formats.poses import POSE_COLUMNS
from d2eval.localization.description import PicturedRun
from d2eval.report.figures import Sources
from d2eval.report.matches import COLORS
from d2eval.runs.rows import REMEDY

query_names = partial(group_names, what=WHAT, remedy=REMEDY)

NAMES = ("query/night/a.jpg", "query/night/b.jpg")
NIGHT_2019 = ("2019", "night")
REFERENCE = {f"ref_{n}": v for n, v in zip(POSE_COLUMNS, (1.0, 0, 0, 0, 0, 0, 0), strict=True)}
QUERY_POINTS = np.array([[0, 0], [10, 5], [20, 10], [30, 20]], np.float32)
DATABASE_POINTS = QUERY_POINTS + np.float32(2)
KIND = np.array([2, 0, 1, 2], np.int8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two queries of 64x48 and a higher database image."""
    sizes = {NAMES[0]: (64, 48), NAMES[1]: (64, 48), "db/1.png": (50, 70)}
    for index, (name, size) in enumerate(sizes.items()):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * index, 90, 160)).save(path)
    return tmp_path / "images"


@pytest.fixture
def write_matches(images: Path) -> Callable[..., None]:
    """Writes matches.h5 as the evaluation does; both queries match the same database image."""

    def write(folder: Path, ranks: tuple[int, ...] = (2, 1), **changes: np.ndarray) -> None:
        content = {"points_query": QUERY_POINTS, "points_database": DATABASE_POINTS, "kind": KIND}
        with sealed_hdf5(folder / "matches.h5") as file:
            file.attrs["images"] = str(images)
            for index, name in enumerate(NAMES):
                query = file.create_group(str(index))
                query.attrs["name"] = name
                for rank in ranks:
                    group = query.create_group(str(rank))
                    group.attrs["name"] = "db/1.png"
                    for key, values in {**content, **changes}.items():
                        group[key] = values

    return write


def test_reading(tmp_path: Path, images: Path, write_matches) -> None:
    write_matches(tmp_path)
    path = tmp_path / "matches.h5"
    assert query_names(path) == list(NAMES)
    first, second = load_pairs(path, NAMES[1])
    assert (first.query, first.database) == (NAMES[1], "db/1.png")
    assert (first.rank, second.rank, first.images) == (1, 2, images)
    assert np.array_equal(first.points_query, QUERY_POINTS)
    assert np.array_equal(first.points_database, DATABASE_POINTS)
    assert first.kind.tolist() == [2, 0, 1, 2]
    assert load_pairs(path, "a.jpg") == []


def drawn(folder: Path, *, runs: int = 1, data: Path | None = None) -> Figure:
    own = [PicturedRun(folder / "matches.h5", f"run {i}") for i in range(runs)]
    return draw(own, NAMES[0], Sources(folder, data))


def test_a_row_for_each_database_image_and_of_several_runs_the_best(
    tmp_path: Path, write_matches
) -> None:
    write_matches(tmp_path)
    titles = [axes.get_title(loc="left") for axes in drawn(tmp_path).axes]
    assert titles == [f"run 0, rank {rank}: db/1.png\n4 matches" for rank in (1, 2)]
    titles = [axes.get_title(loc="left") for axes in drawn(tmp_path, runs=2).axes]
    assert titles == [f"run {run}, rank 1: db/1.png\n4 matches" for run in (0, 1)]


def test_inliers_are_blue_and_rejected_ones_red(tmp_path: Path, write_matches) -> None:
    write_matches(tmp_path)
    axes = drawn(tmp_path).axes[0]
    legend = {line.get_label(): line.get_color() for line in axes.get_legend().get_lines()}
    assert legend == {
        "inlier of the pose: 2": COLORS[0],
        "verified, no inlier: 1": COLORS[2],
        "rejected by verification: 1": COLORS[4],
    }


def test_the_command(runs: Path, write_aachen_run, write_matches, tmp_path: Path, capsys) -> None:
    rows = [{"name": name, "split": "night", "registered": 0, **REFERENCE} for name in NAMES]
    counts = {NIGHT_2019: [0, 0, 0, 0]}
    folder = write_aachen_run("run", "d2_ss", counts, queries=rows)
    write_matches(folder)
    call = ["view", "aachen", "--run", "run", "--runs", str(runs), "--output", str(tmp_path / "v")]
    assert main([*call, "--worst", "1", "--format", "pdf"]) == 0  # equal errors go by name
    (picture,) = (tmp_path / "v/aachen/run").iterdir()
    assert picture.name == "query_night_a.jpg.pdf"
    assert picture.read_bytes().startswith(b"%PDF")
    capsys.readouterr()
    (folder / "matches.h5").unlink()
    for words, message in (
        (["--query", "c.jpg"], "c.jpg: run has no such pair or query; there are 2"),
        (["--query", "b.jpg"], "matches.h5: is missing; runs that ship are rows alone"),
        ([], "name a --pair or --query"),
    ):
        assert main([*call, *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error


def test_an_image_that_is_gone_is_one_line(tmp_path: Path, images: Path, write_matches) -> None:
    write_matches(tmp_path)
    moved = tmp_path / "moved/images"
    moved.mkdir(parents=True)
    images.rename(moved / "images_upright")
    with pytest.raises(D2EvalError, match=r"a\.jpg: is missing"):
        drawn(tmp_path)
    assert len(drawn(tmp_path, data=tmp_path / "moved").axes) == 2


def test_no_match_at_all_still_draws(tmp_path: Path, write_matches) -> None:
    empty = np.zeros((0, 2), np.float32)
    write_matches(tmp_path, points_query=empty, points_database=empty, kind=np.zeros(0, np.int8))
    assert "0 matches" in drawn(tmp_path).axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": KIND[:3]}, "don't go together"),
        ({"points_query": QUERY_POINTS.T}, "don't go together"),
        ({"kind": KIND + np.int8(1)}, "a kind is none of 0, 1, 2"),
        ({"points_query": QUERY_POINTS * np.float32(np.nan)}, "points that aren't finite"),
        ({"kind": h5py.ExternalLink("/dev/zero", "/kind")}, "kind is a link"),
        ({"kind": h5py.Empty("i1")}, "is no array"),
    ],
)
def test_broken_content(tmp_path: Path, write_matches, changes: dict, message: str) -> None:
    write_matches(tmp_path, **changes)
    with pytest.raises(D2EvalError, match=message):
        load_pairs(tmp_path / "matches.h5", NAMES[0])


def test_broken_files(tmp_path: Path, write_matches) -> None:
    write_matches(tmp_path)
    path = tmp_path / "matches.h5"
    with sealed_hdf5(path) as file:
        del file["0/1/kind"]
        del file["1"].attrs["name"]
    for call in (lambda: load_pairs(path, NAMES[0]), lambda: query_names(path)):
        with pytest.raises(D2EvalError, match="lacks") as error:
            call()
        assert str(path) in str(error.value)
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"no HDF5"):
        path.write_bytes(broken)
        with pytest.raises(D2EvalError, match=r"matches\.h5: broken file of matches") as error:
            query_names(path)
        assert "\n" not in str(error.value)


def test_no_bit_of_a_file_may_differ(tmp_path: Path, write_matches) -> None:
    write_matches(tmp_path)
    path = tmp_path / "matches.h5"
    data = path.read_bytes()
    assert query_names(path) == list(NAMES)
    for at in (0, 100, 600, len(data) - 1):
        damaged = bytearray(data)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(D2EvalError, match=r"matches\.h5: broken file of matches \(its "):
            query_names(path)


def test_what_is_not_sealed_is_never_opened(tmp_path: Path, write_matches, monkeypatch) -> None:
    """As earlier versions wrote it: HDF5's library may not return from one that is damaged."""
    write_matches(tmp_path)
    path = tmp_path / "matches.h5"
    path.write_bytes(path.read_bytes()[HEAD_BYTES:])
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))
    for call in (lambda: load_pairs(path, NAMES[0]), lambda: query_names(path)):
        with pytest.raises(D2EvalError, match=r"of an earlier version, .* run the evaluation ag"):
            call()
