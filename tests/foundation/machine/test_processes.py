"""Processes that work together: what they agree on, and that none waits for one that failed."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from places import REPOSITORY

from d2eval.foundation.machine.processes import (
    Rank,
    number_of_first,
    own_rank,
    same_for_all,
    together,
)

# All are forked from one that has imported what takes most of the time.
SERVER = """
import json, os, sys
import torch.distributed
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.processes import number_of_first, own_rank, same_for_all, together
while line := sys.stdin.readline():
    order, children = json.loads(line), []
    for number in range(2):
        child = os.fork()
        if not child:
            os.chdir(order["folder"])
            os.environ.update(order["group"], RANK=str(number), LOCAL_RANK=str(number))
            for stream, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
            exec(order["program"])
            sys.exit()
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    print(json.dumps([os.waitstatus_to_exitcode(status) for status in statuses]), flush=True)
"""
HEAD = """
rank = own_rank()
with together(rank, "cpu"):
"""
WAIT = "    same_for_all('wait', rank, 'cpu')\n"


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen]:
    started = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, start_new_session=True,
    )  # fmt: skip
    yield started
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


@pytest.fixture
def run(tmp_path, server) -> Callable[[str], list[tuple[int, str, str]]]:
    """Exit code, output and errors of each of two processes, none of which torchrun would end."""

    def run(body: str) -> list[tuple[int, str, str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        order = {"folder": str(tmp_path), "group": group, "program": HEAD + body}
        print(json.dumps(order), file=server.stdin, flush=True)
        assert select.select([server.stdout], [], [], 120)[0]
        codes = json.loads(server.stdout.readline())
        said = ([(tmp_path / f"{n}.{name}").read_text() for name in ("out", "err")] for n in "01")
        return [(code, *texts) for code, texts in zip(codes, said, strict=True)]

    return run


def test_they_agree(run):
    body = """
    print(number_of_first(70 + rank.rank, rank, "cpu"))
    print(same_for_all("one", rank, "cpu"), same_for_all(f"one {rank.rank}", rank, "cpu"))
    print(same_for_all("first" if rank.rank == 0 else "second", rank, "cpu"))
"""
    assert [(code, out) for code, out, _ in run(body)] == [(0, "70\nTrue False\nFalse\n")] * 2


@pytest.mark.parametrize("failing", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_one_that_fails_says_why_and_the_others_end(run, failing):
    body = f"    if rank.rank == {failing}: raise D2EvalError('photo.png: broken')\n" + WAIT
    begun = time.monotonic()
    ended = run(body)
    assert time.monotonic() - begun < 60  # they would wait for twelve hours
    for number, said in ((failing, "photo.png: broken"), (1 - failing, "another process ended (")):
        code, out, err = ended[number]
        assert (code, out) == (2, "")
        # PyTorch warns of the other's end now and then, at some length.
        (line,) = [line for line in err.splitlines() if line.startswith("d2eval: ")]
        assert line.startswith(f"d2eval: {said}")
        assert "Traceback" not in err


@pytest.mark.slow
def test_a_bug_is_shown_whole_and_does_not_wait_either(run):
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


def test_a_loader_s_worker_ends_with_a_parent_that_is_killed(tmp_path):
    """Also where it has more to hand over than the pipe between them holds."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from d2eval.foundation.machine.processes import end_with_parent\n"
        "def work(queue):\n"
        "    end_with_parent()\n"
        "    queue.put(bytes(10_000_000))\n"  # the feeding thread waits, and the process for it
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    child = context.Process(target=work, args=(queue,))\n"
        "    child.start()\n"
        "    time.sleep(2)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([worker], timeout=20)
    for process in alive:
        process.kill()
    assert not alive
