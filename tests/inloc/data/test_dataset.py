from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from inloc_folder import (
    CUTOUTS,
    Q1,
    Q2,
    SCANS,
    SIZE,
    TURN,
    InlocFolder,
    alignment_of,
    depth_of,
    reference_list,
)
from PIL import Image
from places import DATA, needs

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import center
from d2eval.inloc.data.dataset import Database3D, floor_of, load_dataset, scan_of
from d2eval.inloc.data.fingerprint import fingerprint
from d2eval.inloc.protocol import load_benchmark

HOLOLENS = DATA / "inloc-hololens"
needs_data = needs(HOLOLENS)


@pytest.fixture
def folder(tmp_path):
    return InlocFolder(tmp_path / "data")


def load(root: Path, **options):
    return load_dataset(root, load_benchmark(), **options)


def test_a_folder(folder):
    dataset = load(folder.write())
    assert list(dataset.queries) == [Q1, Q2]
    assert list(dataset.cutouts) == CUTOUTS
    assert set(dataset.alignments) == set(dataset.scans) == set(SCANS)
    assert [r.cutout for r in dataset.retrieval[Q2]] == [CUTOUTS[k] for k in (3, 2, 1, 0)]
    assert (dataset.intrinsics, dataset.notes) == ({}, ())
    assert dataset.completeness == ("partial (2 of 356 queries, 4 of 9972 cutouts, 3 of 277 scans)")
    assert load(folder.root, sample=True).completeness == "sample"
    assert (floor_of(CUTOUTS[3]), scan_of(CUTOUTS[2])) == ("DUC2", ("DUC1", "001"))


def test_a_complete_set(folder):
    benchmark = replace(load_benchmark(), complete={"queries": 2, "cutouts": 4, "scans": 3})
    assert load_dataset(folder.write(), benchmark).completeness == "complete"


def test_references_are_poses_from_the_floor_to_the_camera(folder):
    references = load(folder.write()).references
    assert {name: reference.floor for name, reference in references.items()} == {
        Q1: "DUC1", Q2: "DUC2"
    }  # fmt: skip
    np.testing.assert_allclose(center(references[Q1].pose), [-1, -2, -3])
    np.testing.assert_allclose(references[Q2].pose.rotation.matrix(), TURN, atol=1e-12)
    np.testing.assert_allclose(references[Q2].pose.translation, [0, 0, 5])


def test_references_and_queries_that_dont_fit(folder):
    pose = folder.poses["DUC1"].pop(Q1)
    folder.poses["DUC2"]["IMG_0009.JPG"] = pose
    dataset = load(folder.write())
    assert list(dataset.references) == [Q2, "IMG_0009.JPG"]
    assert dataset.notes == (
        "1 queries with a reference pose are missing and count as failures: IMG_0009.JPG",
        f"1 queries have no reference pose and aren't scored: {Q1}",
    )


def test_other_references_and_none(folder, tmp_path):
    folder.poses = {}
    root = folder.write()
    assert load(root).references == {}
    other = tmp_path / "other.mat"
    with pytest.raises(D2EvalError, match=r"other\.mat: is missing"):
        load(root, references=other)
    scipy.io.savemat(other, {"CSE3_RefList": reference_list({Q2: np.eye(4)[:3]})})
    assert load(root, references=other).references[Q2].floor == "CSE3"


MIRROR = np.diag([1.0, 1, -1, 1])[:3]


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        ({"DUC1": {Q1: 2 * np.eye(4)[:3]}}, r"DUC1_RefList\(1\): P is not \[R t\]"),
        ({"DUC1": {Q1: MIRROR}}, r"P is not \[R t\] with a rotation"),
        ({"DUC1": {Q1: np.eye(3)}}, "P is no 3x4 matrix"),
        ({"DUC1": {Q1: np.zeros((0, 0))}}, "P is no 3x4 matrix"),
        ({"DUC1": {Q1: np.full((3, 4), np.nan)}}, "P is no 3x4 matrix of finite numbers"),
        ({"DUC1": {Q1: np.eye(4)[:3]}, "DUC2": {Q1: np.eye(4)[:3]}}, r"DUC2_RefList\(1\): IMG_000"),
    ],
)
def test_broken_references(folder, poses, message):
    folder.poses = poses
    with pytest.raises(D2EvalError, match=message):
        load(folder.write())


def test_a_file_without_references(folder):
    root = folder.write()
    scipy.io.savemat(folder.references, {"x": 1.0})
    with pytest.raises(D2EvalError, match="no references"):
        load(root)


def test_which_retrieval_list_is_taken(folder):
    folder.pairs = {"pairs-query-a.txt": [f"{Q1} {CUTOUTS[3]}"]}
    root = folder.write()
    assert load(root).retrieval[Q1][0].cutout == CUTOUTS[0]
    assert load_dataset(root, load_benchmark("inloc_hloc")).retrieval.keys() == {Q1}
    given = load(root, retrieval=root / "pairs-query-a.txt")
    assert [r.cutout for r in given.retrieval[Q1]] == [CUTOUTS[3]]
    assert given.notes == (f"{root / 'pairs-query-a.txt'}: 1 queries have no cutout: {Q2}",)
    folder.score_matrix.unlink()
    assert [r.cutout for r in load(root).retrieval[Q1]] == [CUTOUTS[3]]
    (root / "pairs-query-b.txt").write_text("")
    with pytest.raises(D2EvalError, match="2 retrieval lists"):
        load(root)


def test_no_retrieval_list(folder):
    folder.scores = np.zeros(0)
    assert load(folder.write()).retrieval == {}


def test_cameras(folder):
    folder.intrinsics = ["# name ...", "", f"{Q1} PINHOLE 8 6 10.5 11 3.5 2.5"]
    dataset = load(folder.write())
    camera = dataset.query_camera(Q1, SIZE)
    assert (camera.model.name, list(camera.params)) == ("PINHOLE", [10.5, 11, 3.5, 2.5])
    for size, focal in (((4032, 3024), 3136), ((3024, 4032), 3136), ((9, 6), 7)):
        camera = dataset.query_camera(Q2, size)
        assert (camera.width, camera.height) == size
        np.testing.assert_allclose(camera.params, [focal, focal, size[0] / 2, size[1] / 2])
    with pytest.raises(D2EvalError, match=r"IMG_0001\.JPG: the image is 6x8, but its intrinsics"):
        dataset.query_camera(Q1, (6, 8))


@pytest.mark.parametrize(
    "line",
    [
        f"{Q1} PINHOLE 8 6 10.5 11 3.5",
        f"{Q1} SIMPLE_RADIAL 8 6 10.5 3.5 2.5 0.1",
        f"{Q1} PINHOLE 8 6 nan 11 3.5 2.5",
        f"{Q1} PINHOLE 0 6 10 11 3.5 2.5",
        Q1,
    ],
)
def test_broken_intrinsics(folder, line):
    folder.intrinsics = ["", line]
    with pytest.raises(D2EvalError, match=r"intrinsics\.txt: line 2: not `name PINHOLE"):
        load(folder.write())


def test_a_query_with_two_cameras(folder):
    folder.intrinsics = [f"{Q1} PINHOLE 8 6 10 11 3 2", f"query/iphone7/{Q1} PINHOLE 8 6 9 9 3 2"]
    with pytest.raises(D2EvalError, match=r"line 2: IMG_0001\.JPG stands twice"):
        load(folder.write())


def test_no_folder_and_no_images(folder, tmp_path):
    with pytest.raises(D2EvalError, match="nothing: no such folder"):
        load(tmp_path / "nothing")
    root = folder.write()
    for k in range(4):
        folder.cutout(k).unlink()
    with pytest.raises(D2EvalError, match="database/cutouts: no images"):
        load(root)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_depth_in_the_frame_of_the_floor(folder, dtype):
    folder.depth_dtype = dtype
    database = Database3D(load(folder.write()))
    for k, name in enumerate(CUTOUTS):
        matrix, local = alignment_of(scan_of(name)), depth_of(k)
        np.testing.assert_array_equal(database.alignment(*scan_of(name)), matrix)
        xyz = database.xyz(name)
        assert (xyz.shape, xyz.dtype) == ((6, 8, 3), np.float64)
        assert np.isnan(xyz[0, 0]).all()
        for row, column in ((0, 1), (5, 7), (3, 2)):
            expected = matrix @ np.array([*local[row, column], 1])
            np.testing.assert_allclose(xyz[row, column], expected[:3])
    with pytest.raises(ValueError, match="read-only"):
        xyz[0, 0] = 0


def test_points_of_a_scan(folder):
    root = folder.write()
    points = np.array([[1.0, 2, 3], [np.nan, 0, 0], [0, np.inf, 0], [4, 5, 6]])
    folder.write_scan(SCANS[1], points)
    found = Database3D(load(root)).scan(*SCANS[1])
    assert (found.xyz.dtype, found.rgb.dtype) == (np.float32, np.uint8)
    np.testing.assert_allclose(found.xyz, [[20 - 2, 0.5 + 1, 1], [20 - 5, 0.5 + 4, 4]])
    np.testing.assert_array_equal(found.rgb, [[0, 10, 20], [255, 255, 255]])


def test_what_is_kept_is_bounded_by_bytes(folder, monkeypatch):
    monkeypatch.setattr("d2eval.inloc.data.dataset.CACHE_BYTES", 2 * 6 * 8 * 3 * 8)
    database = Database3D(load(folder.write()))
    first, second = (database.xyz(name) for name in CUTOUTS[:2])
    assert database.xyz(CUTOUTS[0]) is first  # now the second is the oldest
    database.xyz(CUTOUTS[2])
    assert database.xyz(CUTOUTS[0]) is first
    assert database.xyz(CUTOUTS[1]) is not second
    monkeypatch.setattr("d2eval.inloc.data.dataset.CACHE_BYTES", 1)
    tiny = Database3D(load(folder.root))
    assert tiny.xyz(CUTOUTS[0]) is tiny.xyz(CUTOUTS[0])  # what was asked for last stays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.unlink(), "is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), r"broken \.mat file"),
        (lambda p: scipy.io.savemat(p, {"RGBcut": depth_of(0)}), "has no XYZcut"),
        (lambda p: scipy.io.savemat(p, {"XYZcut": depth_of(0)[:5]}), "XYZcut is 5x8x3, but its im"),
        (lambda p: scipy.io.savemat(p, {"XYZcut": "text"}), "XYZcut doesn't hold real numbers"),
    ],
)
def test_broken_depth(folder, change, message):
    root = folder.write()
    change(folder.depth(0))
    database = Database3D(load(root))
    with pytest.raises(D2EvalError, match=message) as caught:
        database.xyz(CUTOUTS[0])
    assert str(caught.value).startswith(f"{folder.depth(0)}: ")
    assert "\n" not in str(caught.value)


def test_missing_and_broken_scans(folder):
    root = folder.write()
    folder.scan("DUC1", "000").unlink()
    scipy.io.savemat(folder.scan("DUC1", "001"), {"A": np.array([[1.0, 2]], object)})
    folder.alignment("DUC2", "000").unlink()
    database = Database3D(load(root))
    for read, message in (
        (lambda: database.scan("DUC1", "000"), "no point cloud of scan DUC1/000"),
        (lambda: database.scan("DUC1", "001"), r"001\.ptx\.mat: A has 2 cells instead of 7"),
        (lambda: database.xyz(CUTOUTS[3]), "no alignment of scan DUC2/000"),
        (lambda: database.xyz("DUC1/000/x.jpg"), "no cutout DUC1/000/x.jpg"),
    ):
        with pytest.raises(D2EvalError, match=message):
            read()


def test_columns_of_a_scan_that_differ_in_length(folder):
    root = folder.write()
    path = folder.scan("DUC1", "000")
    columns = np.empty((1, 7), object)
    for k in range(7):
        columns[0, k] = np.zeros((4 if k == 5 else 3, 1))
    scipy.io.savemat(path, {"A": columns})
    with pytest.raises(D2EvalError, match="the cells of A differ in length"):
        Database3D(load(root)).scan("DUC1", "000")


def test_the_fingerprint_follows_the_content(folder):
    dataset = load(folder.write())
    first = fingerprint(dataset, {Q1: "a"})
    assert fingerprint(load(folder.root), {Q1: "a"}) == first
    assert fingerprint(dataset, {Q1: "b"}) != first
    assert fingerprint(replace(dataset, references={}), {Q1: "a"}) != first
    assert fingerprint(replace(dataset, retrieval={}), {Q1: "a"}) != first
    path = folder.alignment("DUC1", "000")
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert fingerprint(dataset, {Q1: "a"}) != first


@needs_data
def test_the_real_building():
    dataset = load(HOLOLENS)
    (note,) = dataset.notes
    assert "inputs/scores.mat is used" in note
    assert Counter(r.floor for r in dataset.references.values()) == {"DUC1": 9, "DUC2": 7}
    assert Counter(map(floor_of, dataset.cutouts)) == {"DUC1": 35, "DUC2": 25}
    assert len(dataset.scans) == len(dataset.alignments) == 14
    assert set(dataset.queries) == set(dataset.references) == set(dataset.intrinsics)
    pairs = load(HOLOLENS, retrieval=HOLOLENS / "pairs-query-oracle10.txt").retrieval
    for query, retrieved in dataset.retrieval.items():
        seen = [r.cutout for r in retrieved if r.score > 0][:10]  # the list orders no others
        assert [r.cutout for r in pairs[query]][: len(seen)] == seen
        assert len(seen) > 2


@needs_data
def test_real_queries_see_their_retrieved_cutouts():
    """What a cutout has depth of lies in front of the query, and much of it in its image."""
    dataset = load(HOLOLENS)
    database = Database3D(dataset)
    for query in list(dataset.queries)[::3]:
        reference = dataset.references[query]
        with Image.open(dataset.queries[query]) as image:
            size = image.size
        fx, fy, cx, cy = dataset.query_camera(query, size).params
        best = dataset.retrieval[query][0].cutout
        assert floor_of(best) == reference.floor
        xyz = database.xyz(best).reshape(-1, 3)
        seen = reference.pose * xyz[np.isfinite(xyz[:, 0])]
        assert (seen[:, 2] > 0).mean() > 0.9
        u, v = fx * seen[:, 0] / seen[:, 2] + cx, fy * seen[:, 1] / seen[:, 2] + cy
        assert ((u >= 0) & (u < size[0]) & (v >= 0) & (v < size[1])).mean() > 0.25
        assert 0.3 < np.median(seen[:, 2]) < 10


@needs_data
def test_real_scans_hold_the_points_of_their_cutouts():
    dataset = load(HOLOLENS)
    database = Database3D(dataset)
    name = next(iter(dataset.cutouts))
    points = database.scan(*scan_of(name)).xyz
    xyz = database.xyz(name).reshape(-1, 3)
    for point in xyz[np.isfinite(xyz[:, 0])][::5000]:
        assert np.linalg.norm(points - point, axis=1).min() < 0.1
