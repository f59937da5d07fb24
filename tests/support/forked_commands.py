"""``d2eval`` as processes that can be killed, forked from one in which all is imported.

They are what a process that was started anew is once it has imported PyTorch and the rest, which
takes a hundred times as long as a fork. Tests of how a process begins start it anew.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from places import REPOSITORY

LONGEST_S = 300

_SERVER = """
import json, os, resource, signal, sys
sys.path.append(sys.argv[1])
import d2eval.aachen.aachen, d2eval.inloc.inloc, d2eval.api
import d2eval.aachen.run, d2eval.hpatches.hpatches, d2eval.inloc.run, d2eval.inloc.poses.sparse
import d2eval.aachen.report.description, d2eval.hpatches.report.curves, d2eval.hpatches.report.table
import d2eval.inloc.report.description, d2eval.localization.pictures
import d2eval.cli.evaluate, d2eval.hpatches.evaluation
import d2eval.sample.aachen, d2eval.sample.hpatches
import matplotlib.backends.backend_agg, methods.matchers.mnn, methods.rootsift, numpy, poselib
import undrawn
from d2eval.foundation.arrays.nearest import nearest_neighbors
from d2eval.foundation.terminal import progress
from d2eval.__main__ import main

nearest_neighbors(*numpy.eye(2, dtype="float32")[None].repeat(2, 0))  # loads what was compiled
progress.FIRST_S = 3600.0  # no line comes on a busy machine
while line := sys.stdin.readline():
    order = json.loads(line)
    if "pid" in order:
        pid, status = os.waitpid(order["pid"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if pid else None
    else:
        answer = os.fork()
        if not answer:
            for number, path in enumerate((os.devnull, order["out"], order["err"])):
                opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                os.dup2(opened, number)
                os.close(opened)
            if order["limit"]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
            # A shell may have started the tests in the background, where Ctrl-C is ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if not order["draws"]:
                undrawn.leave_out(setattr)
            sys.argv = ["d2eval", *order["arguments"]]
            code = main()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # to take down all that was imported takes longer than most commands
    print(json.dumps(answer), flush=True)
"""


class Command:
    """One that was started: like `subprocess.Popen`, whose output are files."""

    def __init__(self, commands: "Commands", pid: int, out: Path, err: Path) -> None:
        self._commands, self._out, self._err = commands, out, err
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._commands.ask(pid=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until it was waited for, its id is no other process's
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        deadline = time.monotonic() + LONGEST_S
        while self.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        self.wait()
        return self._out.read_text(), self._err.read_text()


class Commands:
    """Starts commands; the process that forks them is started with the first."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._server: subprocess.Popen | None = None

    def start(self, *arguments: object, limit: int | None = None, draws: bool = False) -> Command:
        """Starts a command, whose files can't grow beyond ``limit`` bytes.

        Only one that ``draws`` shows a run in a table and figures, as most tests look at no more
        than its rows.
        """
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        words = [str(word) for word in arguments]
        pid = self.ask(arguments=words, out=str(out), err=str(err), limit=limit, draws=draws)
        return Command(self, pid, out, err)

    def ask(self, **order: object) -> int | None:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(Path(__file__).parent)],
                cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        print(json.dumps(order), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()
