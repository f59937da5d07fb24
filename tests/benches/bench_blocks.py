"""Milliseconds of a block beside its work: with processes of this machine, and with Dask's.

Run by hand: ``python tests/benches/bench_blocks.py``. Of Dask, the processor time of the command
and of the scheduler: each goes through all blocks, one after the other, however many workers.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from d2eval.scheduling.cluster import ClusterWorkers
from d2eval.scheduling.executor import Workers
from d2eval.scheduling.local import LocalWorkers
from d2eval.scheduling.work import Block

BLOCKS, UNITS, WORKERS = 1000, 20, 2
HERE = Path(__file__).resolve().parent


class Nothing:
    """Parts, and their job, that have nothing to do."""

    extracted = 0

    def open(self, worker: int, memory_share: float) -> "Nothing":
        return self

    def work(self, stage: str, units: Sequence[object]) -> Iterator[object]:
        yield from units


def drive(workers: Workers, blocks: int) -> None:
    """Sends blocks until they are done."""
    from bench_blocks import Nothing as Sent  # by a name that workers can import

    job, sent, ended = pickle.dumps(Sent()), 0, 0
    units = tuple((f"db/{k:05}.jpg", f"db/{k + 1:05}.jpg") for k in range(UNITS))
    while ended < blocks:
        for worker in workers.free[: blocks - sent]:
            sent += 1
            workers.submit(sent, job, Block("nothing", units, worker))
        ended += len(workers.wait())


def local_s() -> float:
    """Seconds of a block."""
    workers = LocalWorkers(WORKERS)
    drive(workers, BLOCKS // 10)
    begin = time.perf_counter()
    drive(workers, BLOCKS)
    took = time.perf_counter() - begin
    workers.close()
    return took / BLOCKS


@contextlib.contextmanager
def dask() -> Iterator[tuple[Path, int, int]]:
    """A scheduler's file, its process's number, and that of the workers' parent."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        begin = [sys.executable, "-m"]
        at = ["--no-dashboard", "--scheduler-file", str(file)]
        words = [
            *begin,
            "distributed.cli.dask_scheduler",
            *at,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ]
        other = [
            *begin, "distributed.cli.dask_worker", *at,
            "--nthreads", "1", "--nworkers", str(WORKERS), "--local-directory", folder,
        ]  # fmt: skip
        quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with (
            subprocess.Popen(words, **quiet) as scheduler,
            subprocess.Popen(other, **quiet) as nanny,
        ):
            try:
                while not file.exists() or not file.stat().st_size:
                    time.sleep(0.1)
                yield file, scheduler.pid, nanny.pid
            finally:
                nanny.terminate()
                scheduler.terminate()


def dask_s() -> tuple[float, float, float]:
    """Seconds of a block: of all, of the command's processor, and of the scheduler's."""
    with dask() as (file, number, _):
        workers = ClusterWorkers(str(file))
        drive(workers, BLOCKS // 10)
        own, begin = psutil.Process(number), time.perf_counter()
        before, mine = sum(own.cpu_times()[:2]), time.process_time()
        drive(workers, BLOCKS)
        took = time.perf_counter() - begin, time.process_time() - mine
        theirs = sum(own.cpu_times()[:2]) - before
        workers.close()
    return took[0] / BLOCKS, took[1] / BLOCKS, theirs / BLOCKS


if __name__ == "__main__":
    print(f"{WORKERS} processes of this machine: {1000 * local_s():.2f} ms a block")
    wall, command, scheduler = (1000 * seconds for seconds in dask_s())
    print(f"{WORKERS} of Dask: {wall:.2f} ms; command {command:.2f}, scheduler {scheduler:.2f} ms")
