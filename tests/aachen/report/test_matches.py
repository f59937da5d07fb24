from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from PIL import Image
from sealed_files import sealed_hdf5

from d2eval.aachen.report.matches import WHAT, draw, load_pairs, side_by_side
from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.sealed import HEAD_BYTES
from d2eval.foundation.formats.hdf5 import group_names
from d2eval.report.figures import choose_queries
from d2eval.runs.rows import REMEDY

query_names = partial(group_names, what=WHAT, remedy=REMEDY)

NAMES = ("query/night/a.jpg", "query/night/b.jpg")
NIGHT_2019 = ("2019", "night")
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


def test_choosing_queries() -> None:
    assert choose_queries(NAMES, "all") == list(NAMES)
    assert choose_queries(NAMES, NAMES[1]) == [NAMES[1]]
    assert choose_queries(NAMES, "b.jpg") == [NAMES[1]]
    assert choose_queries(NAMES, ".jpg") == []


def test_side_by_side() -> None:
    left, right = np.zeros((3, 4, 3), np.uint8), np.full((5, 2, 3), 7, np.uint8)
    canvas, shift = side_by_side(left, right)
    assert canvas.shape == (5, shift + 2, 3)
    assert np.array_equal(canvas[:3, :4], left)
    assert np.array_equal(canvas[:, shift:], right)
    assert (canvas[3:, :shift] == 255).all() and (canvas[:, 4:shift] == 255).all()


def test_lines_join_the_points_in_the_color_of_their_kind(tmp_path: Path, write_matches) -> None:
    write_matches(tmp_path)
    figure = draw(load_pairs(tmp_path / "matches.h5", NAMES[0])[0])
    shift = 64 + 20
    found = {}
    for lines in figure.axes[0].collections:
        if isinstance(lines, LineCollection):
            found[tuple(lines.get_colors()[0][:3])] = np.array(lines.get_segments())
    assert [len(found[to_rgba(c)[:3]]) for c in ("red", "orange", "limegreen")] == [1, 1, 2]
    expected = [[[0, 0], [2 + shift, 2]], [[30, 20], [32 + shift, 22]]]
    assert np.array_equal(found[to_rgba("limegreen")[:3]], expected)
    title = figure.get_suptitle()
    assert "4 matches: 2 inliers of the pose (green), 1 verified but no inliers" in title
    assert "query/night/a.jpg  -  db/1.png (rank 1)" in title


def test_the_command(runs: Path, write_aachen_run, write_matches, tmp_path: Path, capsys) -> None:
    write_matches(write_aachen_run("run", "d2_ss", {NIGHT_2019: None}))
    call = ["plot", "aachen", "--runs", str(runs), "--output", str(tmp_path / "plots")]
    assert main([*call, "--query", "b.jpg"]) == 0
    pictures = sorted((tmp_path / "plots/aachen/run/matches").iterdir())
    names = ["query_night_b.jpg__1.png", "query_night_b.jpg__2.png"]
    assert [path.name for path in pictures] == names
    with Image.open(pictures[0]) as image:
        assert image.size[0] > 1500
    assert main([*call, "--query", "all"]) == 0
    assert len(list((tmp_path / "plots/aachen/run/matches").iterdir())) == 4
    capsys.readouterr()
    assert main([*call, "--query", "c.jpg"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--query c.jpg: no matches of such a query" in error


def test_an_image_that_is_gone_is_one_line(tmp_path: Path, images: Path, write_matches) -> None:
    write_matches(tmp_path)
    (images / "db/1.png").unlink()
    with pytest.raises(D2EvalError, match=r"1\.png: is missing"):
        draw(load_pairs(tmp_path / "matches.h5", NAMES[0])[0])


def test_no_match_at_all_still_draws(tmp_path: Path, write_matches) -> None:
    empty = np.zeros((0, 2), np.float32)
    write_matches(tmp_path, points_query=empty, points_database=empty, kind=np.zeros(0, np.int8))
    figure = draw(load_pairs(tmp_path / "matches.h5", NAMES[0])[0])
    assert "0 matches: 0 inliers" in figure.get_suptitle()


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
