import h5py
import numpy as np
import pycolmap
import pytest
from synthetic import added, fill_database, make_scene, register, verify, with_pairs

from d2eval.aachen.pictures import BEST, write_pictures
from d2eval.aachen.protocol import load_benchmark
from d2eval.aachen.triangulation import triangulate
from d2eval.pipeline.store import Store


@pytest.mark.parametrize("protocol", ["aachen", "aachen_hloc"])
def test_pictures_slow(tmp_path, protocol):
    benchmark = load_benchmark(protocol)
    scene = make_scene(
        tmp_path / "data", 51, images=5, points=100, wrong=0.3, noise=0.3,
        shift=added(benchmark),
    )  # fmt: skip
    full, lost = scene.matches, list(scene.dataset.queries)[1]
    scene = with_pairs(scene, {p: m[:0] if lost in p else m for p, m in full.items()})
    store, dataset = Store(tmp_path / "cache"), scene.dataset
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    keys = verify(scene, benchmark, database, store).keys
    model = triangulate(database, dataset, benchmark, keys, store, 0)
    results = register(scene, benchmark, database, model)
    path = tmp_path / "matches.h5"
    write_pictures(path, database, model, dataset, scene.keypoints, results)

    ids = dataset.image_ids
    tracks = {
        (e.image_id, e.point2D_idx): i for i, p in model.points3D.items() for e in p.track.elements
    }
    with h5py.File(path) as file, pycolmap.Database.open(database) as opened:
        assert file.attrs["images"] == str(dataset.images_folder.resolve())
        assert [file[k].attrs["name"] for k in sorted(file)] == list(dataset.queries)
        for k, query in enumerate(dataset.queries):
            counts = {}
            for other in dataset.poses:
                kinds = {}
                verified = []
                if opened.exists_two_view_geometry(ids[query], ids[other]):
                    geometry = opened.read_two_view_geometry(ids[query], ids[other])
                    verified = geometry.inlier_matches.tolist()
                for a, b in scene.matches[other, query][:, ::-1].tolist():
                    point = tracks.get((ids[other], b))
                    if point is not None and results[query].points.get(a) == point:
                        kind = 2
                    else:
                        kind = int([a, b] in verified)
                    ends = [
                        scene.keypoints[query].keypoints[a],
                        scene.keypoints[other].keypoints[b],
                    ]
                    kinds[tuple(np.concatenate(ends).tolist())] = kind
                counts[other] = sum(kind == 2 for kind in kinds.values())
                rank = [r for r in file[str(k)] if file[str(k)][r].attrs["name"] == other]
                if not rank:
                    continue
                unit = file[str(k)][rank[0]]
                assert unit["points_query"].dtype == unit["points_database"].dtype == np.float32
                rows = np.hstack([unit["points_query"][()], unit["points_database"][()]])
                found = dict(zip(map(tuple, rows.tolist()), unit["kind"][()].tolist(), strict=True))
                assert found == kinds
                if query != lost:
                    # In hloc, the matches of queries are not verified.
                    seen = {0, 2} if protocol == "aachen_hloc" else {0, 1, 2}
                    assert set(kinds.values()) <= seen
                    assert {0, 2} <= set(kinds.values())
            assert sorted(file[str(k)]) == [str(rank + 1) for rank in range(BEST)]
            listed = [counts[file[str(k)][r].attrs["name"]] for r in sorted(file[str(k)])]
            assert listed == sorted(counts.values(), reverse=True)[:BEST]


def test_a_query_of_few_pairs_has_few_pictures(tmp_path):
    benchmark = load_benchmark("aachen")
    full = make_scene(tmp_path / "data", 52, images=4, points=100, wrong=0)
    one, none = full.dataset.queries
    matches = {p: m for p, m in full.matches.items() if none not in p}
    matches = {p: m for p, m in matches.items() if one not in p or p[0] == "db/1.png"}
    scene, store = with_pairs(full, matches), Store(tmp_path / "cache")
    database = fill_database(scene, benchmark, tmp_path / "database.db")
    keys = verify(scene, benchmark, database, store).keys
    model = triangulate(database, scene.dataset, benchmark, keys, store, 0)
    results = register(scene, benchmark, database, model)
    write_pictures(tmp_path / "m.h5", database, model, scene.dataset, scene.keypoints, results)
    with h5py.File(tmp_path / "m.h5") as file:
        assert list(file["0"]) == ["1"]
        assert list(file["1"]) == []
        assert (file["0"]["1"]["kind"][()] == 2).sum() == results[one].inliers > 30
