"""Functions that run in a process apart, since a library may crash or never return there.

HDF5's library can do both on a damaged file, and neither a signal nor a thread ends it. So one
child process for each process of d2eval reads HDF5 files that others wrote: it is started on first
need, asked through a pipe in JSON and raw arrays (nothing is unpickled), ended by the system after
too many seconds of computing, then started anew, and ends when its parent does.
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.limits import LIMITS, RATIO

SECONDS, MOST_SECONDS = 10.0, 300.0  # of computing; what is slow to arrive doesn't count
BYTES_PER_SECOND = 5e6  # of a file that packs as well as possible, on a slow machine
SPARE_BYTES = 2**31  # of address space, for the libraries and their threads

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None


def run_apart(function: Callable[..., Any], path: Path, size: int, *values: Any) -> Any:
    """What ``function(path, *values)`` returns, from the child process; one call at a time.

    Args:
        function: of a module's top level, which a child may import; raises nothing but
                `D2EvalError`.
        path: of the file that it reads.
        size: of the file in bytes, which tells how long that may take.
        values: None, numbers, text, bytes, arrays of numbers, and lists and tables of those, as
            the result; tuples come as lists.

    Raises:
        D2EvalError: ``function`` does, doesn't return or crashes, or there can be no such process.
    """
    global _child
    seconds = min(SECONDS + size / BYTES_PER_SECOND, MOST_SECONDS)
    memory = SPARE_BYTES + 4 * max(LIMITS.unpacked_mib * 2**20, RATIO * size)
    request = [function.__module__, function.__name__, seconds, memory, LIMITS.unpacked_mib]
    with _lock:
        try:
            if _child is None or _child.poll() is not None:
                _child = _started(path)
            _send(_child.stdin, [*request, os.fspath(path), *values])
            result = _receive(_child.stdout)
        except (EOFError, BrokenPipeError, ConnectionError) as error:
            raise D2EvalError(f"{path}: {_end_of(_child, seconds)}") from error
        except (MemoryError, RecursionError) as error:
            stop()
            raise D2EvalError(f"{path}: too large or too deep ({reason_of(error)})") from error
        except BaseException:  # interrupted: an answer that still comes is to nothing
            stop()
            raise
    if "error" in result:
        raise D2EvalError(result["error"])
    return result["value"]


def _started(path: Path) -> subprocess.Popen[bytes]:
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise D2EvalError(
            f"{path}: the process that reads HDF5 files can't be started ({error}); allow it"
        ) from error


def _end_of(child: subprocess.Popen[bytes] | None, seconds: float) -> str:
    """Why the process ended, for the user."""
    code = child.wait() if child is not None else 0
    if code == -getattr(signal, "SIGPROF", 0):
        return f"damaged HDF5 (no answer within {seconds:.0f} s of computing); write it again"
    if code < 0:
        return f"damaged HDF5 (its library ended with signal {-code}); write it again"
    return f"the process that reads HDF5 files ended with exit code {code}; write the file again"


def stop() -> None:
    """Ends the child process, if there is one; the next call starts another."""
    global _child
    if _child is not None:
        _child.kill()
        _child.wait()
        _child = None


def _forget() -> None:
    """After a fork: the child belongs to the parent, which alone may talk with it."""
    global _child, _lock
    _lock = threading.Lock()
    if _child is not None:
        streams: Any = (_child.stdin, _child.stdout)
        for stream in streams:
            stream.raw.close()  # what another thread was about to send is not sent twice
        _child.returncode = 0  # nothing to wait for
        _child = None


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def serve() -> None:
    """Answers requests on standard input until it ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    while True:
        try:
            module, name, seconds, memory, unpacked, path, *values = _receive(requests)
        except EOFError:
            return
        function = getattr(importlib.import_module(module), name)
        LIMITS.unpacked_mib = unpacked
        _bound(seconds, memory)
        try:
            answer = {"value": function(Path(path), *values)}
        except D2EvalError as error:
            answer = {"error": str(error)}
        _bound(0, memory)
        _send(answers, answer)


def _bound(seconds: float, memory: int) -> None:
    """The system ends this process after ``seconds`` more of computing, if not 0."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        least = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (least, most))


def _send(stream: Any, value: Any) -> None:
    arrays: list[np.ndarray[Any, Any]] = []
    stream.write(json.dumps(_packed(value, arrays)).encode() + b"\n")
    for array in arrays:
        if array.nbytes:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def _packed(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, bytes):
        return {"bytes": _packed(np.frombuffer(value, np.uint8), arrays)}
    if isinstance(value, np.ndarray):
        turned = value.flags.f_contiguous and not value.flags.c_contiguous  # as MATLAB's are
        arrays.append(np.ascontiguousarray(value.T if turned else value))
        return {"array": [value.dtype.str, arrays[-1].shape if value.ndim else (), turned]}
    if isinstance(value, dict):
        return {"table": {key: _packed(item, arrays) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_packed(item, arrays) for item in value]
    return value


def _receive(stream: Any) -> Any:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return _unpacked(json.loads(line), stream)


def _unpacked(value: Any, stream: BinaryIO) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, stream) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "table":
        return {key: _unpacked(item, stream) for key, item in content.items()}
    if kind == "bytes":
        return _unpacked(content, stream).tobytes()
    dtype, shape, turned = content
    array = np.empty(shape, dtype)
    if array.nbytes and stream.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return array.T if turned else array
