from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import scipy.io
from PIL import Image
from scipy.spatial import KDTree

from d2eval.contracts.matching import mutual_nearest_neighbors
from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.folders import RECORD
from d2eval.sample import inloc
from d2eval.sample.building import FLOORS
from d2eval.sample.inloc import floor_from_room, make_inloc_sample, query_pose
from d2eval.sample.photos import load_photo
from d2eval.sample.scanning import cutout_pose
from d2eval.sample.scene import Scene, render
from d2eval.sample.walls import name_photos, paint_walls

QUERIES = {query.name: (index, query) for index, f in enumerate(FLOORS) for query in f.queries}
CUTOUTS = {
    f"{floor.name}/{k:03d}/DUC_cutout_{k:03d}_{yaw}_{pitch}.jpg": (index, k, yaw, pitch)
    for index, floor in enumerate(FLOORS)
    for k, station in enumerate(floor.stations)
    for yaw, pitch in station.cutouts
}
PAIRS = "lists/pairs-query-oracle8.txt"


@pytest.fixture(scope="module")
def sample(rendered):
    return rendered(make_inloc_sample)


@pytest.fixture(scope="module")
def scenes():
    walls = [floor.all_walls() for floor in FLOORS]
    photos = {p: load_photo(p).decode() for p in name_photos(w for part in walls for w in part)}
    return [Scene(paint_walls(part, photos)) for part in walls]


def read_alignment(sample: Path, floor: str, scan: str, first: int = 8) -> np.ndarray:
    path = sample / f"database/alignments/{floor}/transformations/DUC_trans_{scan}.txt"
    lines = path.read_text().splitlines()[first - 1 : first + 3]  # lines count from one
    return np.array([[float(word) for word in line.split()] for line in lines])


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def read_xyz(sample: Path, cutout: str) -> np.ndarray:
    """In the frame of the floor."""
    floor, scan, _ = cutout.split("/")
    local = scipy.io.loadmat(sample / "database/cutouts" / f"{cutout}.mat")["XYZcut"]
    return move(read_alignment(sample, floor, scan), local)


def read_references(sample: Path) -> dict[str, np.ndarray]:
    lists = scipy.io.loadmat(sample / "DUC_refposes_all.mat")
    return {
        str(entry["queryname"][0]): entry["P"]
        for floor in FLOORS
        for entry in lists[f"{floor.name}_RefList"].ravel()
    }


def read_pairs(sample: Path) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    for line in (sample / PAIRS).read_text().splitlines():
        query, cutout = line.split()
        name = query.removeprefix("query/iphone7/")
        pairs.setdefault(name, []).append(cutout.removeprefix("database/cutouts/"))
    return pairs


def project(query: Path, pose: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, origin at the first one's centre, by the benchmark's rule; and depth."""
    with Image.open(query) as image:
        width, height = image.size
    local = points @ pose[:, :3].T + pose[:, 3]
    focal = max(width, height) * 28 / 36
    return local[:, :2] / local[:, 2:] * focal + [width / 2, height / 2], local[:, 2]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != RECORD]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_the_layout_is_that_of_inloc(sample):
    scans = [(floor.name, f"{k:03d}") for floor in FLOORS for k in range(3)]
    assert set(contents(sample)) == {
        "DUC_refposes_all.mat", PAIRS, "inputs/scores.mat", "inputs/query_imgnames_all.mat",
        "inputs/cutout_imgnames_all.mat",
        *(f"query/iphone7/{name}" for name in QUERIES),
        *(f"database/cutouts/{name}{suffix}" for name in CUTOUTS for suffix in ("", ".mat")),
        *(f"database/scans/{floor}/DUC_scan_{scan}.ptx.mat" for floor, scan in scans),
        *(
            f"database/alignments/{floor}/transformations/DUC_trans_{scan}.txt"
            for floor, scan in scans
        ),
    }  # fmt: skip
    assert len(CUTOUTS) == 30
    assert sum(len(data) for data in contents(sample).values()) < 25e6


def test_an_alignment_stands_twice_in_its_file(sample):
    for index, floor in enumerate(FLOORS):
        for k, station in enumerate(floor.stations):
            name = f"DUC_trans_{k:03d}.txt"
            path = sample / f"database/alignments/{floor.name}/transformations/{name}"
            lines = path.read_text().split("\n")
            assert len(lines) == 13
            titles = ["Before general icp:", "", "After general icp:", "", ""]
            assert [lines[n - 1] for n in (1, 6, 7, 12, 13)] == titles
            after = read_alignment(sample, floor.name, f"{k:03d}")
            before = read_alignment(sample, floor.name, f"{k:03d}", first=2)
            for matrix in (before, after):
                np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-8)
                assert np.linalg.det(matrix[:3, :3]) > 0
                assert matrix[3].tolist() == [0, 0, 0, 1]
            # the scanner is the origin of its frame
            place = move(floor_from_room(index), np.array(station.center))
            np.testing.assert_allclose(after[:3, 3], place, atol=1e-6)
            assert np.linalg.norm(before[:3, 3] - after[:3, 3]) == pytest.approx(0.25, abs=1e-6)
            cosine = (np.trace(before[:3, :3] @ after[:3, :3].T) - 1) / 2
            assert np.degrees(np.arccos(cosine)) == pytest.approx(3.0, abs=1e-4)
    first, second = (floor_from_room(index)[:3, :3] for index in range(2))
    assert np.abs(first - second).max() > 0.5


def test_references_are_the_poses_that_the_queries_were_rendered_from(sample):
    lists = scipy.io.loadmat(sample / "DUC_refposes_all.mat")
    for index, floor in enumerate(FLOORS):
        entries = lists[f"{floor.name}_RefList"]
        assert entries.shape == (1, 4)
        fields = ("queryname", "reldbname", "P", "label", "med_reproj_err")
        assert entries.dtype.names == fields
        assert [e["queryname"].tolist() for e in entries[0]] == [[q.name] for q in floor.queries]
        for entry, query in zip(entries[0], floor.queries, strict=True):
            scan = str(entry["reldbname"][0])
            assert scan in {f"{floor.name}/DUC_scan_00{k}.ptx" for k in range(3)}
            assert entry["label"].tolist() == ["Good"]
            P = entry["P"]
            assert P.dtype == np.float64
            np.testing.assert_allclose(P[:, :3] @ P[:, :3].T, np.eye(3), atol=1e-12)
            points = np.random.default_rng(0).uniform(0, 5, (10, 3))
            expected = move(query_pose(query), points)
            np.testing.assert_allclose(move(P, move(floor_from_room(index), points)), expected)


@pytest.mark.parametrize("cutout", CUTOUTS)
def test_the_depth_of_a_cutout_lies_behind_its_pixels(sample, cutout):
    index, k, yaw, pitch = CUTOUTS[cutout]
    stored = scipy.io.loadmat(sample / "database/cutouts" / f"{cutout}.mat")
    with Image.open(sample / "database/cutouts" / cutout) as image:
        assert image.size == (400, 300)
        np.testing.assert_array_equal(stored["RGBcut"], np.asarray(image))
    assert stored["XYZcut"].shape == (300, 400, 3)
    assert stored["XYZcut"].dtype == np.float64
    room = move(np.linalg.inv(floor_from_room(index)), read_xyz(sample, cutout))
    solid = np.isfinite(room).all(axis=2)
    assert solid.mean() > 0.4
    assert np.isnan(room[~solid]).all()
    local = move(cutout_pose(FLOORS[index].stations[k], yaw, pitch), room[solid])
    pixels = local[:, :2] / local[:, 2:] * 314 + [199.5, 149.5]
    rows, columns = np.nonzero(solid)
    # coordinates are rounded to 1/512 m, so they are off by less than 1.7 mm
    off = np.abs(pixels - np.column_stack([columns, rows]))
    assert (off * local[:, 2:] / 314).max() < 0.0017 * np.sqrt(1 + (250 / 314) ** 2) * 1.01


def test_some_depth_is_missing_and_only_glass_and_distance_hide_it(sample):
    missing = {name: ~np.isfinite(read_xyz(sample, name)[..., 0]) for name in CUTOUTS}
    shares = {name: mask.mean() for name, mask in missing.items()}
    assert 0.02 < np.mean(list(shares.values())) < 0.2
    for floor in FLOORS:
        assert any(shares[name] > 0.1 for name in CUTOUTS if name.startswith(floor.name))
    assert min(shares.values()) == 0


@pytest.mark.parametrize("name", QUERIES)
def test_queries_and_cutouts_agree_in_depth_where_both_see(sample, scenes, name):
    index, query = QUERIES[name]
    depth = render(scenes[index], query.camera, query_pose(query)).depth
    height, width = depth.shape
    pose = read_references(sample)[name]
    best = read_pairs(sample)[name][0]
    xyz = read_xyz(sample, best).reshape(-1, 3)
    xyz = xyz[np.isfinite(xyz[:, 0])]
    pixels, far = project(sample / "query/iphone7" / name, pose, xyz)
    columns, rows = np.rint(pixels).astype(int).T
    inside = (far > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    gap = np.abs(depth[rows[inside], columns[inside]] - far[inside])
    assert inside.mean() > 0.2
    # others are hidden from the query; within a pixel depth changes by the slant of the surface
    assert (gap < 0.02).mean() > 0.8
    assert np.median(gap) < 0.003


def test_scores_are_the_overlap_and_the_list_names_the_best(sample):
    inputs = sample / "inputs"
    queries = scipy.io.loadmat(inputs / "query_imgnames_all.mat")["query_imgnames_all"]
    cutouts = scipy.io.loadmat(inputs / "cutout_imgnames_all.mat")["cutout_imgnames_all"]
    score = scipy.io.loadmat(inputs / "scores.mat")["score"]
    assert queries.shape == (1, 8)
    assert cutouts.shape == (1, 30)
    assert score.shape == (8, 30)
    rows = [str(cell[0]) for cell in queries[0]]
    columns = [str(cell[0]) for cell in cutouts[0]]
    assert rows == sorted(QUERIES)
    assert columns == list(CUTOUTS)
    floors = np.array([name.split("/")[0] for name in columns])
    pairs = read_pairs(sample)
    assert list(pairs) == rows
    for name, row in zip(rows, score, strict=True):
        own = floors == FLOORS[QUERIES[name][0]].name
        assert (row[~own] == 0).all()
        assert 0.3 < row.max() <= 1
        ranked = [columns[k] for k in np.argsort(-row, kind="stable") if row[k] >= 0.05]
        assert pairs[name] == ranked[:8]
        assert 3 <= len(pairs[name]) <= 8


@pytest.mark.parametrize("name", ["IMG_0742.JPG", "IMG_0815.JPG"])
def test_a_score_is_the_share_of_the_query_that_the_cutout_has_points_of(sample, scenes, name):
    index, query = QUERIES[name]
    view = render(scenes[index], query.camera, query_pose(query))
    points = move(floor_from_room(index), view.xyz[::20, ::20].reshape(-1, 3).astype(float))
    row = scipy.io.loadmat(sample / "inputs/scores.mat")["score"][sorted(QUERIES).index(name)]
    for column, cutout in enumerate(CUTOUTS):
        if CUTOUTS[cutout][0] == index:
            xyz = read_xyz(sample, cutout).reshape(-1, 3)
            solid = xyz[np.isfinite(xyz[:, 0])]
            tree = KDTree(solid, compact_nodes=False, balanced_tree=False)  # faster to build
            distance, _ = tree.query(points, distance_upper_bound=0.02)
            assert (distance < 0.02).mean() == pytest.approx(row[column], abs=0.06)


@pytest.mark.slow
def test_the_points_of_a_scan_lie_on_the_scenes_surfaces(sample):
    for index, floor in enumerate(FLOORS):
        walls = [w for box in floor.boxes for w in box.walls()] + list(floor.walls)
        for k in range(3):
            scan = f"{k:03d}"
            cells = scipy.io.loadmat(
                sample / f"database/scans/{floor.name}/DUC_scan_{scan}.ptx.mat"
            )["A"]
            assert cells.shape == (1, 7)
            columns = list(cells[0])
            assert len({column.shape for column in columns}) == 1
            count = len(columns[0])
            assert columns[0].shape == (count, 1)
            assert 60_000 < count < 150_000
            xyz, rgb = np.hstack(columns[:3]), np.hstack(columns[4:])
            assert np.isfinite(xyz).all()
            assert ((rgb >= 0) & (rgb <= 255) & (rgb == np.rint(rgb))).all()
            assert rgb.std(axis=0).min() > 30
            np.testing.assert_allclose(columns[3][:, 0], rgb.mean(axis=1) / 255, atol=0.0051)
            to_room = np.linalg.inv(floor_from_room(index)) @ read_alignment(
                sample, floor.name, scan
            )
            points = move(to_room, xyz)
            distance = np.full(count, np.inf)
            for wall in walls:
                u, v = np.array(wall.edge_u), np.array(wall.edge_v)
                offset = points - wall.corner
                a, b = offset @ u / (u @ u), offset @ v / (v @ v)
                nearest = np.clip(a, 0, 1)[:, None] * u + np.clip(b, 0, 1)[:, None] * v
                distance = np.minimum(distance, np.linalg.norm(offset - nearest, axis=1))
            assert distance.max() < 0.0018


def test_scans_have_the_colours_of_their_cutouts(sample):
    # A pixel's point and the nearest of the scan: both pictures of the same place.
    for floor in FLOORS:
        cutout = next(name for name in CUTOUTS if name.startswith(floor.name))
        scan = cutout.split("/")[1]
        cells = scipy.io.loadmat(sample / f"database/scans/{floor.name}/DUC_scan_{scan}.ptx.mat")
        xyz, rgb = np.hstack(cells["A"][0, :3]), np.hstack(cells["A"][0, 4:])
        stored = scipy.io.loadmat(sample / "database/cutouts" / f"{cutout}.mat")
        solid = np.isfinite(stored["XYZcut"]).all(axis=2)
        distance, nearest = KDTree(xyz).query(stored["XYZcut"][solid])
        assert np.median(distance) < 0.03
        close = distance < 0.004
        assert close.sum() > 500
        colors = stored["RGBcut"][solid][close].astype(float)
        grey = [values.mean(axis=1) for values in (colors, rgb[nearest[close]])]
        assert np.corrcoef(*grey)[0, 1] > 0.8


@pytest.mark.slow  # as whole runs on this sample do by default
def test_queries_are_localized_by_the_rules_camera(sample):
    method = method_class("rootsift")
    rootsift = method(method.Config(), Runtime())
    references, pairs = read_references(sample), read_pairs(sample)
    for name in ("IMG_0731.JPG", "IMG_0812.JPG"):  # one of each floor, the second upright
        path = sample / "query/iphone7" / name
        best = pairs[name][1 if name == "IMG_0731.JPG" else 0]
        image = np.asarray(Image.open(path))
        found = rootsift.extract(image)
        other = rootsift.extract(np.asarray(Image.open(sample / "database/cutouts" / best)))
        matches = mutual_nearest_neighbors(found.descriptors, other.descriptors)
        columns, rows = np.rint(other.keypoints[matches[:, 1]]).astype(int).T
        world = read_xyz(sample, best)[rows.clip(0, 299), columns.clip(0, 399)]
        solid = np.isfinite(world).all(axis=1)
        height, width = image.shape[:2]
        focal = 480 * 28 / 36
        camera = pycolmap.Camera(
            model="PINHOLE", width=width, height=height,
            params=[focal, focal, width / 2, height / 2],
        )  # fmt: skip
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error, options.ransac.random_seed = 5.0, 0
        estimate = pycolmap.estimate_and_refine_absolute_pose(
            found.keypoints[matches[:, 0]][solid].astype(float), world[solid], camera, options
        )
        assert estimate["num_inliers"] > 80
        pose, true = estimate["cam_from_world"].matrix(), references[name]
        moved = -pose[:, :3].T @ pose[:, 3] + true[:, :3].T @ true[:, 3]
        assert np.linalg.norm(moved) < 0.05


def test_a_set_that_is_there_is_not_made_again(sample, monkeypatch):
    def fail(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(inloc, "render", fail)
    assert make_inloc_sample(sample.parents[1]) == sample


@pytest.fixture
def small(monkeypatch):
    """One scan, one cutout, one query on one floor."""
    floors = tuple(
        replace(
            floor,
            stations=(replace(floor.stations[0], cutouts=floor.stations[0].cutouts[:1]),),
            queries=floor.queries[:1],
        )
        for floor in FLOORS[:1]
    )
    monkeypatch.setattr(inloc, "FLOORS", floors)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_half_a_set_does_not_count_and_two_builds_are_the_same(sample, tmp_path):
    first = make_inloc_sample(tmp_path / "a")
    assert first.name != sample.name  # the folder follows the recipe
    robbed = tmp_path / "b" / "sample" / first.name
    (robbed / PAIRS).parent.mkdir(parents=True)
    (robbed / PAIRS).write_text("")
    again = make_inloc_sample(tmp_path / "b")
    assert again == robbed
    assert contents(again) == contents(first)


@pytest.mark.usefixtures("small")
def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "sample").write_text("in the way")
    with pytest.raises(D2EvalError, match=r"sample.*can't be written"):
        make_inloc_sample(tmp_path)
