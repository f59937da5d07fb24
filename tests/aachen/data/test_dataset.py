import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from aachen_folder import DAY, LINE, NIGHT, AachenFolder
from places import DATA, needs

from d2eval.aachen.aachen import PROTOCOLS
from d2eval.aachen.data.check import check
from d2eval.aachen.data.dataset import fingerprint, load_dataset
from d2eval.aachen.data.files import KINDS
from d2eval.aachen.protocol import load_benchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.poses import center, pose_line
from d2eval.localization.datasets import describe_completeness

FOUNTAIN = DATA / "aachen-fountain"
needs_fountain = needs(FOUNTAIN)
POSE = "1 0 0 0 0 0 0"
BENCHMARK = load_benchmark()


@pytest.fixture
def folder(tmp_path):
    return AachenFolder(tmp_path / "data")


def error(folder: AachenFolder, **arguments: object) -> str:
    """The one line of what `load_dataset` raises."""
    with pytest.raises(D2EvalError) as caught:
        load_dataset(folder.write(), BENCHMARK, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_small_folder(folder):
    root = folder.write()
    dataset = load_dataset(root, BENCHMARK)
    assert dataset.root == root
    assert dataset.images_folder == root / "images/images_upright"
    assert dataset.image_ids["db/1.png"] == 7  # the file's ids, not their order
    assert list(dataset.poses) == [f"db/{n}.png" for n in range(1, 5)]
    assert dataset.queries == {NIGHT: "night"}
    assert [set(pair) for pair in dataset.pairs[3:]] == [
        {NIGHT, "db/1.png"},
        {NIGHT, "db/2.png"},
        {NIGHT, "db/3.png"},
    ]
    assert (len(dataset.pairs), dataset.merged_pairs, dataset.references) == (6, 0, {})
    assert set(dataset.images) == {"db/1.png", "db/2.png", "db/3.png", NIGHT}
    assert dataset.notes == (
        f"{folder.path('day')}: not evaluated: none of its 1 queries is in a pair",
    )
    assert dataset.completeness == (
        "partial (5 of 4479 database images, 1 of 824 day queries, 1 of 98 night queries, "
        "6 of 14941 pairs)"
    )
    assert load_dataset(root, BENCHMARK, sample=True).completeness == "sample"


def test_cameras_are_the_lists_with_the_databases_ids_and_priors(folder):
    dataset = load_dataset(folder.write(), BENCHMARK)
    listed, query, bare = (dataset.cameras[n] for n in ("db/2.png", NIGHT, "db/5.png"))
    assert (listed.camera_id, listed.has_prior_focal_length) == (2, True)
    assert (query.camera_id, query.has_prior_focal_length) == (6, False)
    assert listed.params.tolist() == query.params.tolist() == [10.5, 4, 3, 0.25]
    assert (bare.camera_id, bare.params.tolist()) == (5, [105, 4, 3, 0])
    assert len(dataset.cameras) == 7


def test_images_with_one_camera(folder):
    folder.camera_of = {"db/5.png": 1, "db/2.png": 1, "db/1.png": 1}
    cameras = load_dataset(folder.write(), BENCHMARK).cameras
    for name in folder.camera_of:  # also db/5.png, that has no line
        assert (cameras[name].camera_id, cameras[name].params[0]) == (1, 10.5)
    other = AachenFolder(folder.root.with_name("other"), camera_of=folder.camera_of)
    other.intrinsics[1] = "db/2.png SIMPLE_RADIAL 8 6 11 4 3 0.25"
    assert "db/1.png share camera 1, but their intrinsics differ" in error(other)


def test_both_lists_are_evaluated_when_both_are_paired(folder):
    folder.pairs += [f"{DAY} db/4.png", "db/4.png db/1.png"]
    dataset = load_dataset(folder.write(), BENCHMARK)
    assert dataset.queries == {DAY: "day", NIGHT: "night"}
    assert dataset.notes == ()


def test_a_list_that_names_no_time_of_day_is_a_split_of_its_own(folder):
    root = folder.write()
    folder.path("night").rename(root / "queries/dusk_with_intrinsics.txt")
    assert load_dataset(root, BENCHMARK).queries == {NIGHT: "dusk_with_intrinsics"}


def test_what_the_user_is_told(folder):
    alone = "query/night/nexus5x/alone.png"
    folder.images.append(alone)
    folder.night.append(f"{alone} {LINE}")
    folder.pairs += ["db/2.png db/1.png", f"{NIGHT} {alone}", "db/1.png db/5.png"]
    root = folder.write()
    with closing(sqlite3.connect(folder.path("database"))) as database, database:
        database.execute("INSERT INTO keypoints VALUES (1, 3, 2, x'00')")
    dataset = load_dataset(root, BENCHMARK)
    assert dataset.queries == {NIGHT: "night", alone: "night"}
    assert (len(dataset.pairs), dataset.merged_pairs) == (8, 1)
    pairs, notes = folder.path("pairs"), dataset.notes
    assert notes[0] == f"{pairs}: 1 lines repeat a pair; merged"
    assert notes[1].endswith("keypoints of 1 images and matches of 0 pairs; they are not used")
    assert notes[2].startswith(f"{folder.path('day')}: not evaluated")
    assert notes[3].endswith(f"1 queries have no pair with a database image and count as failures: "
                             f"{alone}")  # fmt: skip
    assert notes[4] == f"{pairs}: 1 pairs are of two queries, and register none"
    assert notes[5].endswith("no pose of 1 database images; they triangulate nothing")
    assert len(notes) == 6


def test_references(folder, tmp_path):
    folder.references = [f"{DAY} {POSE}", f"{NIGHT} 0 1 0 0 1 2 3"]
    dataset = load_dataset(folder.write(), BENCHMARK)
    assert list(dataset.references) == [NIGHT]
    np.testing.assert_allclose(center(dataset.references[NIGHT]), [-1, 2, 3])
    assert dataset.notes[-1].endswith("reference_poses.txt: 1 poses are not of evaluated queries: "
                                     f"{DAY}")  # fmt: skip
    other = tmp_path / "other.txt"
    other.write_text(f"{NIGHT} {POSE}\n")
    dataset = load_dataset(folder.root, BENCHMARK, reference_poses=other)
    np.testing.assert_allclose(center(dataset.references[NIGHT]), [0, 0, 0])


def told(root) -> tuple[str, ...]:
    """The notes of a run, which are those of check-data."""
    notes = load_dataset(root, BENCHMARK).notes
    said = [line for line in check(root, BENCHMARK).lines if line.startswith("note: ")]
    assert sorted(f"note: {note}" for note in notes) == sorted(said)
    return notes


def test_names_that_no_file_knows_and_parts_are_told_by_a_run_and_by_check_data(folder):
    folder.intrinsics.append(f"db/9.png {LINE}")
    folder.day.append(f"query/day/x.png {LINE}")
    folder.images.append("query/night/unlisted.png")
    folder.references = [f"{NIGHT} {POSE}", f"query/night/y.png {POSE}"]
    root = folder.write()
    notes, database = told(root), folder.path("database")
    for note in (
        f"{folder.path('intrinsics')}: 1 names are not in {database} and not used: db/9.png",
        f"{folder.path('day')}: 1 names are not in {database} and not used: query/day/x.png",
        f"{database}: 1 queries stand in no query list and are not evaluated: "
        "query/night/unlisted.png",
        f"{folder.path('references')}: 1 poses are not of evaluated queries: query/night/y.png",
    ):
        assert note in notes
    assert len(notes) == 5  # and that the day's list is not evaluated


@pytest.mark.parametrize("name", ["model", "intrinsics", "night", "day", "pairs", "references"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_change_nothing(folder, name, ends):
    folder.references = [f"{NIGHT} {POSE}"]
    before = load_dataset(folder.write(), BENCHMARK)
    path = folder.path(name)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", ends).encode())
    after = load_dataset(folder.root, BENCHMARK)
    hashes = dict.fromkeys(before.images, "")
    assert (after.notes, after.pairs) == (before.notes, before.pairs)
    assert fingerprint(after, hashes) == fingerprint(before, hashes)


def test_references_of_some_queries_are_refused(folder, tmp_path):
    folder.pairs.append(f"{DAY} db/1.png")
    folder.references = [f"{NIGHT} {POSE}"]
    assert f"1 queries have no reference pose: {DAY}; add them" in error(folder)
    with pytest.raises(D2EvalError, match=r"none\.txt: is missing; add it"):
        load_dataset(folder.root, BENCHMARK, reference_poses=tmp_path / "none.txt")


def test_another_pair_list(folder, tmp_path):
    other = tmp_path / "own.txt"
    other.write_text(f"{DAY} db/1.png\n")
    dataset = load_dataset(folder.write(), BENCHMARK, pairs=other)
    assert (dataset.queries, dataset.pairs) == ({DAY: "day"}, ((DAY, "db/1.png"),))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pairs": ["db/1.png db/2.png", f"{NIGHT} db/9.png"]},
         "pairs_to_match.txt: line 2 names db/9.png; 1 images (db/9.png) are not in "),
        ({"pairs": ["db/1.png db/2.png", "query/x.png db/2.png", f"{NIGHT} db/1.png"],
          "images": ["db/1.png", "db/2.png", "db/3.png", "db/4.png", NIGHT, "query/x.png"]},
         "line 2 names query/x.png; 1 images (query/x.png) are queries without intrinsics"),
        ({"night": [f"{NIGHT} {LINE}", f"query/y.png {LINE}"]},
         "database.db: lacks 1 queries: query/y.png"),
        ({"pairs": ["db/1.png db/2.png"]},
         "no pair has a query of day_time_queries_with_intrinsics.txt, night_time_"),
        ({"day": [f"{NIGHT} {LINE}"]}, "/night_time_queries_with_intrinsics.txt: 1 queries stand"),
        ({"night": [f"{NIGHT} {LINE}", f"db/1.png {LINE}"]}, "cvpr2018_db.nvm too: db/1.png"),
        ({"intrinsics": [f"db/{n}.png {LINE}" for n in (1, 3)]},
         "aachen_cvpr2018_db.nvm: 2 cameras are not in "),
        ({"images": ["db/1.png", "db/2.png", "db/3.png", NIGHT]},
         "/database.db: db/4.png; take both from the same dataset"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(folder, changes, expected):
    assert expected in error(replace(folder, **changes))


@pytest.mark.parametrize("name", ["database", "pairs", "model", "intrinsics"])
def test_a_missing_file(folder, name):
    folder.write()
    folder.path(name).unlink()
    with pytest.raises(D2EvalError, match=f"{folder.path(name).name}: is missing"):
        load_dataset(folder.root, BENCHMARK)


def test_missing_lists_folders_and_images(folder, tmp_path):
    with pytest.raises(D2EvalError, match="nothing: no such folder"):
        load_dataset(tmp_path / "nothing", BENCHMARK)
    root = folder.write()
    images = root / "images/images_upright"
    (images / "db/4.png").unlink()  # in no pair
    (images / DAY).unlink()
    load_dataset(root, BENCHMARK)
    (images / "db/3.png").unlink()
    with pytest.raises(D2EvalError, match=r"1 images are missing: db/3\.png; add them"):
        load_dataset(root, BENCHMARK)
    for name in ("night", "day"):
        folder.path(name).unlink()
    with pytest.raises(D2EvalError, match="no query list queries/"):
        load_dataset(root, BENCHMARK)


def test_long_lists_of_names_are_cut(folder):
    folder.pairs += [f"db/1.png db/x{n:02}.png" for n in range(13)]
    assert "13 images (db/x00.png, " in (line := error(folder))
    assert "db/x09.png and 3 more) are not in" in line


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_completeness(protocol):
    complete = load_benchmark(protocol).complete
    counts = {"posed": 7, **complete}
    assert describe_completeness(counts, complete, KINDS) == "complete"
    fewer = {**counts, "pairs": 3}
    assert (
        describe_completeness(fewer, complete, KINDS) == f"partial (3 of {complete['pairs']} pairs)"
    )


def test_poses_are_named_if_they_are_all_that_differs():
    counts = {**BENCHMARK.complete, "posed": 5}
    expected = "partial (5 of 4328 database images with a pose)"
    assert describe_completeness(counts, BENCHMARK.complete, KINDS) == expected
    counts["database"] = 6
    assert (
        describe_completeness(counts, BENCHMARK.complete, KINDS)
        == "partial (6 of 4479 database images)"
    )


def test_the_fingerprint_sees_every_input(folder, tmp_path):
    folder.references = [f"{NIGHT} {POSE}"]
    dataset = load_dataset(folder.write(), BENCHMARK)
    hashes = dict.fromkeys(dataset.images, "0" * 64)
    first = fingerprint(dataset, hashes)
    assert first == fingerprint(load_dataset(folder.root, BENCHMARK), hashes)
    moved = {**dataset.poses, "db/1.png": dataset.poses["db/2.png"]}
    turned = dict.fromkeys(dataset.references, dataset.poses["db/2.png"])
    folder.intrinsics[0] = "db/1.png SIMPLE_RADIAL 8 6 10.5 4 3 0.26"
    other = load_dataset(replace(folder, root=tmp_path / "other").write(), BENCHMARK)
    changed = [
        fingerprint(replace(dataset, poses=moved), hashes),
        fingerprint(replace(dataset, references=turned), hashes),
        fingerprint(replace(dataset, pairs=dataset.pairs[:-1]), hashes),
        fingerprint(replace(dataset, queries={NIGHT: "day"}), hashes),
        fingerprint(replace(dataset, cameras=other.cameras), hashes),
        fingerprint(dataset, {**hashes, NIGHT: "1" * 64}),
    ]
    assert len({first, *changed}) == 7
    assert fingerprint(replace(dataset, root=tmp_path, notes=()), hashes) == first


@needs_fountain
def test_the_real_fountain():
    dataset = load_dataset(FOUNTAIN, BENCHMARK)
    assert dataset.completeness == (
        "partial (8 of 4479 database images, 3 of 824 day queries, 3 of 98 night queries, "
        "76 of 14941 pairs)"
    )
    assert sorted(dataset.queries.values()) == ["day"] * 3 + ["night"] * 3
    assert (len(dataset.images), len(dataset.poses), dataset.notes) == (14, 8, ())
    assert {camera.params[0] for camera in dataset.cameras.values()} == {1044.88}
    for line in (FOUNTAIN / "3D-models/aachen_cvpr2018_db.nvm").read_text().splitlines()[3:11]:
        name, *numbers = line.split()
        stated = [float(number) for number in numbers[5:8]]
        np.testing.assert_allclose(center(dataset.poses[name]), stated, atol=1e-9)
    lines = (FOUNTAIN / "reference_poses.txt").read_text().splitlines()
    for name, line in ((line.split()[0], line) for line in lines):
        written = pose_line(name, dataset.references[name]).split()[1:]
        np.testing.assert_allclose(
            [float(w) for w in written], [float(w) for w in line.split()[1:]], atol=1e-9
        )


@needs_fountain
def test_the_fountains_night_list_evaluates_night_alone():
    dataset = load_dataset(FOUNTAIN, BENCHMARK, pairs=FOUNTAIN / "image_pairs_to_match_night.txt")
    assert set(dataset.queries.values()) == {"night"}
    assert (len(dataset.queries), len(dataset.references), len(dataset.pairs)) == (3, 3, 52)
    assert len(dataset.notes) == 2
