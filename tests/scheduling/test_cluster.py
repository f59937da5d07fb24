"""Workers of a Dask scheduler: they are killed, and without Dask one line says what is needed."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import REPOSITORY
from scheduled_units import FileJob, Kept

from d2eval.foundation.errors import D2EvalError
from d2eval.scheduling.choice import open_workers
from d2eval.scheduling.cluster import address_in
from d2eval.scheduling.executor import Executor


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = r'^--scheduler tcp://a:1: needs Dask; pip install "d2eval\[cluster\]"$'
    with pytest.raises(D2EvalError, match=message), open_workers("tcp://a:1"):
        pass


@pytest.mark.parametrize("content", ["{}", "[]", '{"address": 5}', '{"address": null}'])
def test_a_scheduler_s_file_without_its_address(content, tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with pytest.raises(D2EvalError, match=r"scheduler\.json: says no scheduler's address; "):
        address_in(path)


@pytest.mark.slow
def test_killed_workers_of_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests/support")])

    def dask(*words: str) -> subprocess.Popen[bytes]:
        own = Path(sys.executable).with_name("dask")
        return subprocess.Popen(
            [str(own), *words, "--scheduler-file", str(file), "--no-dashboard"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    processes = [
        dask("scheduler", "--port", "0"),
        *(dask("worker", "--nthreads", "1") for _ in range(2)),
    ]
    units = [*(f"slow-{k}" for k in range(40)), "killed-1", "broken-1", "once-1"]
    (tmp_path / "units").mkdir()
    try:
        while not file.exists():
            time.sleep(0.1)
        with open_workers(str(file)) as workers:
            executor = Executor(workers, pickle.dumps(FileJob(tmp_path / "units")))
            executor.ahead("files", units, Kept(), "files")
    finally:
        for process in processes[1:]:
            process.terminate()  # nannies, which end their workers
            process.wait()
        processes[0].kill()
        processes[0].wait()
    made = {path.name for path in (tmp_path / "units").iterdir() if path.suffix != ".tries"}
    assert made == {*units} - {"broken-1"}
