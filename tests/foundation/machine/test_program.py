"""Programs of others: how they end, what they say, and that they never outlive d2eval."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from d2eval.foundation.machine.program import TAIL_BYTES, Program, last_lines

PATIENCE_S = 20


def until(holds) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def finished(*command: str) -> Program:
    program = Program(command)
    until(program.ended)
    return program


@pytest.mark.parametrize(
    ("script", "end", "output"),
    [
        ("echo one; echo two >&2", None, "one\ntwo\n"),
        ("exit 3", "ended with exit code 3", ""),
        ("kill -9 $$", "was ended by signal 9", ""),
        ("cat; echo $?", None, "0\n"),  # there is no input
    ],
)
def test_how_it_ended_and_what_it_printed(script, end, output):
    program = finished("sh", "-c", script)
    assert (program.end(), program.output()) == (end, output)
    program.stop()


def test_no_such_program():
    program = finished("/no/such/program")
    assert program.end() == "can't be started (No such file or directory)"
    program.stop()


def test_of_endless_output_the_end_is_kept():
    program = finished("sh", "-c", "yes | head -c 3000000; echo last")
    assert program.output().endswith("y\ny\nlast\n")
    assert len(program.output()) == TAIL_BYTES
    program.stop()


@pytest.mark.parametrize(
    ("text", "last", "is_all"),
    [
        ("", "", True),
        (" one\n\n two \n", "one / two", True),
        ("1\n2\n3\n4\n", "2 / 3 / 4", False),
        ("x" * 601, "x" * 600, False),
    ],
)
def test_its_last_lines_are_one(text, last, is_all):
    assert last_lines(text) == (last, is_all)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started_in(file: Path) -> list[int]:
    """The processes whose numbers stand in a file."""
    until(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(number) for number in file.read_text().split()]


def family(file: Path) -> str:
    """A script that ignores signals and has a child in the background."""
    return f"trap '' TERM INT HUP; sleep 1000 & echo $! $$ > {file}; wait; wait"


def test_stopped_with_all_that_it_started(tmp_path):
    program = Program(["sh", "-c", family(tmp_path / "pids")])
    pids = started_in(tmp_path / "pids")
    program.stop()
    until(lambda: not any(map(is_running, pids)))


def test_what_it_leaves_behind_ends_with_it(tmp_path):
    program = finished("sh", "-c", f"sleep 1000 & echo $! $$ > {tmp_path / 'pids'}")
    until(lambda: not any(map(is_running, started_in(tmp_path / "pids"))))
    assert program.end() is None
    program.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_d2eval_is_killed(tmp_path, number):
    text = (
        "import sys, time; from d2eval.foundation.machine.program import Program\n"
        f"p = Program(['sh', '-c', {family(tmp_path / 'pids')!r}]); time.sleep(1000)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    pids = started_in(tmp_path / "pids")
    assert all(map(is_running, pids))
    parent.send_signal(number)
    parent.wait()
    until(lambda: not any(map(is_running, pids)))
