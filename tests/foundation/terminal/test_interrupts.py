"""Ctrl-C and SIGTERM at any moment: one line, exit code, nothing temporary left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from places import REPOSITORY

SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("told to end", 143)}
both = pytest.mark.parametrize("number", SIGNALS)


def start(*arguments: str, cwd: Path, **options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        **options,
    )  # fmt: skip


def listens(process: subprocess.Popen) -> bool:
    """Whether the process has its handlers by now; before, Python itself is being started."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def stop(process: subprocess.Popen, number: int) -> str:
    """Sends the signal, checks what comes of it, and returns the standard output."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    word, code = SIGNALS[number]
    assert (
        err == f"d2eval: {word}; what was finished is kept, the same command goes on from there\n"
    )
    assert process.returncode == code
    return out


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "delay", [0, 0.1, 0.5, *(pytest.param(d, marks=pytest.mark.slow) for d in (0.03, 0.3, 1, 3))]
)
def test_at_any_moment_of_imports_and_parsing(tmp_path, delay):
    number = signal.SIGTERM if delay in (0, 0.1, 1) else signal.SIGINT
    process = start("-m", "d2eval", "methods", "--cache", "cache", cwd=tmp_path)
    while process.poll() is None and not listens(process):
        time.sleep(0.001)
    time.sleep(delay)
    if process.poll() is not None:  # it has ended well before
        assert process.communicate()[1] == ""
        assert process.returncode == 0
        return
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "") or (
        process.returncode == SIGNALS[number][1] and err.count("\n") == 1
    )


# What a command may be doing when the signal comes
WORK = """
import sys, time
from pathlib import Path
from d2eval.foundation.terminal.interrupts import end_on_signals
end_on_signals()
from d2eval.foundation.files.leftovers import scratch_folder, temporary_path
from d2eval.foundation.files.atomic import exclusive

def work():
    {work}

folder = Path("run")
with exclusive(folder), scratch_folder(folder) as scratch, temporary_path(folder / "x.h5") as file:
    (scratch / "database.db").write_bytes(b"half")
    file.write_bytes(b"half")
    print("at work", flush=True)
    work()
"""
BUSY = {
    "sleeping": "time.sleep(60)",
    "computing": "while True: pass",
    "in one long call of C": """
        import hashlib
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    """,
    "catching all": """
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
    """,
    "in a callback whose exceptions are lost": """
        class Lost:
            def __del__(self):
                time.sleep(60)
        Lost()
    """,
    "after colmap": "import pycolmap; print('there', flush=True); time.sleep(60)",
    "waiting for threads": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(time.sleep, [60, 60]))
    """,
    "with a pool": """
        import multiprocessing
        from d2eval.foundation.terminal.interrupts import for_children
        with for_children():
            pool = multiprocessing.get_context("spawn").Pool(1)
        pool.apply(abs, [1])
        print("there", flush=True)
        pool.apply(time.sleep, [60])
    """,
    "with a child": """
        import multiprocessing
        from d2eval.foundation.terminal.interrupts import for_children
        with for_children():
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
        print(child.pid, flush=True)
        child.join()
    """,
}


def at_work(folder: Path, kind: str) -> subprocess.Popen:
    work = textwrap.indent(textwrap.dedent(BUSY[kind]).strip(), "    ").strip()
    process = start("-c", WORK.format(work=work), cwd=folder, start_new_session=True)
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", BUSY)
def test_whatever_it_is_doing(tmp_path, kind, number):
    process = at_work(tmp_path, kind)
    if kind in ("after colmap", "with a pool"):
        assert process.stdout.readline() == "there\n"
    child = int(process.stdout.readline()) if kind == "with a child" else None
    time.sleep(0.1)
    if number == signal.SIGINT:  # a terminal sends it to all processes of the group
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert err.count("\n") == 1
        assert process.returncode == 130
    else:
        stop(process, number)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    if child is not None:
        for _ in range(500):
            if not Path(f"/proc/{child}").exists():
                break
            time.sleep(0.02)
        else:
            pytest.fail("the child lives on")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
def test_while_colmap_is_imported(tmp_path, delay):
    process = start(
        "-c",
        "from d2eval.foundation.terminal.interrupts import end_on_signals\nend_on_signals()\n"
        "print('now', flush=True)\nimport pycolmap\nimport time\ntime.sleep(60)",
        cwd=tmp_path,
    )
    assert process.stdout.readline() == "now\n"
    while "pycolmap/_core" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.0005)
    time.sleep(delay)
    stop(process, signal.SIGTERM)


def test_what_was_printed_is_not_lost(tmp_path):
    process = start(
        "-c",
        "from d2eval.foundation.terminal.interrupts import end_on_signals\n"
        "end_on_signals()\nimport sys, time\n"
        "print('a row')\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)",
        cwd=tmp_path,
    )
    assert process.stderr.readline() == "ready\n"
    assert stop(process, signal.SIGTERM) == "a row\n"


def test_ignored_signals_stay_ignored(tmp_path):
    """As a shell starts what goes on in the background."""
    process = start(
        "-c",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from d2eval.foundation.terminal.interrupts import end_on_signals\nend_on_signals()\n"
        "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)",
        cwd=tmp_path,
    )
    assert process.communicate()[0] == "True\n"


def test_the_shell_gets_the_code_of_the_command(tmp_path):
    """What sys.exit does with the code is not lost by the other entry."""
    process = start("-m", "d2eval", "nosuchcommand", cwd=tmp_path)
    process.communicate()
    assert process.returncode == 2
