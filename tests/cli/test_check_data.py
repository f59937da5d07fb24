import shutil

import pytest
from PIL import Image

from d2eval.cli import main


@pytest.fixture
def check(capsys):
    """Runs ``d2eval check-data hpatches``: (exit code, lines)."""

    def check(path, *arguments: str) -> tuple[int, list[str]]:
        code = main(["check-data", "hpatches", str(path), *arguments])
        out, error = capsys.readouterr()
        assert error == ""
        return code, out.splitlines()

    return check


@pytest.fixture
def data(tiny_hpatches, tmp_path):
    """A copy of the tiny set that may be broken."""
    return shutil.copytree(tiny_hpatches, tmp_path / "data")


def problems(lines: list[str]) -> list[str]:
    return [line.removeprefix("problem: ") for line in lines if line.startswith("problem: ")]


def test_a_sound_part(check, data):
    assert check(data) == (0, [
        f"HPatches in {data}: partial (2 of 108 sequences)",
        "sequences: 2 (1 i, 1 v), 12 images, 10 pairs",
        "lacking: 51 of 52 i, 55 of 56 v",
        "sound: every file was read",
    ])  # fmt: skip


def test_a_complete_set(check, tmp_path):
    image, matrix = tmp_path / "1.png", tmp_path / "H"
    Image.effect_noise((8, 8), 50).save(image)
    matrix.write_text("1 0 0\n0 1 0\n0 0 1\n")
    for name in [f"i_{n}" for n in range(52)] + [f"v_{n}" for n in range(56)]:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for k in range(1, 7):
            (folder / f"{k}.png").hardlink_to(image)
        for k in range(2, 7):
            (folder / f"H_1_{k}").hardlink_to(matrix)
    code, lines = check(tmp_path / "data")
    assert code == 0
    assert lines == [
        f"HPatches in {tmp_path / 'data'}: complete",
        "sequences: 108 (52 i, 56 v), 648 images, 540 pairs",
        "sound: every file was read",
    ]
    (tmp_path / "data" / "v_7" / "4.png").unlink()
    code, lines = check(tmp_path / "data")
    assert code == 2
    assert lines[0].endswith("partial (107 of 108 sequences)")
    assert lines[2] == "lacking: 1 of 56 v"


def test_what_is_excluded_ignored_and_extra_is_named(check, data):
    (data / "i_dc").mkdir()
    (data / "README").write_text("")
    (data / "other").mkdir()
    (data / "v_tiny" / "H_1_2.txt").write_text("")
    shutil.copy(data / "i_tiny" / "1.png", data / "v_tiny" / "1.png")
    code, lines = check(data)
    assert code == 0
    assert lines[3:6] == [
        "excluded by the protocol: i_dc",
        "not sequences, ignored: README, other",
        "extra in sequences, ignored: v_tiny/1.png, v_tiny/H_1_2.txt",
    ]


def test_a_choice_of_sequences(check, data):
    (data / "i_tiny" / "1.png").unlink()
    code, lines = check(data, "--sequences", "v_*")
    assert code == 0
    assert lines[1] == "sequences: 1 (0 i, 1 v), 6 images, 5 pairs"
    code, lines = check(data, "--sequences", "v_x,i_x")
    assert code == 2
    says = "; check --data and --sequences"
    there = " (there are i_tiny, v_tiny)"
    assert problems(lines) == [
        f"{data}: no sequence '{name}'{there}{says}" for name in ("v_x", "i_x")
    ]
    code, lines = check(data, "--sequences", "v_*,v_tinny")
    assert code == 2
    assert problems(lines) == [f"{data}: no sequence 'v_tinny' (did you mean v_tiny?){says}"]


def _cut(path):
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("5.ppm", lambda p: p.unlink(), ": image 5 is missing"),
        ("5.ppm", _cut, "/5.ppm: broken image"),
        ("1.ppm", lambda p: p.write_bytes(b""), "/1.ppm: is empty"),
        ("6.ppm", lambda p: p.write_text("no image"), "/6.ppm: is not an image"),
        ("H_1_4", lambda p: p.unlink(), "/H_1_4: is missing"),
        ("H_1_4", lambda p: p.write_text(""), "/H_1_4: the homography holds"),
        ("H_1_4", lambda p: p.write_text("1 0 0\n0 1 0\n"), "/H_1_4: the homography holds 2x3"),
        ("H_1_4", lambda p: p.write_text("a b c\n"), "/H_1_4: no 3x3 matrix of numbers"),
        ("H_1_4", lambda p: p.write_text("1 0 0\n0 nan 0\n0 0 1"), "/H_1_4: the homography holds "),
        ("H_1_4", lambda p: p.write_text("1 0 0\n2 0 0\n0 0 1"), "/H_1_4: the homography is "),
    ],
)  # fmt: skip
def test_each_problem_has_its_line(check, data, file, change, message):
    change(data / "v_tiny" / file)
    code, lines = check(data)
    assert code == 2
    assert lines[0].endswith("partial (1 of 108 sequences)")
    assert lines[1] == "sequences: 1 (1 i, 0 v), 6 images, 5 pairs"
    assert lines[2] == "lacking: 51 of 52 i, 56 of 56 v"
    (problem,) = problems(lines)
    assert problem.startswith(f"{data / 'v_tiny'}{message}")
    assert lines[-1] == f"problem: {problem}"


def test_all_problems_are_listed_at_once(check, data):
    folder = data / "v_tiny"
    (folder / "2.ppm").unlink()
    (folder / "H_1_3").rename(folder / "H_1_3.txt")
    _cut(folder / "4.ppm")
    _cut(data / "i_tiny" / "6.png")
    code, lines = check(data)
    assert code == 2
    found = problems(lines)
    assert len(found) == 4
    for part in ("image 2 is missing", "H_1_3: is missing", "4.ppm: broken", "6.png: broken"):
        assert sum(part in problem for problem in found) == 1
    assert "extra in sequences, ignored: v_tiny/H_1_3.txt" in lines


def test_no_folder_and_no_sequence(check, tmp_path, capsys):
    code, lines = check(tmp_path)
    assert (code, len(problems(lines))) == (2, 1)
    assert main(["check-data", "hpatches", str(tmp_path / "nothing")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "nothing: no such folder" in error
