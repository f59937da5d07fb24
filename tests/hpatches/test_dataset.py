import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.dataset import (
    fingerprint,
    inspect,
    load_dataset,
    read_homography,
    read_sequence,
)
from d2eval.hpatches.protocol import load_benchmark

BENCHMARK = load_benchmark()
IDENTITY = "1 0 0\n0 1 0\n0 0 1\n"
# From the authors' notebook; "contruction" is the folder's name.
EXCLUDED = (
    "i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding",
    "v_artisans", "v_astronautis", "v_talent",
)  # fmt: skip


def make_sequence(root: Path, name: str, suffix: str = ".ppm") -> Path:
    """A sequence of empty images: nothing here looks at pixels."""
    folder = root / name
    folder.mkdir(parents=True)
    for k in range(1, 7):
        (folder / f"{k}{suffix}").touch()
        if k > 1:
            (folder / f"H_1_{k}").write_text(IDENTITY)
    return folder


def make_tree(root: Path, i: int, v: int) -> Path:
    for split, count in (("i", i), ("v", v)):
        for number in range(count):
            make_sequence(root, f"{split}_{number:03d}")
    return root


def names(dataset) -> list[str]:
    return [sequence.name for sequence in dataset.sequences]


def test_the_numbers_of_the_protocol():
    assert sorted(BENCHMARK.excluded) == sorted(EXCLUDED)
    assert BENCHMARK.images_per_sequence == 6
    assert BENCHMARK.thresholds_px == tuple(range(1, 16))
    assert BENCHMARK.complete == {"i": 52, "v": 56}
    assert (BENCHMARK.matcher.name, BENCHMARK.matcher.options) == ("mnn", {})


def test_a_sequence_is_six_images_and_five_homographies(tmp_path):
    folder = make_sequence(tmp_path, "v_wall")
    (folder / "H_1_3").write_text("0.5 0 10\n0 2 -20\n0.001 0 1\n")
    sequence = read_sequence(folder, 6)
    assert (sequence.name, sequence.split) == ("v_wall", "v")
    assert sequence.images == tuple(folder / f"{k}.ppm" for k in range(1, 7))
    found = dict(enumerate(sequence.homographies, start=2))
    assert sorted(found) == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(found[3], [[0.5, 0, 10], [0, 2, -20], [0.001, 0, 1]])
    for k in (2, 4, 5, 6):
        np.testing.assert_array_equal(found[k], np.eye(3))


def test_sequences_come_by_name_and_the_rest_is_ignored(tmp_path):
    for name in ("v_b", "i_c", "v_a"):
        make_sequence(tmp_path, name)
    (tmp_path / "README.txt").touch()
    (tmp_path / "i_notes").touch()  # a file
    (tmp_path / "x_other").mkdir()
    (tmp_path / ".hidden").mkdir()
    dataset = load_dataset(tmp_path, BENCHMARK)
    assert names(dataset) == ["i_c", "v_a", "v_b"]
    assert [sequence.split for sequence in dataset.sequences] == ["i", "v", "v"]
    assert dataset.ignored == ("README.txt", "i_notes", "x_other")


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["1.ppm", "1.png"], "1.ppm"),
        (["1.png", "1.jpg"], "1.png"),
        (["1.PNG"], "1.PNG"),
        (["1.PPM", "1.png"], "1.PPM"),
        (["1.jpeg"], "1.jpeg"),
        (["1.JPG", "1.jpeg"], "1.JPG"),
        (["1.ppm", "1.ppm.d2-net", "1.ppm.png", "10.ppm", "1.txt"], "1.ppm"),
    ],
)
def test_the_original_is_taken_before_its_conversions(tmp_path, there, taken):
    folder = make_sequence(tmp_path, "i_a")
    (folder / "1.ppm").unlink()
    for name in there:
        (folder / name).touch()
    assert read_sequence(folder, 6).images[0] == folder / taken
    assert read_sequence(folder, 6).images[1] == folder / "2.ppm"  # mixed formats are fine


def test_of_suffixes_in_two_cases_one_is_taken_always(tmp_path):
    folder = make_sequence(tmp_path, "i_a")
    (folder / "1.PPM").touch()
    if len(list(folder.iterdir())) == 11:
        pytest.skip("this file system doesn't tell cases apart")
    assert read_sequence(folder, 6).images[0].name == "1.ppm"


def refused(root: Path, *says: str, pattern: str = "*") -> str:
    with pytest.raises(D2EvalError) as caught:
        load_dataset(root, BENCHMARK, pattern)
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message
    return message


def test_no_such_folder(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path / 'nowhere'}: no such folder", "--data")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "no such folder")


def test_a_folder_without_sequences(tmp_path):
    (tmp_path / "stuff").mkdir()
    refused(tmp_path, f"{tmp_path}: no sequence", "--data")


def test_a_folder_that_can_not_be_read(tmp_path, monkeypatch):
    def forbidden(folder: Path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    refused(tmp_path, f"{tmp_path}: can't be read (Permission denied)")


@pytest.mark.parametrize("number", range(1, 7))
def test_five_images(tmp_path, number):
    folder = make_sequence(tmp_path, "v_a")
    (folder / f"{number}.ppm").unlink()
    (folder / f"{number}.gif").touch()
    refused(tmp_path, f"{folder}: image {number} is missing", ".ppm, .png, .jpg")


BAD_HOMOGRAPHIES = {
    "empty": ("", "3x3"),
    "blank": ("\n\n", "3x3"),
    "two rows": ("1 0 0\n0 1 0\n", "2x3 numbers, not 3x3"),
    "four columns": ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", "3x4 numbers, not 3x3"),
    "one row of nine": ("1 0 0 0 1 0 0 0 1\n", "1x9 numbers, not 3x3"),
    "ragged": ("1 0 0\n0 1\n0 0 1\n", "no 3x3 matrix"),
    "text": ("not a matrix\n", "no 3x3 matrix"),
    "words among numbers": ("1 0 0\n0 one 0\n0 0 1\n", "no 3x3 matrix"),
    "NaN": ("1 0 0\n0 nan 0\n0 0 1\n", "NaN"),
    "infinite": ("1 0 inf\n0 1 0\n0 0 1\n", "infinite"),
    "too large": ("1 0 1e999\n0 1 0\n0 0 1\n", "infinite"),
    "zero": ("0 0 0\n0 0 0\n0 0 0\n", "singular"),
    "singular": ("1 2 3\n2 4 6\n0 0 1\n", "singular"),
    "bytes": ("\0\x01\x7f", "line 1 holds a zero byte"),
}


@pytest.mark.parametrize("what", BAD_HOMOGRAPHIES)
def test_a_bad_homography_is_named(tmp_path, what):
    content, says = BAD_HOMOGRAPHIES[what]
    folder = make_sequence(tmp_path, "i_a")
    (folder / "H_1_4").write_text(content)
    message = refused(tmp_path, says, "replace it")
    assert message.startswith(f"{folder / 'H_1_4'}: ")


def test_a_homography_that_is_no_text(tmp_path):
    folder = make_sequence(tmp_path, "i_a")
    (folder / "H_1_2").write_bytes(b"\xff\xfe\x00\x80")
    refused(tmp_path, f"{folder / 'H_1_2'}: is UTF-16 text")


def test_a_missing_homography(tmp_path):
    folder = make_sequence(tmp_path, "i_a")
    (folder / "H_1_5").unlink()
    refused(tmp_path, f"{folder / 'H_1_5'}: is missing")
    (folder / "H_1_5").mkdir()
    refused(tmp_path, f"{folder / 'H_1_5'}: ")


@pytest.mark.parametrize(
    "text",
    [
        "2 0 1\n0 3 2\n0.001 0 1",
        "  2.0e0\t0 1 \r\n0 3 2\r\n1e-3 0 1\r\n\r\n",
        "2 0 1\n0 3 2\n1.000e-03 -0 1\n",
    ],
)
def test_homographies_as_they_are_written_by_different_hands(tmp_path, text):
    (tmp_path / "H").write_bytes(text.encode())
    np.testing.assert_array_equal(
        read_homography(tmp_path / "H"), [[2, 0, 1], [0, 3, 2], [0.001, 0, 1]]
    )


def test_a_run_stops_at_the_first_problem_and_an_inspection_lists_them(tmp_path):
    good = make_sequence(tmp_path, "i_good")
    bad = make_sequence(tmp_path, "v_bad")
    worse = make_sequence(tmp_path, "v_worse")
    (bad / "3.ppm").unlink()
    (worse / "H_1_2").write_text("")
    (good / "attribs.txt").touch()
    refused(tmp_path, f"{bad}: image 3 is missing")
    found = inspect(tmp_path, BENCHMARK)
    assert [sequence.name for sequence in found.sequences] == ["i_good"]
    assert len(found.problems) == 2
    assert found.problems[0].startswith(f"{bad}: ")
    assert found.problems[1].startswith(f"{worse / 'H_1_2'}: ")
    assert found.extra == ["i_good/attribs.txt"]


def test_a_broken_sequence_that_was_not_asked_for_is_no_problem(tmp_path):
    make_sequence(tmp_path, "i_good")
    (make_sequence(tmp_path, "v_bad") / "3.ppm").unlink()
    assert names(load_dataset(tmp_path, BENCHMARK, "i_*")) == ["i_good"]


def test_the_eight_are_left_out(tmp_path):
    for name in (*EXCLUDED, "i_construction", "v_wall"):
        make_sequence(tmp_path, name)
    (tmp_path / "i_dc" / "1.ppm").unlink()  # nobody looks into them
    dataset = load_dataset(tmp_path, BENCHMARK)
    assert names(dataset) == ["i_construction", "v_wall"]
    assert sorted(dataset.excluded) == sorted(EXCLUDED)


def test_only_excluded_sequences(tmp_path):
    make_sequence(tmp_path, "i_dc")
    refused(tmp_path, "no sequence")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["i_ab", "i_b", "v_a", "v_ab"]),
        ("v_*", ["v_a", "v_ab"]),
        ("v_a", ["v_a"]),
        ("*_ab", ["i_ab", "v_ab"]),
        ("i_b,v_a", ["i_b", "v_a"]),
        ("v_a , i_b", ["i_b", "v_a"]),
        ("?_[b]", ["i_b"]),
        ("v_a,v_*", ["v_a", "v_ab"]),
    ],
)
def test_patterns(tmp_path, pattern, expected):
    for name in ("i_ab", "i_b", "v_a", "v_ab"):
        make_sequence(tmp_path, name)
    assert names(load_dataset(tmp_path, BENCHMARK, pattern)) == expected


@pytest.mark.parametrize("pattern", ["v_none", "V_A", "", "v_a,v_nosuch", "v_nosuch, v_*", "*,i_*"])
def test_a_pattern_that_matches_nothing(tmp_path, pattern):
    make_sequence(tmp_path, "v_a")
    wrong = next(p for p in map(str.strip, pattern.split(",")) if p not in ("v_a", "v_*", "*"))
    refused(tmp_path, f"no sequence {wrong!r}", "--sequences", pattern=pattern)


@pytest.fixture(scope="module")
def complete_tree(tmp_path_factory):
    root = make_tree(tmp_path_factory.mktemp("hpatches"), 52, 56)
    for name in EXCLUDED:
        make_sequence(root, name)
    return root


def test_a_complete_set(complete_tree):
    dataset = load_dataset(complete_tree, BENCHMARK)
    assert len(dataset.sequences) == 108
    assert sum(len(sequence.images) for sequence in dataset.sequences) == 648
    assert sum(len(sequence.homographies) for sequence in dataset.sequences) == 540
    assert len(dataset.excluded) == 8
    assert dataset.completeness == "complete"


def test_a_part_of_a_complete_set_is_partial(complete_tree):
    dataset = load_dataset(complete_tree, BENCHMARK, "v_*")
    assert dataset.completeness == "partial (56 of 108 sequences)"


def test_one_sequence_less_is_partial(complete_tree, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(complete_tree, root, copy_function=shutil.copyfile)
    shutil.rmtree(root / "v_017")
    assert load_dataset(root, BENCHMARK).completeness == "partial (107 of 108 sequences)"
    make_sequence(root, "i_one_too_many")  # 108 again, but not 52 and 56
    dataset = load_dataset(root, BENCHMARK)
    assert len(dataset.sequences) == 108
    assert dataset.completeness.startswith("partial")


def test_the_sample_is_never_complete(tmp_path):
    make_tree(tmp_path, 1, 1)
    benchmark = replace(BENCHMARK, complete={"i": 1, "v": 1})
    assert load_dataset(tmp_path, benchmark).completeness == "complete"
    assert load_dataset(tmp_path, benchmark, sample=True).completeness == "sample"


def content_hashes(dataset) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for sequence in dataset.sequences
        for path in sequence.images
    }


def fingerprint_of(root: Path) -> str:
    dataset = load_dataset(root, BENCHMARK)
    return fingerprint(dataset, content_hashes(dataset))


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    root = make_tree(tmp_path / "a", 1, 2)
    before = fingerprint_of(root)
    shutil.copytree(root, tmp_path / "b")
    assert fingerprint_of(tmp_path / "b") == before  # not of the place

    changed = set()
    (root / "v_000" / "4.ppm").write_bytes(b"x")
    changed.add(fingerprint_of(root))
    (root / "v_000" / "4.ppm").rename(root / "v_000" / "spare")
    (root / "v_000" / "4.ppm").touch()
    assert fingerprint_of(root) == before
    (root / "v_000" / "5.ppm").write_bytes(b"x")  # the same bytes at another place
    changed.add(fingerprint_of(root))
    (root / "v_000" / "5.ppm").write_bytes(b"")
    (root / "i_000" / "H_1_6").write_text("1 0 0\n0 1 0\n0 0 1.0000000001\n")
    changed.add(fingerprint_of(root))
    (root / "i_000" / "H_1_6").write_text(IDENTITY)
    (root / "v_001").rename(root / "v_002")
    changed.add(fingerprint_of(root))
    shutil.rmtree(root / "v_002")
    changed.add(fingerprint_of(root))
    assert len(changed | {before}) == 6
