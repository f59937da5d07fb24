"""Reading of HDF5 files in a process apart: what crashes or never ends there is one line here."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from apart_functions import crash, leave, number, read_text, refuse, same, spin
from places import REPOSITORY

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.formats.hdf5 import array_shape, read_array
from d2eval.foundation.formats.matfiles import list_variables, read_variable
from d2eval.foundation.machine import apart
from d2eval.foundation.machine.apart import run_apart, stop

DRIVER_ADDRESS = 48  # place in HDF5's superblock of version 0
HEAP_OBJECT_SIZE = 24  # place in a global heap, of its first object


@pytest.fixture
def child(monkeypatch):
    stop()
    yield monkeypatch
    stop()


def write(path: Path, **arrays) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_values_come_back_as_they_are(child):
    rng = np.random.default_rng(1)
    matlab = np.asfortranarray(rng.normal(size=(5, 7)).astype(np.float32))
    arrays = [
        matlab,
        np.zeros((0, 3)),
        np.array(2.5),
        np.arange(6, dtype=">u2").reshape(2, 3)[:, ::2],
    ]
    names = ["\udc80\n", "\U0001f600", ""]
    found = run_apart(
        same, Path("a"), 0, *arrays, names, {"a": [None, True, {"b": 1.5}]}, b"\0\n", b""
    )
    for array, back in zip(arrays, found, strict=False):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
    assert found[0].flags.f_contiguous
    assert found[4:] == [names, {"a": [None, True, {"b": 1.5}]}, b"\0\n", b""]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (spin, "x.h5: damaged HDF5 (no answer within 1 s of computing); write it again"),
        (
            crash,
            f"x.h5: damaged HDF5 (its library ended with signal {signal.SIGSEGV.value}); write",
        ),
        (leave, "x.h5: the process that reads HDF5 files ended with exit code 3; write the file"),
        (refuse, "x.h5: no"),
    ],
)
def test_what_does_not_return_is_one_line_and_the_next_call_works(child, function, expected):
    child.setattr(apart, "SECONDS", 1.0)
    with pytest.raises(D2EvalError) as error:
        run_apart(function, Path("x.h5"), 0)
    assert str(error.value).startswith(expected)
    assert run_apart(same, Path("x.h5"), 0, 1) == [1]


def test_one_child_serves_all_threads_and_ended_ones_are_replaced(child, tmp_path):
    path = write(tmp_path / "a.h5", **{f"d{k}": np.full((k, 3), k) for k in range(1, 20)})

    def read(k):
        return read_array(path, f"d{k}", "file", "replace it")

    with ThreadPoolExecutor(8) as pool:
        for k, array in enumerate(pool.map(read, range(1, 20)), 1):
            np.testing.assert_array_equal(array, np.full((k, 3), k))
    first = run_apart(number, path, 0)
    assert run_apart(number, path, 0) == first != os.getpid()
    psutil.Process(first).kill()
    apart._child.wait(60)
    assert array_shape(path, "d7", "file", "replace it") == (7, 3)


def test_a_fork_has_a_child_of_its_own(child, tmp_path):
    first = run_apart(number, tmp_path, 0)
    reading, writing = os.pipe()
    forked = os.fork()
    if not forked:
        os.write(writing, str(run_apart(number, tmp_path, 0)).encode())
        stop()
        os._exit(0)
    os.waitpid(forked, 0)
    assert int(os.read(reading, 20)) != first == run_apart(number, tmp_path, 0)


@pytest.mark.parametrize("function", ["number", "spin"])
def test_the_child_ends_with_a_parent_that_is_killed(function, tmp_path):
    folders = [str(REPOSITORY), str(REPOSITORY / "tests/support")]
    program = (
        f"import sys; sys.path[:0] = {folders!r}\nfrom pathlib import Path\n"
        "import apart_functions\nfrom d2eval.foundation.machine import apart\n"
        "apart.SECONDS = 1.0\n"
        "print(apart.run_apart(apart_functions.number, Path(), 0), flush=True)\n"
        f"apart.run_apart(apart_functions.{function}, Path(), 0)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        found = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(found) and psutil.Process(found).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_interrupt_ends_a_call_at_once(child):
    def interrupt():
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_apart(spin, Path("a"), 0)
    thread.join()
    assert run_apart(same, Path("a"), 0, 2) == [2]


def test_where_no_process_can_be_started_that_is_said(child, tmp_path):
    child.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(D2EvalError, match=r"a\.h5: the process .* can't be started \(.*\); allow"):
        read_array(write(tmp_path / "a.h5", a=np.ones(3)), "a", "file", "replace it")


def test_a_file_on_which_the_library_itself_loops_ends(child, tmp_path):
    path = write(tmp_path / "a.h5", a=np.ones(3))
    with h5py.File(path, "a") as file:
        file["a"].attrs["text"] = "of any length"
    assert run_apart(read_text, path, 0) == "of any length"
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, data.index(b"GCOL") + HEAP_OBJECT_SIZE, 0)
    path.write_bytes(data)
    child.setattr(apart, "SECONDS", 1.0)
    with pytest.raises(D2EvalError, match=r"a\.h5: .*; write (it again|the file again)$"):
        run_apart(read_text, path, 0)


def test_a_file_that_declares_a_driver_of_gigabytes_is_one_line_at_once(child, tmp_path):
    path = write(tmp_path / "a.h5", depth=np.ones((4, 5), np.float32))
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, DRIVER_ADDRESS, len(data))
    path.write_bytes(data + struct.pack("<B3xI", 0, 2**32 - 1) + bytes(72))
    with pytest.raises(D2EvalError, match=r"a\.h5: broken depth map"):
        read_array(path, "depth", "depth map", "replace it")


@pytest.mark.parametrize("read", [list_variables, lambda path: read_variable(path, "x")])
def test_matlab_files_of_version_73_are_read_there(child, tmp_path, read):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = np.arange(6.0).reshape(2, 3)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + path.read_bytes()[128:])
    np.testing.assert_equal(
        read(path), {"x": (3, 2)} if read is list_variables else np.arange(6.0).reshape(2, 3).T
    )
    child.setattr(sys, "executable", str(tmp_path / "none"))
    stop()
    with pytest.raises(D2EvalError, match="can't be started"):
        read(path)
