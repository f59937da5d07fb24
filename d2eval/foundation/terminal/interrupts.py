"""Ctrl-C and the signal to end: one line, 128 + the signal as exit code, nothing temporary left.

All work is stored so that a process may be killed at any moment. So nothing is unwound here: an
exception would be lost in a callback of some library, or come out of it as another one.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 1.0  # for the main thread, which may be deep in a library that doesn't look up
_WORDS = {signal.SIGINT: b"interrupted", signal.SIGTERM: b"told to end"}
_REST = b"; what was finished is kept, the same command goes on from there\n"
_ending = threading.Lock()


def end_on_signals() -> None:
    """Lets the signals end this process from now on; those that are ignored stay ignored.

    To be called as early as possible, by the main thread.
    """
    _install()
    if os.name == "posix":
        sys.meta_path.insert(0, _AfterColmap())
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
        os.register_at_fork(after_in_child=_be_a_child)
        # Last of all, when no thread is left to wait for: Python takes its handlers away before it
        # has ended, and work that is done would end as if it had been killed.
        atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, SIGNALS)


@contextlib.contextmanager
def for_children() -> Iterator[None]:
    """Processes that are started in this block leave Ctrl-C, which all get, to this one."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # another thread than the main one can't say
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _install() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup, or in the background
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(Exception):  # a print may be under way, or the stream closed
        sys.stdout.flush()
    if not _ending.acquire(blocking=False):  # told twice
        os._exit(128 + number)
    _end(number)


def _watch(signals: int) -> None:
    """Ends the process if the main thread doesn't: in a long call, Python handlers have to wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are the main thread's
    while True:
        (number,) = os.read(signals, 1)
        if number in SIGNALS:
            time.sleep(GRACE_SECONDS)
            if _ending.acquire(blocking=False):
                _end(number)


def _end(number: int) -> None:
    # Of what isn't imported yet there is nothing to do
    with contextlib.suppress(OSError):
        os.write(
            2,
            (b"\n" if os.isatty(2) else b"") + b"d2eval: " + _WORDS[signal.Signals(number)] + _REST,
        )
    with contextlib.suppress(Exception):
        sys.modules["d2eval.foundation.files.leftovers"].remove_own()
    with contextlib.suppress(Exception):
        _give_back_semaphores()
    with contextlib.suppress(Exception):  # last, as a pool starts others in place of those gone
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    os._exit(128 + number)


def _give_back_semaphores() -> None:
    """Those of pools and queues, of which Python's own helper process would warn otherwise."""
    cleanup = sys.modules["multiprocessing.synchronize"].SemLock._cleanup
    for finalizer in list(sys.modules["multiprocessing.util"]._finalizer_registry.values()):
        if finalizer._callback == cleanup:
            finalizer()


def _be_a_child() -> None:
    """In a process that was forked: the parent gets Ctrl-C as well, and ends this one."""
    signal.set_wakeup_fd(-1)
    for number, action in zip(SIGNALS, (signal.SIG_IGN, signal.SIG_DFL), strict=True):
        if signal.getsignal(number) == _on_signal:
            signal.signal(number, action)


class _AfterColmap:
    """Takes the signals back from COLMAP, whose import makes them print its stack."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module's own spec, with the signals set again after its import."""
        if name != "pycolmap":
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_install(module: Any) -> None:
            # A signal in between waits: it would meet COLMAP's handler.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                run(module)
            finally:
                with contextlib.suppress(ValueError):  # only the main thread may
                    _install()
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

        spec.loader.exec_module = run_and_install  # type: ignore[method-assign]
        return spec
