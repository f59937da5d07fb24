"""DenseSfM: keypoints on a grid, by hand; and whole runs."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from dense_maps import random_maps
from PIL import Image
from places import DATA, needs
from synthetic import arc

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.dense import DenseMatching, cell_centers, keypoint_cells, match_cells, one_to_one
from d2eval.aachen.protocol import DenseSettings, load_benchmark
from d2eval.aachen.run import Settings, run
from d2eval.cli import main
from d2eval.contracts.identity import Identity
from d2eval.contracts.maps import Maps
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images import decoding
from d2eval.pipeline.coarse_to_fine import coarse_matches, fine_matches
from d2eval.pipeline.maps import MapsSource
from d2eval.pipeline.store import Store

FOUNTAIN = DATA / "aachen-fountain"


# Keypoints, by hand


def test_fine_cells_become_cells_of_so_many():
    # 3 rows of 5 fine cells: with two a side, 2 rows of 3 cells, the last ones narrow
    assert keypoint_cells(np.arange(15), 5, 2).tolist() == [
        0, 0, 1, 1, 2,
        0, 0, 1, 1, 2,
        3, 3, 4, 4, 5,
    ]  # fmt: skip
    assert keypoint_cells(np.arange(15), 5, 1).tolist() == list(range(15))


def grid(rows: int, columns: int, image: tuple[int, int]) -> Maps:
    fine = np.ones((rows, columns, 1))
    return Maps(np.ones((1, 1, 1)), fine, 16, 8, 3.5, (8 * columns, 8 * rows), image)


def test_a_keypoint_is_the_centre_of_its_cell():
    own = grid(2, 3, (24, 16))
    assert cell_centers(own, 1).tolist() == [
        [3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5],
    ]  # fmt: skip
    assert cell_centers(own, 2).tolist() == [[7.5, 7.5], [19.5, 7.5]]
    # The network saw it half as large
    assert cell_centers(grid(2, 3, (48, 32)), 2).tolist() == [[15.5, 15.5], [39.5, 15.5]]
    small = Maps(np.zeros((0, 0, 1)), np.zeros((0, 0, 1)), 16, 8, 3.5, (9, 9), (9, 9))
    assert cell_centers(small, 1).shape == (0, 2)


MATCHES = np.array([[0, 5], [0, 6], [1, 6], [2, 7], [3, 5]], np.int32)
ALIKE = np.array([0.9, 0.8, 0.7, 0.95, 0.5], np.float32)


def test_each_side_keeps_the_most_alike():
    # (0, 6) is alike, but 0 is more like 5; so 6 has none, as its own best is 0
    assert one_to_one(MATCHES, ALIKE).tolist() == [[0, 5], [2, 7]]
    assert one_to_one(MATCHES, ALIKE, most=1).tolist() == [[2, 7]]
    assert one_to_one(MATCHES, np.ones(5, np.float32)).tolist() == [[0, 5], [2, 7]]
    assert one_to_one(np.zeros((0, 2), np.int32), np.zeros(0, np.float32)).shape == (0, 2)


def test_tracks_form_over_pairs():
    """The same image three times: cell by cell, all three have the same keypoint."""
    maps = random_maps(np.random.default_rng(0), (6, 7), (12, 14))
    for cell, count in ((1, 168), (2, 42), (5, 9)):
        found = match_cells(maps, maps, DenseSettings(cell, 0))
        assert found.tolist() == [[i, i] for i in range(count)]
        assert found.dtype == np.int32


def test_matches_are_those_of_fine_cells_once_each():
    rng = np.random.default_rng(1)
    first, other = (random_maps(rng, (7, 9), (14, 18)) for _ in range(2))
    fine = fine_matches(first, other, coarse_matches(first, other))
    found = match_cells(first, other, DenseSettings(1, 0))
    assert 0 < len(found) < len(fine)  # some cells were in several
    assert {tuple(pair) for pair in found.tolist()} < {tuple(pair) for pair in fine.tolist()}
    assert len(np.unique(found[:, 0])) == len(np.unique(found[:, 1])) == len(found)
    few = match_cells(first, other, DenseSettings(1, 3))
    assert len(few) == 3
    assert {tuple(pair) for pair in few.tolist()} < {tuple(pair) for pair in found.tolist()}


@pytest.mark.parametrize("settings", [(0, 0), (1, -1)])
def test_numbers_that_are_none(settings):
    with pytest.raises(D2EvalError, match="must be 1 or more"):
        DenseSettings(*settings)


# A wall whose every place has a descriptor of its own


SIZE, FOCAL, QUERY = (320, 240), 280.0, "query/night/nexus5x/q.png"
NAMES = [*(f"db/{k}.png" for k in range(5)), QUERY]
IDENTITY = Identity("wall", 1, {}, NONE_NEEDED)


def places(pose: pycolmap.Rigid3d, stride: int) -> np.ndarray:
    """(rows, columns, 2) where on the wall z = 0.3 sin(2 x) the centres of cells look."""
    x, y = np.meshgrid(*(np.arange(side // stride) * stride + (stride - 1) / 2 for side in SIZE))
    rays = np.stack([(x - SIZE[0] / 2) / FOCAL, (y - SIZE[1] / 2) / FOCAL, np.ones_like(x)], axis=2)
    inverse = pose.inverse()
    center, turned = inverse.translation, rays @ inverse.rotation.matrix().T
    depth = np.zeros_like(x)
    for _ in range(30):
        seen = center + turned * depth[..., None]
        depth = (0.3 * np.sin(2 * seen[..., 0]) - center[2]) / turned[..., 2]
    return (center + turned * depth[..., None])[..., :2]


@dataclass
class Wall:
    """A network that knows from where an image of a certain grey was taken."""

    poses: list[pycolmap.Rigid3d]
    calls: int = 0

    def maps(self, image: np.ndarray) -> Maps:
        self.calls += 1
        pose = self.poses[int(image[0, 0, 0])]
        rng = np.random.default_rng(0)
        made = []
        for stride, count in ((16, 64), (8, 64)):
            waves, phase = rng.normal(0, 40 / stride, (2, count)), rng.uniform(0, 6, count)
            values = np.cos(places(pose, stride) @ waves + phase)
            made.append(values / np.linalg.norm(values, axis=2, keepdims=True))
        return Maps(*made, 16, 8, 3.5, SIZE, SIZE)


@pytest.fixture
def wall(tmp_path) -> tuple[Dataset, Wall]:
    poses = arc(np.random.default_rng(0), np.array([-20, -10, 0, 10, 20, 5.0]))
    for k, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, (k, k, k)).save(path)
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=SIZE[0], height=SIZE[1],
        params=[FOCAL, SIZE[0] / 2, SIZE[1] / 2, 0], camera_id=1,
    )  # fmt: skip
    named = dict(zip(NAMES, poses, strict=True))
    dataset = Dataset(
        root=tmp_path, images_folder=tmp_path / "images",
        image_ids={name: k for k, name in enumerate(NAMES, 1)},
        cameras=dict.fromkeys(NAMES, camera), poses={n: named[n] for n in NAMES[:-1]},
        queries={QUERY: "night"},
        pairs=tuple((a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]),
        merged_pairs=0, references={QUERY: named[QUERY]}, notes=(), completeness="complete",
    )  # fmt: skip
    return dataset, Wall(poses)


def localize(dataset: Dataset, network: Wall, **changes: int):
    settings = DenseSettings(**{"cell": 1, "max_matches": 0, **changes})
    files = {name: dataset.images_folder / name for name in dataset.images}
    store = Store(dataset.root / "cache")
    matching = DenseMatching(MapsSource(network, IDENTITY, store, files), settings, "cpu")
    return run(matching, dataset, load_benchmark(), store, dataset.root / "runs", Settings())


def test_a_run_finds_its_query_and_goes_on_without_the_network(wall):
    dataset, network = wall
    result = localize(dataset, network)
    (row,) = result.queries
    assert row["registered"]
    assert row["position_m"] < 0.1  # a cell is 14 cm wide there
    assert row["features"] == 40 * 30
    stages = {stage["stage"]: stage for stage in result.stages}
    assert stages["triangulation"]["mean_track_length"] > 3
    assert (network.calls, result.extracted) == (6, 6)
    again = localize(dataset, Wall([]))  # a network that knows no image
    assert again.queries == result.queries
    assert again.extracted == 0
    few = localize(dataset, network, max_matches=100)
    assert {row["matches"] for row in few.stages} == {None, 15 * 100}
    assert few.queries[0]["position_m"] != row["position_m"]


def test_a_plan_writes_nothing(wall, monkeypatch):
    dataset, network = wall
    monkeypatch.setattr(decoding, "TICK_NS", 0)  # images count as old: their hashes may be kept
    files = {name: dataset.images_folder / name for name in dataset.images}
    store = Store(dataset.root / "cache")
    matching = DenseMatching(
        MapsSource(network, IDENTITY, store, files), DenseSettings(1, 0), "cpu"
    )
    planned, _ = matching.plan_features(dataset)
    store.flush()
    assert (planned.units, planned.stored, network.calls) == (6, 0, 0)
    assert not store.root.exists()


def test_an_image_of_another_size(wall):
    dataset, network = wall
    for name in dataset.cameras:
        dataset.cameras[name].width = 300
    with pytest.raises(D2EvalError, match="is 320x240, but its intrinsics are for 300x240"):
        localize(dataset, network)


# As a user runs it


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "--strategy sparse takes local features: name a --method"),
        ("--strategy dense --method rootsift", "--method: strategy dense matches maps"),
        ("--strategy dense --matcher ratio", "--matcher: strategy dense matches maps"),
        ("--strategy dense --dense-cell 0", "dense cell 0 must be 1 or more"),
        ("--strategy dense --dense-network nun", "nun"),
    ],
)
def test_mistakes_are_one_line(line, says, capsys, tmp_path):
    where = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "runs")]
    assert main(["aachen", *line.split(), *where]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def fountain(folder: Path, *more: str) -> tuple[list[dict[str, str]], str]:
    """Rows of a run on the fountain, and its table."""
    where = ["--data", str(FOUNTAIN), "--cache", str(folder / "cache")]
    line = ["aachen", "--strategy", "dense", *where, "--output", str(folder / "runs"), *more]
    assert main(line) == 0
    (run_folder,) = (folder / "runs/aachen").iterdir()
    with (run_folder / "queries.csv").open(newline="") as file:
        return list(csv.DictReader(file)), (run_folder / "aachen.md").read_text()


@pytest.mark.slow
@needs(FOUNTAIN)
def test_day_queries_of_a_real_scene_are_centimetres_off(tmp_path):
    rows, table = fountain(tmp_path)
    day = [row for row in rows if row["split"] == "day"]
    assert len(day) == 3
    for row in day:
        assert float(row["position_m"]) < 0.05
        assert float(row["rotation_deg"]) < 0.3
    assert "| DenseSfM         | dense_sfm |" in table
