"""Milliseconds and memory of small units that workers make and store, from 10^3 to 10^5.

Run by hand: ``python tests/benches/bench_engine.py [FOLDER]``, with the store in FOLDER. A unit is
what the matches of a pair are, 300 of them that take no time to find; so all that is measured is
what sends units, writes them and finds them again. With two processes of this machine, and with two
of a Dask cluster. Memory is what processes hold at the end.
"""

import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from bench_blocks import WORKERS, dask

from d2eval.pipeline.store import Store
from d2eval.scheduling.cluster import ClusterWorkers
from d2eval.scheduling.executor import Executor, Workers
from d2eval.scheduling.local import LocalWorkers

SIZES = (10**3, 10**4, 10**5)
MATCHES = 300  # of a pair
Others = Callable[[], list[psutil.Process]]  # the scheduler, and the workers


@dataclass(frozen=True)
class Pairs:
    """A job whose units are numbers of pairs."""

    root: Path

    def open(self, worker: int, memory_share: float) -> "OpenPairs":
        return OpenPairs(Store(self.root))


@dataclass
class OpenPairs:
    """The job in a worker."""

    store: Store
    extracted: int = 0

    def work(self, stage: str, units: Sequence[int]) -> Iterator[None]:
        matches = np.arange(2 * MATCHES, dtype=np.int32).reshape(-1, 2)
        try:
            for unit in units:
                self.store.write_matches(path_of(self.store, unit), matches)
                yield
        finally:
            self.store.flush()


def path_of(store: Store, unit: int) -> Path:
    return store.matches_path(f"m-{unit}", f"m-{unit + 1}", {})


def measure(name: str, workers: Workers, count: int, folder: Path, others: Others) -> None:
    """Prints what so many units take until the command has found all of them."""
    from bench_engine import Pairs as Sent  # by a name that workers can import

    begin, store = time.perf_counter(), Store(folder)
    Executor(workers, pickle.dumps(Sent(folder))).ahead("pairs", range(count), store, "matches")
    made = time.perf_counter() - begin
    for unit in range(count):
        found = store.read_matches(path_of(store, unit))
        assert found is not None and len(found) == MATCHES
    read = time.perf_counter() - begin - made
    held = [own.memory_info().rss / 2**20 for own in (psutil.Process(), *others())]
    print(
        f"{name}: {count:6d} units: {1000 * made / count:.3f} ms to make one, "
        f"{1000 * read / count:.3f} ms to read it; MiB of the command {held[0]:.0f}, "
        f"of others {', '.join(f'{own:.0f}' for own in held[1:])}",
        flush=True,
    )


def measure_all(name: str, workers: Workers, others: Others) -> None:
    """All sizes, after a few units for which workers import what they need."""
    for count in (100, *SIZES):
        place = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
        try:
            measure(name, workers, count, place, others)
        finally:
            shutil.rmtree(place)
    workers.close()


if __name__ == "__main__":
    measure_all("local", LocalWorkers(WORKERS), lambda: psutil.Process().children())
    with dask() as (file, scheduler, nanny):
        measure_all(
            "dask", ClusterWorkers(str(file)),
            lambda: [psutil.Process(scheduler), *psutil.Process(nanny).children()],
        )  # fmt: skip
