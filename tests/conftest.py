"""Fixtures that tests of several folders share."""

import fcntl
import gc
import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import undrawn
from PIL import Image
from scheduled_units import HereWorkers

from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.terminal import progress
from d2eval.scheduling import choice

pytest_plugins = ["run_folders", "work_units"]

TINY_SIZE = (96, 80)
# Set before torch is loaded, for processes that tests start, too: where more threads than cores
# work on one product they wait for each other, and a busy machine is ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test asks for two
# Each test's own --cache would let numba compile everything again.
_USER = os.getuid() if hasattr(os, "getuid") else 0
os.environ.setdefault("NUMBA_CACHE_DIR", f"{tempfile.gettempdir()}/d2eval-tests-numba-{_USER}")
# Nor do a hundred processes compile all sources again, whatever the environment says. (A folder for
# them elsewhere would have what pip compiled of the libraries compiled again, too.)
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# What a shell starts in the background ignores Ctrl-C, and so would all processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collects no garbage among thousands of tests that all stay: half the time that they take."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def shown_in_all(monkeypatch) -> list[tuple[str, str]]:
    """What is under way, as it begins, and what it says of the whole that it is a part of."""
    shown: list[tuple[str, str]] = []
    enter = progress.Progress.__enter__

    def entered(self: progress.Progress) -> progress.Progress:
        shown.append((self._what, self._in_all(None)))
        return enter(self)

    monkeypatch.setattr(progress.Progress, "__enter__", entered)
    return shown


@pytest.fixture(autouse=True, scope="session")
def first_line_s() -> Iterator[float]:
    """Seconds to the first line of progress, which no test sees: it comes on a busy machine."""
    seconds, progress.FIRST_S = progress.FIRST_S, 3600.0
    yield seconds
    progress.FIRST_S = seconds


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    """A sample's folder, rendered once for all processes that run tests; to be looked at only."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rendered"
    cache.mkdir(exist_ok=True)

    def render(make: Callable[[Path], Path]) -> Path:
        with (cache / f"{make.__name__}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until another process has rendered it
            return make(cache)

    return render


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> HereWorkers:
    """What any "local:N" starts is this process."""
    workers, open_others = HereWorkers(), choice._workers_of
    monkeypatch.setattr(
        choice,
        "_workers_of",
        lambda text, threads: workers if choice.is_local(text) else open_others(text, threads),
    )
    return workers


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw nothing; see `undrawn`."""
    undrawn.leave_out(monkeypatch.setattr)


@dataclass
class Fault:
    """What goes wrong in one response: after so many bytes of the body, it is cut or stalls."""

    after: int
    stall: bool = False


class LoopbackServer(ThreadingHTTPServer):
    """Serves ``files`` by name over a real socket, with ``Range``, and fails as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}  # name -> answered instead of the file
        self.redirects: dict[str, str] = {}
        self.extra_headers: dict[str, str] = {}
        self.faults: list[Fault] = []  # one a request, as long as there are some; see `fail`
        self.knows_ranges = True
        self.checks_if_range = True
        self.sends_etag = True
        self.sends_length = True
        self.block, self.delay = 1 << 16, 0.0
        self.ranges: list[str | None] = []  # the Range header of each request
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def fail(self, *after: int, stall: bool = False) -> None:
        """Lets one response each break off after so many bytes of its body."""
        self.faults += [Fault(count, stall) for count in after]

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer

    def do_GET(self) -> None:
        server, name = self.server, self.path.lstrip("/")
        server.ranges.append(self.headers["Range"])
        if name in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[name])
            self.end_headers()
        elif name in server.statuses or name not in server.files:
            self.send_error(server.statuses.get(name, 404))
        else:
            self._send(server.files[name])

    def _send(self, content: bytes) -> None:
        server = self.server
        etag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        start = 0
        same = not server.checks_if_range or self.headers["If-Range"] in (None, etag)
        if server.knows_ranges and self.headers["Range"] and same:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.sends_etag:
            self.send_header("ETag", etag)
        if server.sends_length:
            self.send_header("Content-Length", str(len(content) - start))
        for header, value in server.extra_headers.items():
            self.send_header(header, value)
        self.end_headers()
        fault = server.faults.pop(0) if server.faults else None
        end = len(content) if fault is None else start + fault.after
        for at in range(start, end, server.block):
            self.wfile.write(content[at : min(at + server.block, end)])
            time.sleep(server.delay)
        if fault is not None and fault.stall:
            server.stopped.wait()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """A server on a free port of this machine, for one test."""
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "*")
    loopback = LoopbackServer()
    yield loopback
    loopback.stop()


def _tiny_photo(name: str) -> np.ndarray:
    with Image.open(bundled("benchmarks") / "sample" / "photos" / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BOX))


@pytest.fixture(scope="session")
def tiny_hpatches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of six images of 96x80 pixels with exact homographies; copy it to change it.

    ``i_tiny`` (PNG) darkens under the identity; ``v_tiny`` (PPM) moves, turns and tilts.
    """
    root = tmp_path_factory.mktemp("tiny_hpatches")
    for name in ("i_tiny", "v_tiny"):
        (root / name).mkdir()
    lit, seen = _tiny_photo("coffee")[90:170, 70:166], _tiny_photo("astronaut").astype(np.float32)
    first = np.array([[1.0, 0, -80], [0, 1, -30], [0, 0, 1]])
    for k in range(1, 7):
        darker = (lit * (1 - 0.09 * (k - 1))).astype(np.uint8)
        Image.fromarray(darker).save(root / "i_tiny" / f"{k}.png")
        t = k - 1
        moved = np.array(
            [[1, 0.02 * t, 1.5 * t], [-0.015 * t, 1, -0.7 * t], [3e-4 * t, 1e-4 * t, 1]]
        )
        view = cv2.warpPerspective(seen, moved @ first, TINY_SIZE, flags=cv2.INTER_CUBIC)
        Image.fromarray(view.round().clip(0, 255).astype(np.uint8)).save(
            root / "v_tiny" / f"{k}.ppm"
        )
        if k > 1:
            np.savetxt(root / "i_tiny" / f"H_1_{k}", np.eye(3))
            np.savetxt(root / "v_tiny" / f"H_1_{k}", moved, fmt="%.17g")
    return root
