import csv

import pytest

from d2eval.cli import main

FILES = ["csv", "md", "png", "svg"]


def test_a_method_with_a_network(tmp_path, capsys):
    assert main(["describe", "d2_ms", "--size", "320x240", "--output", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"architecture_d2_ms.{kind}" for kind in FILES]
    for name in names:
        assert f"wrote {tmp_path / name}" in out
    assert (tmp_path / "architecture_d2_ms.md").read_text() in out
    assert "# d2_ms: D2-Net, multi-scale" in out
    assert "| --max-edge " in out
    with (tmp_path / "architecture_d2_ms.csv").open(newline="", encoding="utf-8") as file:
        conv1_1 = next(csv.DictReader(file))
    assert (conv1_1["width"], conv1_1["height"], conv1_1["channels"]) == ("320", "240", "64")
    assert (tmp_path / "architecture_d2_ms.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "architecture_d2_ms.svg").read_text()


def test_options_of_the_method(tmp_path, capsys):
    options = ["--size", "640x480", "--max-edge", "320", "--no-relu"]
    assert main(["describe", "d2_ss", *options, "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "640x480 pixels, which the method's limits shrink to 320x240" in out
    (conv4_3,) = [line for line in out.splitlines() if "| conv4_3 " in line]
    assert "yes" not in conv4_3 and "79x59x512" in conv4_3
    assert "Pyramid" not in out


def test_trained_weights_need_not_be_there(tmp_path, capsys):
    assert main(["describe", "d2_ss_trained", "--size", "64x48", "--output", str(tmp_path)]) == 0
    assert "D2-Net, single scale, trained" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["rootsift", "methods.TEMPLATE:MyFeature"])
def test_a_method_without_a_network(tmp_path, capsys, method):
    assert main(["describe", method, "--num-features", "77", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"# {method}: " in out
    (line,) = [line for line in out.splitlines() if "--num-features" in line]
    assert line.split("|")[2].strip() == "77"
    assert "no network" in out
    assert not list(tmp_path.iterdir())


def test_a_benchmark_with_a_network(tmp_path, capsys):
    assert main(["describe", "cifar10", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"architecture_cifar10.{kind}" for kind in FILES]
    assert "An image of 32x32 pixels." in out
    total = next(line for line in out.splitlines() if "| total " in line)
    assert "170,986" in total


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["d2_m"], "unknown method 'd2_m'; did you mean d2_m"),
        (["precomputed:x"], "describe: precomputed:x stands for files; name a method"),
        (["--size", "64x48", "d2_ms"], "describe: name the method first"),
        (["hpatches"], "hpatches is a benchmark without a network; name a method"),
        (["cifar10", "--size", "64x48"], "the network of cifar10 takes images of 32x32; leave it"),
        (["d2_ms", "--size", "15x600"], "--size 15x600: too small, the network has no output at"),
        (["d2_ss", "--max-edge", "0"], "--max-edge must be 1 or more"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, arguments, reason):
    if arguments[0] != "--size":
        arguments = [*arguments, "--output", str(tmp_path)]
    assert main(["describe", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert reason in error


def test_help_with_and_without_a_method(capsys):
    for arguments, expected in (([], False), (["d2_ms"], True)):
        assert main(["describe", *arguments, "--help"]) == 0
        out = capsys.readouterr().out
        assert ("options of d2_ms" in out) is expected
        assert "--size WxH" in out
