"""Processes that work together: what they agree on, and that none waits for one that failed."""

import os
import socket
import subprocess
import sys
import time

import pytest

from d2eval.processes import Rank, number_of_first, own_rank, same_for_all, together

HEAD = """
import sys
from d2eval.errors import D2EvalError
from d2eval.processes import number_of_first, own_rank, same_for_all, together
rank = own_rank()
with together(rank, "cpu"):
"""
WAIT = "    same_for_all('wait', rank, 'cpu')\n"


def run(body: str, world: int = 2) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process, none of which torchrun would end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HEAD + body],
            env={
                **os.environ,
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(started, said, strict=True)]


def test_they_agree():
    body = """
    print(number_of_first(70 + rank.rank, rank, "cpu"))
    print(same_for_all("one", rank, "cpu"), same_for_all(f"one {rank.rank}", rank, "cpu"))
    print(same_for_all("first" if rank.rank == 0 else "second", rank, "cpu"))
"""
    assert [(code, out) for code, out, _ in run(body)] == [(0, "70\nTrue False\nFalse\n")] * 2


@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_fails_says_why_and_the_others_end(failing):
    body = f"    if rank.rank == {failing}: raise D2EvalError('photo.png: broken')\n" + WAIT
    begun = time.monotonic()
    ended = run(body)
    assert time.monotonic() - begun < 60  # they would wait for twelve hours
    assert ended[failing] == (2, "", "d2eval: photo.png: broken\n")
    code, out, err = ended[1 - failing]
    assert (code, out) == (2, "")
    assert err.startswith("d2eval: another process ended (")
    assert err.count("\n") == 1


def test_a_bug_is_shown_whole_and_does_not_wait_either():
    ended = run("    if rank.rank == 1: raise ValueError('a bug')\n" + WAIT)
    assert ended[1][0] == 1
    assert "Traceback" in ended[1][2]
    assert "ValueError: a bug" in ended[1][2]
    assert "another process ended" in ended[0][2]


def test_one_process_needs_no_group():
    with pytest.raises(ValueError, match="mine"), together(Rank(), "cpu"):
        assert number_of_first(5, Rank(), "cpu") == 5
        assert same_for_all("text", Rank(), "cpu")
        raise ValueError("mine")


def test_the_rank_is_what_torchrun_says(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert own_rank() == Rank(0, 1, 0)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert own_rank() == Rank(5, 8, 1)
