"""``d2eval speed`` end to end, on tiny sizes; what it measures is not asserted, only its sense."""

import csv
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from d2eval.cli import main
from d2eval.foundation.arrays.gemm import multiply_transposed
from d2eval.pipeline import speed

NINE = "rootsift-num-features9"


def rows_of(folder):
    with (folder / "speed.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measured(output, *words):
    line = ["speed", "--size", "64x48", "--repeats", "1", "--output", str(output), *words]
    return main(line)


@contextmanager
def quick() -> Iterator[None]:
    """Measures here what a new process would be handed, beside a peak of small products.

    `test_every_method_has_its_row` starts the processes.
    """

    def here(work, *arguments):
        work, arguments = pickle.loads(pickle.dumps((work, arguments)))  # noqa: S301
        return pickle.loads(pickle.dumps(work(*arguments)))  # noqa: S301

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_alone", here)
        patch.setattr(speed, "PEAK_SIZES", (64, 256))
        yield


def test_a_method_with_a_network(tmp_path, capsys):
    with quick():
        code = measured(tmp_path, "--method", "d2_ss", "--weights", "bundled")
    assert code == 0, capsys.readouterr().err
    (row,) = rows_of(tmp_path)
    assert row["size"] == "64x48"
    # By hand: products of conv1 at 64x48, conv2 at 32x24, conv3 at 16x12, conv4 at 15x11 cells.
    products = 64 * 48 * (3 * 64 + 64 * 64) + 32 * 24 * (64 * 128 + 128 * 128)
    products += 16 * 12 * (128 * 256 + 2 * 256 * 256) + 15 * 11 * (256 * 512 + 2 * 512 * 512)
    assert float(row["gflop"]) == pytest.approx(2 * 9 * products / 1e9)
    assert float(row["seconds"]) > 0
    assert float(row["gflop_per_s"]) == pytest.approx(
        float(row["gflop"]) / float(row["network_seconds"])
    )
    assert float(row["gemm_gflop_per_s"]) > 0.1
    assert float(row["peak_memory_mib"]) > 100
    stored = int(row["features"]) * (2 + 1 + 1 + 512) * 4 / 1e6
    assert float(row["stored_mb"]) == pytest.approx(stored)
    assert "GEMM peak" in (tmp_path / "speed.md").read_text()


@pytest.fixture(scope="module")
def rootsift_and_matcher(tmp_path_factory):
    """A folder of three rows; to be looked at only."""
    output = tmp_path_factory.mktemp("speed")
    words = ["--method", "rootsift", "--size", "80x64", "--matching", "300x200x32"]
    with quick():
        assert measured(output, *words) == 0
    return output


def test_a_method_without_and_the_matcher(rootsift_and_matcher):
    method, larger, matching = rows_of(rootsift_and_matcher)
    assert (method["size"], larger["size"]) == ("64x48", "80x64")
    assert method["gflop"] == method["network_seconds"] == method["gemm_gflop_per_s"] == ""
    assert float(matching["gflop"]) == pytest.approx(2 * 300 * 200 * 32 / 1e9)
    ratio = float(matching["gflop_per_s"]) / float(matching["gemm_gflop_per_s"])
    assert float(matching["ratio_to_gemm"]) == pytest.approx(ratio)


@pytest.mark.parametrize("size", ["800", "800x", "0x10", "10x10x10", "axb"])
def test_sizes_that_are_none(size, tmp_path, capsys):
    assert main(["speed", "--method", "rootsift", "--size", size, "--output", str(tmp_path)]) == 2
    assert "must be 2 numbers" in capsys.readouterr().err


def test_files_have_no_speed(tmp_path, capsys):
    code = main(["speed", "--method", f"precomputed:{tmp_path}", "--output", str(tmp_path)])
    assert code == 2
    assert "name a method" in capsys.readouterr().err


@pytest.mark.parametrize("longest", [0, 60])
def test_the_peak_is_that_of_the_best_size(monkeypatch, longest):
    monkeypatch.setattr(speed, "PEAK_SIZES", (8, 256))
    monkeypatch.setattr(speed, "LONG_S", longest)
    taken = []
    monkeypatch.setattr(
        speed, "multiply_transposed", lambda a, b: taken.append(len(a)) or multiply_transposed(a, b)
    )
    assert speed.gemm_peak("cpu") > (1e8 if longest else 0)
    assert set(taken) == ({8, 256} if longest else {8})  # larger ones are left out if all is slow


@pytest.mark.slow
def test_every_method_has_its_row(rootsift_and_matcher, tmp_path, capsys):
    output = tmp_path / "speed"
    shutil.copytree(rootsift_and_matcher, output)
    first = rows_of(output)
    assert measured(output, "--method", "rootsift", "--num-features", "9") == 0
    with_options = rows_of(output)
    assert [row["what"] for row in with_options] == ["rootsift", "rootsift", "matching", NINE]
    assert with_options[:3] == first
    with quick():
        assert measured(output, "--method", "rootsift") == 0  # again: its row alone is another
    again = rows_of(output)
    assert [row["what"] for row in again] == ["rootsift", "matching", NINE, "rootsift"]
    assert again[:3] == with_options[1:]
    assert all(row["what"] in (output / "speed.md").read_text() for row in again)


def test_a_table_that_is_none_is_told_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "speed.csv").write_text("a,b\n")
    assert measured(tmp_path, "--method", "rootsift") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"d2eval: {tmp_path / 'speed.csv'}: ")
    assert err.count("\n") == 1
    assert (tmp_path / "speed.csv").read_text() == "a,b\n"
