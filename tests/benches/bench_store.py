"""Milliseconds and memory of small units in the store, from 10^3 to 10^5.

Run by hand: ``python tests/benches/bench_store.py [FOLDER]``; on the file system in question.
"""

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from d2eval.pipeline.store import Store

SIZES = (10**3, 10**4, 10**5)
MATCHES = 300  # of a pair


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


if __name__ == "__main__":
    for size in SIZES:
        place = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
        try:
            measure(size, place)
        finally:
            shutil.rmtree(place)
