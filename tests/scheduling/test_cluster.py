"""Workers of a Dask scheduler: they are killed, and without Dask one line says what is needed."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import REPOSITORY
from scheduled_units import FileJob, Kept

from d2eval.foundation.errors import D2EvalError
from d2eval.scheduling import cluster as module
from d2eval.scheduling.choice import open_workers
from d2eval.scheduling.cluster import ClusterWorkers, address_in
from d2eval.scheduling.executor import Executor
from d2eval.scheduling.work import Block


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


class Client:
    """Of a scheduler with two workers, which do nothing."""

    status = "running"

    def __init__(self, *_, **__):
        self.known, self.sent, self.held = ["tcp://a:1", "tcp://b:1"], [], ()

    def nthreads(self):
        return dict.fromkeys(self.known, 1)

    def processing(self):
        return {"tcp://c:1": self.held}

    def submit(self, *_, key, workers=None, allow_other_workers=False, **__):
        self.sent.append((workers, allow_other_workers))
        return SimpleNamespace(add_done_callback=lambda _: None, done=lambda: False, key=key)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    return ClusterWorkers("tcp://s:1")


def test_a_worker_has_a_block_and_the_next_one(cluster):
    a, b = cluster._client.known
    assert cluster.free == [a, b, a, b]
    for number, to in enumerate((a, a, b)):
        cluster.submit(number, b"", Block("files", ("x",), to))
    assert cluster._client.sent == [([a], True), ([a], True), ([b], True)]
    assert cluster.free == [b]
    cluster.submit(3, b"", Block("files", ("x",)))  # to any
    assert cluster._client.sent[-1] == (None, False)
    assert cluster.free == []


def test_the_dashboard_says_how_far_the_run_is(cluster):
    block = Block("files", ("x",), shown="files, stage 1 of 2, about 0:30 left in all")
    cluster.submit(1, b"", block)
    assert cluster._futures[1].key.startswith(f"{block.shown}-")
    cluster.submit(2, b"", Block("files", ("x",)))
    assert cluster._futures[2].key.startswith("files-")


def test_a_block_that_failed_on_a_worker_goes_to_others(cluster):
    a, b = cluster._client.known
    cluster._addresses["host, process 1"] = a
    for to in (a, b, ""):
        cluster.submit(1, b"", Block("files", ("x",), to, avoid=("host, process 1",)))
        assert cluster._client.sent[-1] == ([b], False)  # nor may the first one take it from there


def test_while_there_is_no_worker_one_block_waits(cluster):
    cluster._client.known = []
    assert (cluster.count, cluster.free) == (0, [""])
    cluster.submit(1, b"", Block("files", ("x",)))
    assert (cluster._client.sent, cluster.free) == ([(None, False)], [])


def test_what_waits_for_workers_that_are_gone_goes_to_others(cluster, monkeypatch):
    monkeypatch.setattr(module, "COUNTED_S", -1.0)
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    a, b = cluster._client.known
    for number, to in enumerate((a, a, b, "")):
        cluster.submit(number, b"", Block("files", ("x",), to))
    cluster._client.sent.clear()
    assert (cluster.wait(), cluster._client.sent) == ([], [])
    cluster._client.known = []  # nobody is there
    assert (cluster.wait(), cluster._client.sent) == ([], [])
    cluster._client.known, cluster._client.held = [b, "tcp://c:1"], [cluster._futures[0].key]
    cluster.wait()  # Dask has given one of them to another worker
    assert cluster._client.sent == [(None, False)]
    assert cluster._tasks[1][1] == Block("files", ("x",))
    assert cluster._tasks[0][1].to == a
    cluster.wait()
    assert len(cluster._client.sent) == 1


def dask(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A process of Dask's, whose scheduler's file is in a folder."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests/support")])
    own, file = Path(sys.executable).with_name("dask"), folder / "scheduler.json"
    return subprocess.Popen(
        [str(own), *words, "--scheduler-file", str(file), "--no-dashboard"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


@pytest.mark.slow
def test_the_only_worker_of_a_cluster_is_gone_and_another_one_comes(tmp_path):
    pytest.importorskip("distributed")
    processes = [dask(tmp_path, "scheduler", "--port", "0")]
    begin = "worker", "--nthreads", "1", "--no-nanny"
    units = [f"slow-{k}" for k in range(40)]
    (tmp_path / "units").mkdir()

    def replace_worker() -> None:
        while len(list((tmp_path / "units").iterdir())) < 12:
            time.sleep(0.05)
        processes[1].kill()
        processes[1].wait()
        time.sleep(2)
        processes.append(dask(tmp_path, *begin))

    processes.append(dask(tmp_path, *begin))
    replacing = threading.Thread(target=replace_worker)
    try:
        while not (tmp_path / "scheduler.json").exists():
            time.sleep(0.1)
        with open_workers(str(tmp_path / "scheduler.json")) as workers:
            while not workers.count:
                time.sleep(0.1)
            replacing.start()
            executor = Executor(workers, pickle.dumps(FileJob(tmp_path / "units")))
            executor.ahead("files", units, Kept(), "files")
        replacing.join()
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
    made = {path.name for path in (tmp_path / "units").iterdir() if path.suffix != ".tries"}
    assert made == {*units}


@pytest.mark.slow
def test_killed_workers_of_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    processes = [
        dask(tmp_path, "scheduler", "--port", "0"),
        *(dask(tmp_path, "worker", "--nthreads", "1") for _ in range(2)),
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
