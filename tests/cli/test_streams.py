"""Commands in bad surroundings: no home, streams that are closed or full, names no terminal has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

from d2eval.cli import main

FULL = Path("/dev/full")


def run(*arguments: str | bytes, redirect: str = "", **environment: str | None):
    """Runs the command line in a shell of its own; None takes a variable away."""
    variables = {**os.environ, **environment}
    kept = {name: value for name, value in variables.items() if value is not None}
    line = ["sh", sys.executable, "-m", "d2eval", *arguments]
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirect}', *line],
        cwd=REPOSITORY, env=kept, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def one_line(error: bytes, start: str) -> None:
    text = error.decode()
    assert text.startswith(start), text
    assert text.count("\n") == 1, text


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["check-data", "--help"])
def test_output_that_is_all_and_cannot_be_written_is_a_failure(arguments, tiny_hpatches):
    words = [arguments] if arguments == "--help" else [arguments, "hpatches", str(tiny_hpatches)]
    done = run(*words, redirect=">/dev/full")
    one_line(done.stderr, "d2eval: standard output can't be written (No space left on device)")
    assert done.returncode == 2


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirect", [">/dev/full 2>&1", "<&- >&- 2>&-"])
def test_a_run_ends_well_whatever_becomes_of_its_words(redirect, tiny_hpatches, tmp_path):
    done = run(
        "extract", "--method", "methods.TEMPLATE:MyFeature", str(tiny_hpatches / "i_tiny"),
        "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out"), redirect=redirect,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert len([path for path in (tmp_path / "out").rglob("[1-6].*") if path.is_file()]) == 6


def test_a_pipe_that_nobody_reads_ends_quietly(tiny_hpatches):
    done = run("check-data", "hpatches", str(tiny_hpatches), redirect="| true")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_wrong_option_with_standard_error_closed():
    assert run("check-data", "--nosuch", redirect="2>&-").returncode == 2


@pytest.mark.parametrize("command", ["hpatches", "methods", "train"])
def test_help_without_a_home(command, monkeypatch, capsys):
    monkeypatch.setenv("D2EVAL_CACHE", f"~{'x' * 20}/cache")
    monkeypatch.delenv("HOME", raising=False)
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["methods"], "cache"),
        (["hpatches", "--method", "precomputed:~nosuchuser/x"], "x"),
        (["cifar10", "--config", "~nosuchuser/x"], "x"),
    ],
)
def test_a_home_of_nobody_is_one_line(arguments, path, monkeypatch, capsys):
    if path == "cache":
        monkeypatch.setenv("D2EVAL_CACHE", "~nosuchuser/cache")
    assert main(arguments) == 2
    error = capsys.readouterr().err.encode()
    one_line(error, f"d2eval: ~nosuchuser/{path}: no such home folder is known here")


def test_a_path_that_is_too_long_is_one_line():
    done = run("check-data", "hpatches", "a" * 300)
    assert done.returncode == 2
    one_line(done.stderr, f"d2eval: {'a' * 300}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux only")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_no_terminal_can_show(encoding, tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xff")
    (folder / os.fsdecode(b"v_x\xfe")).mkdir(parents=True)
    done = run("check-data", "hpatches", str(folder), PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stderr == b""
    assert b"\\udcff" in done.stdout
    assert b"image 1 is missing" in done.stdout


def test_words_outside_of_the_streams_encoding_are_escaped(tmp_path):
    done = run("check-data", "hpatches", str(tmp_path / "h\u00e9"), PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    one_line(done.stderr, f"d2eval: {tmp_path}/h\\xe9: no such folder")
