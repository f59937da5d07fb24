"""Milliseconds and memory of small units in the store, from 10^3 to 10^5, and of their packs.

Run by hand: ``python tests/benches/bench_store.py [FOLDER]``; on the file system in question.
"""

import math
import resource
import shutil
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from d2eval.pipeline.packs import Packs, bytes_of
from d2eval.pipeline.store import Store

SIZES = (10**3, 10**4, 10**5)
MATCHES = 300  # of a pair
PACKS, REPEATS = 1000, 5
FULL, BLOCK = 512, 20  # units of a pack: of a full one, and of what a worker does in a second


def measure(count: int, folder: Path) -> None:
    """Prints what so many matches of pairs take, written and then read by another store."""
    matches = np.arange(2 * MATCHES, dtype=np.int32).reshape(-1, 2)
    store, begin = Store(folder), time.perf_counter()
    for k in range(count):
        store.write_matches(store.matches_path(f"m-{k}", f"m-{k + 1}", {}), matches)
    store.flush()
    written = time.perf_counter() - begin
    store, begin = Store(folder), time.perf_counter()
    for k in range(count):
        found = store.read_matches(store.matches_path(f"m-{k}", f"m-{k + 1}", {}))
        assert found is not None and len(found) == MATCHES
    read = time.perf_counter() - begin
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:7d} units: {1000 * written / count:.3f} ms to write, {1000 * read / count:.3f} ms "
        f"to read; {len(files)} files, {size:.0f} MiB; peak memory {peak:.0f} MiB"
    )


def measure_packs(folder: Path, packs: int, units: int) -> tuple[float, float, float]:
    """What the indices of packs take, which another process has written.

    Returns:
        Bytes in memory of a unit; seconds of a pack that is new, and of one that is known, at best.
    """
    content = bytes_of({"matches": np.zeros((MATCHES, 2), np.int32), "seconds": np.zeros(())})
    writer = Packs(folder, wait_s=math.inf)
    for k in range(packs):
        for unit in range(units):
            writer.write(f"{k}-{unit}", content)
        writer.flush()
    tracemalloc.start()
    other, before = Packs(folder), tracemalloc.get_traced_memory()[0]
    assert other.read("none") is None
    held = sum(map(len, other._held.values()))
    memory = (tracemalloc.get_traced_memory()[0] - before - held) / (packs * units)
    tracemalloc.stop()
    new, known = [], []
    for _ in range(REPEATS):
        other, begin = Packs(folder), time.perf_counter()
        other.read("none")
        new.append(time.perf_counter() - begin)
        other.look_again()
        begin = time.perf_counter()
        other.read("none")
        known.append(time.perf_counter() - begin)
    return memory, min(new) / packs, min(known) / packs


if __name__ == "__main__":
    for size in SIZES:
        place = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
        try:
            measure(size, place)
        finally:
            shutil.rmtree(place)
    for size in (FULL, BLOCK):
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
            memory, new, known = measure_packs(Path(name), PACKS, size)
        print(
            f"packs of {size:3d} units: {memory:.0f} bytes of memory a unit, {1e3 * new:.2f} ms a "
            f"pack that is new, {1e6 * known:.1f} us a known one, at each look"
        )
