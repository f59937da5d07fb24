import shutil
from itertools import combinations
from pathlib import Path

import pytest
from aachen_folder import DAY, LINE, NIGHT, AachenFolder
from PIL import Image
from places import DATA, needs

from d2eval.aachen.data.check import check as check_folder
from d2eval.aachen.data.check import count_pairs
from d2eval.aachen.data.files import read_files
from d2eval.aachen.protocol import load_benchmark
from d2eval.cli import main

META, FOUNTAIN = DATA / "aachen-meta", DATA / "aachen-fountain"
needs_data = needs(META)
FULL = (
    "a full set: 4479 database images, 4328 database images with a pose, 824 day queries, "
    "98 night queries, 14941 pairs"
)
SOUND = "sound: the files fit each other, and the images have the sizes of their intrinsics"


@pytest.fixture
def folder(tmp_path):
    return AachenFolder(tmp_path / "data")


@pytest.fixture
def check(capsys):
    """Runs ``d2eval check-data aachen``: (exit code, lines that are no problems, problems)."""

    def check(path: Path, *arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["check-data", "aachen", str(path), *arguments])
        out, error = capsys.readouterr()
        assert error == ""
        lines = out.splitlines()
        problems = [line for line in lines if line.startswith("problem: ")]
        assert lines[len(lines) - len(problems) :] == problems  # they come last
        return code, lines[: len(lines) - len(problems)], problems

    return check


def test_a_sound_part(check, folder):
    folder.pairs.append("db/1.png db/2.png")
    folder.references = [f"{NIGHT} 1 0 0 0 0 0 0"]
    root = folder.write()
    (root / "images/images_upright" / DAY).unlink()
    assert check(root) == (0, [
        f"Aachen Day-Night v1 (challenge) in {root}: partial (5 of 4479 database images, "
        "1 of 824 day queries, 1 of 98 night queries, 6 of 14941 pairs)",
        "images in the database: 5 database images, 1 day queries, 1 night queries; 7 cameras, "
        "1 with a prior focal length",
        "database images with a pose: 4",
        "query list day_time_queries_with_intrinsics.txt: 1 day, not evaluated",
        "query list night_time_queries_with_intrinsics.txt: 1 night, evaluated",
        "pairs: 6 (3 of database images, 3 of a query and a database image)",
        "queries with pairs: 1, each with 3 database images; 3 database images are in pairs",
        "pairs of database images: exactly all pairs within the database images of each query",
        "reference poses of queries: 1",
        FULL,
        "without a pose: 1 database images: db/5.png",
        "without an intrinsics line: 1 database images: db/5.png",
        f"without a file, not needed: 1 images: {DAY}",
        f"note: {folder.path('pairs')}: 1 lines repeat a pair; merged",
        f"note: {folder.path('day')}: not evaluated: none of its 1 queries is in a pair",
        SOUND,
    ], [])  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "is_union"),
    [(["a b", "b c", "a c"], True), (["a b", "b c"], False), (["a b", "b c", "a c", "a d"], False)],
)
def test_the_union_of_the_queries_pairs(folder, pairs, is_union):
    names = {letter: f"db/{k}.png" for k, letter in enumerate("abcd", 1)}
    between = [" ".join(names[letter] for letter in pair.split()) for pair in pairs]
    folder.pairs = [*between, f"{names['a']} {NIGHT}", f"{NIGHT} {names['b']}"]
    folder.pairs += [f"{NIGHT} {names['c']}", f"{DAY} {names['a']}", f"{DAY} {NIGHT}"]
    found = count_pairs(read_files(folder.write(), load_benchmark()))
    assert found.is_union is is_union
    assert (found.between_database, found.with_query) == (len(pairs), 4)
    assert (found.queries, found.per_query) == (2, (1, 3))
    assert found.database_images == (4 if "a d" in pairs else 3)


def test_images_are_checked_against_their_intrinsics(check, folder):
    root = folder.write()
    images = root / "images/images_upright"
    Image.new("RGB", (6, 8)).save(images / "db/2.png")
    Image.new("RGB", (8, 7)).save(images / DAY)
    (images / "db/1.png").write_text("no image")
    (images / "db/3.png").unlink()
    (images / "db/4.png").unlink()
    code, lines, problems = check(root)
    assert code == 2
    assert "without a file, not needed: 1 images: db/4.png" in lines
    assert problems == [
        f"problem: {images / 'db/1.png'}: is not an image that can be read (PPM, PNG, JPEG, BMP, "
        "TIFF); replace or convert the file",
        f"problem: {images}: 1 images are missing: db/3.png; add them",
        f"problem: {images}: 2 images are not of the size of their intrinsics: {DAY} "
        "(8x7, not 8x6), db/2.png (6x8, not 8x6); take the original images",
    ]


def test_all_problems_are_listed_at_once(check, folder):
    folder.model[1:3] = ["db/2.png 10.5 1 0 0", "db/9.png 10.5 1 0 0 0 0 0 0 0 0"]
    folder.intrinsics[0] = "db/1.png SIMPLE_RADIAL 8 6 10.5 4 3"
    folder.night.append(f"{DAY} {LINE}")
    folder.day = ["nothing"]
    folder.pairs[1:1] = ["one", "db/1.png db/7.png", "query/x.png db/1.png"]
    folder.references = ["x 1"]
    code, lines, problems = check(folder.write())
    assert code == 2
    expected = [
        "image_pairs_to_match.txt: line 2: not two image names",
        "aachen_cvpr2018_db.nvm: line 5: not `name f qw qx",
        "database_intrinsics.txt: line 1: SIMPLE_RADIAL has 4 parameters",
        "day_time_queries_with_intrinsics.txt: line 1: not `name MODEL",
        "day_time_queries_with_intrinsics.txt: no camera",
        "line 3 names db/7.png; 2 images (db/7.png, query/x.png) are not in ",
        "line 4 names query/x.png; 1 images (query/x.png) are queries without intrinsics",
        "1 cameras are not in " + str(folder.path("database")) + ": db/9.png",
        "2 cameras are not in " + str(folder.path("intrinsics")) + ": db/1.png, db/9.png",
        "reference_poses.txt: line 1: not `name qw",
    ]
    assert len(problems) == len(expected)
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem
    assert "pairs: 8 (4 of database images, 4 of a query and a database image)" in lines


@pytest.mark.parametrize("name", ["database", "pairs", "model", "intrinsics"])
def test_a_missing_file_is_one_problem(check, folder, name):
    root = folder.write()
    folder.path(name).unlink()
    code, _, problems = check(root)
    assert (code, problems) == (2, [f"problem: {folder.path(name)}: is missing; add it"])


def test_a_complete_set(folder):
    root = folder.write()
    benchmark = load_benchmark()
    benchmark.complete.update(database=5, posed=5, day=1, night=1, pairs=6)
    head = check_folder(root, benchmark).lines[0]
    assert head.endswith(": partial (4 of 5 database images with a pose)")
    benchmark.complete["posed"] = 4
    assert check_folder(root, benchmark).lines[0].endswith(": complete")


def test_no_folder(capsys, tmp_path):
    assert main(["check-data", "aachen", str(tmp_path / "nothing")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "nothing: no such folder" in error


def test_the_protocol_says_which_files(check, folder):
    root = folder.write()
    code, lines, _ = check(root, "--protocol", "aachen_hloc")
    assert (code, lines[0].split(" in ")[0]) == (0, "Aachen Day-Night v1 (hloc)")
    code, lines, problems = check(root, "--protocol", "aachen_v1_1")
    assert code == 2
    assert (
        "a full set: 6697 database images, 824 day queries, 191 night queries, 60424 pairs" in lines
    )
    missing = [p.split(": ")[1].removeprefix(f"{root}/") for p in problems if "is missing" in p]
    assert missing == [
        "database_v1_1.db",
        "image_pairs_to_match_v1_1.txt",
        "3D-models/aachen_v_1_1/aachen_v_1_1.nvm",
        "3D-models/aachen_v_1_1/database_intrinsics_v1_1.txt",
    ]


@needs_data
def test_aachens_own_files(check):
    code, lines, problems = check(META)
    assert code == 2
    assert lines == [
        f"Aachen Day-Night v1 (challenge) in {META}: partial "
        "(0 of 4328 database images with a pose)",
        "images in the database: 4479 database images, 824 day queries, 98 night queries; "
        "5401 cameras, 0 with a prior focal length",
        "database images with a pose: 0",
        "pairs: 14941 (12984 of database images, 1957 of a query and a database image)",
        "queries with pairs: 98, each with 17 to 20 database images; "
        "1084 database images are in pairs",
        "pairs of database images: exactly all pairs within the database images of each query",
        "reference poses of queries: none",
        FULL,
    ]
    parts = ("no query list", "nvm: is missing", "intrinsics.txt: is missing", "98 images (")
    for problem, part in zip(problems, (*parts, "images_upright: no such folder"), strict=True):
        assert part in problem


@needs_data
def test_aachens_own_files_in_their_places(tmp_path):
    """One query with 17 database images, and the union by hand."""
    for name in ("database.db", "image_pairs_to_match.txt"):
        shutil.copy(META / name, tmp_path / name)
    (tmp_path / "queries").mkdir()
    shutil.copy(
        META / "night_time_queries_with_intrinsics_from_database.txt",
        tmp_path / "queries/night_time_queries_with_intrinsics.txt",
    )
    found = check_folder(tmp_path, load_benchmark())
    (listed,) = (line for line in found.lines if line.startswith("query list "))
    assert listed == "query list night_time_queries_with_intrinsics.txt: 98 night, evaluated"
    assert [p for p in found.problems if "is missing" not in p and "no such folder" not in p] == []
    retrieved: dict[str, list[str]] = {}
    between = set()
    for line in (META / "image_pairs_to_match.txt").read_text().splitlines():
        a, b = line.split()
        if a.startswith("db/"):
            between.add(tuple(sorted((a, b))))
        else:
            retrieved.setdefault(a, []).append(b)
    sizes = {name: len(images) for name, images in retrieved.items()}
    assert [name[-23:] for name, size in sizes.items() if size != 20] == ["IMG_20161227_192354.jpg"]
    assert (min(sizes.values()), max(sizes.values())) == (17, 20)
    assert any("queries with pairs: 98, each with 17 to 20 " in line for line in found.lines)
    union = {pair for images in retrieved.values() for pair in combinations(sorted(images), 2)}
    assert union == between
    assert any("exactly all pairs within" in line for line in found.lines)
    with (tmp_path / "image_pairs_to_match.txt").open("a") as file:
        file.write("db/1.jpg db/4000.jpg\n")
    found = check_folder(tmp_path, load_benchmark())
    assert any("not all pairs within" in line for line in found.lines)


@needs_data
def test_the_real_fountain(check):
    code, lines, problems = check(FOUNTAIN)
    assert (code, problems) == (0, [])
    assert lines[5:9] == [
        "pairs: 76 (28 of database images, 48 of a query and a database image)",
        "queries with pairs: 6, each with 8 database images; 8 database images are in pairs",
        "pairs of database images: exactly all pairs within the database images of each query",
        "reference poses of queries: 6",
    ]
    assert lines[-1] == SOUND
