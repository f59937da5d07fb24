import io
import math
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sealed_files import sealed_hdf5

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.sealed import HEAD_BYTES
from d2eval.foundation.formats.hdf5 import group_names
from d2eval.inloc.report.views import WHAT, draw, error_map, load_views
from d2eval.localization.description import PicturedRun
from d2eval.report.figures import Sources
from d2eval.runs.rows import REMEDY

query_names = partial(group_names, what=WHAT, remedy=REMEDY)

SPARSE = ("sparse", "d2_ms", "dense_pv")
NAMES = ("IMG_0000.JPG", "IMG_0002.JPG")
CENTERS = np.array([[6, 5], [10, 5], [6, 9], [14, 9]], np.uint16)
DISTANCES = np.array([0.5, 0.25, 0.75, 1.0], np.float16)


def jpeg(color: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> np.ndarray:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG", quality=95)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.fixture
def views(runs: Path, write_inloc_run) -> Path:
    """The first query has two views, the second none."""
    folder = write_inloc_run("mine", SPARSE, {"all": [1, 1, 1, 1, 1]}, errors=[("DUC1", 0.1, 1.0)])
    valid = np.ones((16, 24), bool)
    valid[:, :8] = False
    with sealed_hdf5(folder / "views.h5") as file:
        for index, name in enumerate(NAMES):
            group = file.create_group(str(index))
            group.attrs["name"] = name
            group["image"] = jpeg((200, 100, 50))
            for rank in (1, 2) if index == 0 else ():
                unit = group.create_group(str(rank))
                unit.attrs["name"] = f"DUC1/000/DUC_cutout_000_{30 * rank}_0.jpg"
                unit.attrs["score"] = 1.6
                unit["image"] = jpeg((0, 0, 255))
                unit["valid"], unit["centers"], unit["distances"] = valid, CENTERS, DISTANCES
    return folder / "views.h5"


def test_the_map_by_hand() -> None:
    errors, extent = error_map(CENTERS.astype(np.int64), DISTANCES.astype(np.float64))
    gap = math.nan
    np.testing.assert_array_equal(errors, [[0.5, 0.25, gap], [0.75, gap, 1.0]])
    assert extent == (4.0, 16.0, 11.0, 3.0)


def test_a_map_of_nothing_and_of_one() -> None:
    errors, _ = error_map(np.zeros((0, 2), np.int64), np.zeros(0))
    assert np.isnan(errors).all()
    errors, extent = error_map(np.array([[7, 3]]), np.array([0.5]))
    assert errors.tolist() == [[0.5]] and extent == (6.5, 7.5, 3.5, 2.5)


def test_what_is_drawn(views: Path) -> None:
    assert query_names(views) == list(NAMES)
    assert [view.rank for view in load_views(views, NAMES[0]).views] == [1, 2]
    figure = drawn(views, NAMES[0], "mine (0.10 m)")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[:3] == [
        "mine (0.10 m)", "rank 1: DUC_cutout_000_30_0.jpg, score 1.600",
        "distance of descriptors, median 0.625",
    ]  # fmt: skip
    panels = [axes for axes in figure.axes if axes.images]
    rendered = np.asarray(panels[1].images[0].get_array())
    assert (rendered[:, :8] == (255, 0, 255)).all()
    assert np.abs(rendered[:, 8:].astype(int) - (0, 0, 255)).max() <= 3
    shown = panels[2].images[1]
    assert tuple(shown.get_extent()) == (4.0, 16.0, 11.0, 3.0) and shown.get_clim() == (0, 1)


def drawn(path: Path, query: str, *titles: str) -> Figure:
    return draw([PicturedRun(path, title) for title in titles], query, Sources(path.parent))


def test_a_query_without_a_pose(views: Path) -> None:
    assert drawn(views, NAMES[1], "mine").get_suptitle() == f"{NAMES[1]}: no pose"


def test_of_several_runs_the_answers_are_drawn(views: Path) -> None:
    titles = [axes.get_title() for axes in drawn(views, NAMES[0], "mine", "other").axes]
    assert [title for title in titles if title in ("mine", "other")] == ["mine", "other"]
    assert [title for title in titles if "rank" in title] == [
        "rank 1: DUC_cutout_000_30_0.jpg, score 1.600"
    ] * 2


def test_the_command(views: Path, runs: Path, tmp_path: Path, capsys) -> None:
    options = ["--runs", str(runs), "--output", str(tmp_path), "--run", "mine"]
    assert main(["view", "inloc", *options, "--best", "1"]) == 0
    ((picture,),) = [list((tmp_path / "inloc/mine").iterdir())]
    assert picture.suffix == ".png"
    views.unlink()
    capsys.readouterr()
    assert main(["view", "inloc", *options, "--best", "1"]) == 2
    err = capsys.readouterr().err  # it looks for the matches that are stored of the run
    assert err.count("\n") == 1 and "manifest.json: lacks root" in err


def test_broken_files_are_one_line(views: Path) -> None:
    with sealed_hdf5(views) as file:
        del file["0/2/valid"]
    with pytest.raises(D2EvalError, match=r"views\.h5: .*/0/2 lacks valid"):
        load_views(views, NAMES[0])
    with sealed_hdf5(views) as file:
        file["0/2/valid"] = np.ones((16, 23), bool)
    with pytest.raises(D2EvalError, match="don't go together"):
        load_views(views, NAMES[0])
    with sealed_hdf5(views) as file:
        del file["0/image"]
        file["0/image"] = np.frombuffer(b"nothing", np.uint8)
    with pytest.raises(D2EvalError, match=r"views\.h5"):
        load_views(views, NAMES[0])
    with sealed_hdf5(views) as file:
        del file["0/image"]
        file["0/image"] = jpeg((0, 0, 0))
        del file["0/2/valid"], file["0/2/centers"]
        file["0/2/valid"] = np.ones((16, 24), bool)
        file["0/2/centers"] = np.array([[0, 0], [2**62, 1], [1, 2], [3, 3]])  # an endless map
    with pytest.raises(D2EvalError, match="centers lie outside the image"):
        load_views(views, NAMES[0])
    with sealed_hdf5(views) as file:
        file["0/1"].attrs["score"] = "high"
    with pytest.raises(D2EvalError, match="the attribute score is no number"):
        load_views(views, NAMES[0])
    with sealed_hdf5(views) as file:
        del file["0/image"]
        file["0/image"] = h5py.ExternalLink("/dev/zero", "/image")
    with pytest.raises(D2EvalError, match="image is a link"):
        load_views(views, NAMES[0])
    views.write_bytes(b"nothing")
    with pytest.raises(D2EvalError, match=r"views\.h5"):
        query_names(views)


def test_what_is_not_sealed_is_never_opened(views: Path, monkeypatch) -> None:
    """As earlier versions wrote it: HDF5's library may not return from one that is damaged."""
    views.write_bytes(views.read_bytes()[HEAD_BYTES:])
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))
    for call in (lambda: load_views(views, NAMES[0]), lambda: query_names(views)):
        with pytest.raises(D2EvalError, match=r"of an earlier version, .* run the evaluation ag"):
            call()
