"""``--method external:COMMAND`` from the command line."""

import csv
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from d2eval.cli import main

# Copies what another command has written, <folder>/<sequence>/<image>.rootsift
COPY = """i=0
while read path; do
    folder=$(basename "$(dirname "$path")")
    cp "feats/$folder/$(basename "$path").rootsift" "$2/$i.npz"
    i=$((i + 1))
    {}
done < "$1"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_hpatches) -> Path:
    monkeypatch.chdir(tmp_path)
    line = ["extract", "--method", "rootsift", str(tiny_hpatches), "--cache", "cache"]
    assert main([*line, "--output", "feats"]) == 0
    (tmp_path / "make.sh").write_text(COPY.format(""))
    return tmp_path


def scores(rows: Path) -> list[dict[str, str]]:
    with rows.open() as file:
        return [
            {k: v for k, v in row.items() if not k.startswith(("seconds", "peak"))}
            for row in csv.DictReader(file)
        ]


def test_it_gives_the_rows_of_the_same_features_from_files(
    folder, tiny_hpatches, no_figures, capsys
):
    for method in ("precomputed:feats", "external:sh make.sh {images} {output}"):
        line = ["hpatches", "--method", method, "--data", str(tiny_hpatches), "--cache", "cache"]
        assert main([*line, "--output", "runs"]) == 0
    runs = folder / "runs" / "hpatches"
    assert scores(runs / "sh-make" / "pairs.csv") == scores(runs / "feats" / "pairs.csv")
    assert "features by the program sh make.sh {images} {output}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        ["speed", "--method", "external:sh make.sh"],
        ["show", "external:sh make.sh", "a.png"],
        ["describe", "external:sh make.sh"],
    ],
)
def test_what_runs_a_method_image_by_image_refuses_it(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").save("a.png")
    assert main(line) == 2
    expected = f"d2eval: {line[0]}: external:sh make.sh stands for another program; name a method\n"
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(own, marks=pytest.mark.slow) for own in (signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_killed_it_takes_the_program_along_and_goes_on(folder, tiny_hpatches, commands, number):
    wait = "[ $i = 8 ] && [ ! -e go ] && { echo $$ > pid; sleep 1000; }"
    (folder / "make.sh").write_text(f"cd {folder}\n" + COPY.format(wait))
    line = ["extract", "--method", f"external:sh {folder}/make.sh", str(tiny_hpatches),
            "--cache", str(folder / "cache"), "--output", str(folder / "again")]  # fmt: skip
    command = commands.start(*line)
    units = folder / "cache" / "features"
    end = time.monotonic() + 30
    while len([*units.glob("external-*/*.h5")]) < 8 or not (folder / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(command.pid, number)
    command.wait()
    program = int((folder / "pid").read_text())
    while psutil.pid_exists(program):
        assert time.monotonic() < end
        time.sleep(0.02)
    (folder / "go").touch()
    assert main(line) == 0
    assert len([*(folder / "again").rglob("*.sh-make")]) == 12
    assert not [*units.rglob("*.tmp")]
