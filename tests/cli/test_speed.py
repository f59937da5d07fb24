"""``d2eval speed`` end to end, on tiny sizes; what it measures is not asserted, only its sense."""

import csv

import pytest

from d2eval.cli import main
from d2eval.speed import gemm_peak


def rows_of(folder):
    with (folder / "speed.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_method_with_a_network(tmp_path, capsys):
    code = main(
        ["speed", "--method", "d2_ss", "--weights", "bundled", "--size", "64x48", "--size", "80x64",
         "--repeats", "1", "--output", str(tmp_path)]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    small, large = rows_of(tmp_path)
    assert (small["size"], large["size"]) == ("64x48", "80x64")
    # By hand: products of conv1 at 64x48, conv2 at 32x24, conv3 at 16x12, conv4 at 15x11 cells.
    products = 64 * 48 * (3 * 64 + 64 * 64) + 32 * 24 * (64 * 128 + 128 * 128)
    products += 16 * 12 * (128 * 256 + 2 * 256 * 256) + 15 * 11 * (256 * 512 + 2 * 512 * 512)
    assert float(small["gflop"]) == pytest.approx(2 * 9 * products / 1e9)
    assert float(small["seconds"]) > 0
    assert float(small["peak_memory_mb"]) > 100
    stored = int(small["features"]) * (2 + 1 + 1 + 512) * 4 / 1e6
    assert float(small["stored_mb"]) == pytest.approx(stored)
    assert "GEMM peak" in (tmp_path / "speed.md").read_text()


def test_a_method_without_and_the_matcher(tmp_path, capsys):
    code = main(
        ["speed", "--method", "rootsift", "--size", "96x64", "--matching", "300x200x32",
         "--repeats", "1", "--output", str(tmp_path)]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    method, matching = rows_of(tmp_path)
    assert method["gflop"] == method["network_seconds"] == ""
    assert float(matching["gflop"]) == pytest.approx(2 * 300 * 200 * 32 / 1e9)


@pytest.mark.parametrize("size", ["800", "800x", "0x10", "10x10x10", "axb"])
def test_sizes_that_are_none(size, tmp_path, capsys):
    assert main(["speed", "--method", "rootsift", "--size", size, "--output", str(tmp_path)]) == 2
    assert "must be 2 numbers" in capsys.readouterr().err


def test_files_have_no_speed(tmp_path, capsys):
    code = main(["speed", "--method", f"precomputed:{tmp_path}", "--output", str(tmp_path)])
    assert code == 2
    assert "name a method" in capsys.readouterr().err


def test_the_peak_is_positive():
    assert gemm_peak("cpu") > 1e8


def measured(tmp_path, *words):
    line = ["speed", "--size", "64x48", "--repeats", "1", "--output", str(tmp_path), *words]
    return main(line)


def test_every_method_has_its_rows(tmp_path, capsys):
    assert measured(tmp_path, "--method", "rootsift", "--method", "upright_rootsift") == 0
    assert measured(tmp_path, "--method", "rootsift", "--num-features", "9") == 0
    names = ["rootsift", "upright_rootsift", "rootsift-num-features9"]
    first = rows_of(tmp_path)
    assert [row["what"] for row in first] == names
    assert measured(tmp_path, "--method", "rootsift") == 0  # again: its row alone is another
    again = rows_of(tmp_path)
    assert [row["what"] for row in again] == [*names[1:], names[0]]
    assert again[:2] == first[1:]
    assert all(name in (tmp_path / "speed.md").read_text() for name in names)
    capsys.readouterr()
    (tmp_path / "speed.csv").write_text("a,b\n")
    assert measured(tmp_path, "--method", "rootsift") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"d2eval: {tmp_path / 'speed.csv'}: ")
    assert (tmp_path / "speed.csv").read_text() == "a,b\n"
