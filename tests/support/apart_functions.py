"""What tests let run in a process apart, which imports nothing else for it."""

import ctypes
import os
import signal

from d2eval.foundation.errors import D2EvalError


def same(path, *values):
    return list(values)


def spin(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    while True:
        sum(range(10**7))


def crash(path):
    ctypes.string_at(0)


def leave(path):
    os._exit(3)


def refuse(path):
    raise D2EvalError(f"{path}: no")


def read_text(path):
    import h5py

    with h5py.File(path) as file:
        return file["a"].attrs["text"]


def number(path):
    return os.getpid()
