"""Stages of 10^3 to 10^7 units on 1 to 1,024 workers, in virtual time.

Run by hand: ``python tests/benches/simulate_scale.py [OPTIONS]``. The blocks are those of `Spread`,
and the time of the workers that it sends them to is simulated. Seconds of units are drawn from a
shipped run; those of blocks, packs and pairs are measured first, on this machine.
"""

import argparse
import csv
import heapq
import math
import tempfile
import time
import tracemalloc
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bench_blocks import dask_s
from bench_store import BLOCK, PACKS, measure_packs

from d2eval.aachen.data.parsing import read_pairs
from d2eval.scheduling import executor
from d2eval.scheduling.cluster import AHEAD
from d2eval.scheduling.executor import Spread
from d2eval.scheduling.work import BLOCK_S, LONGEST_S, Block, Outcome

RUNS = Path(__file__).resolve().parents[2] / "results/shipped/runs"
METHOD, NEIGHBOURS, SEED = "d2_ss", 20, 0
START_S, BACK_S = (
    5.0,
    120.0,
)  # until a worker works; until another one is there in a lost one's place
ALLOWED = 3  # losses of one block, after which Dask gives up


@dataclass(frozen=True)
class World:
    """What things take, in seconds."""

    block: float  # of the command or the scheduler, whichever takes longer: one after the other
    new_pack: float  # that others have written, until its index is read
    known_pack: float  # in the list of a folder that has changed
    latency: float = 0.0  # of a request to the store
    lives: float = math.inf  # mean until a worker is lost
    wanted: float = BLOCK_S  # of a block
    longest: float = LONGEST_S
    looks: bool = True  # for what others have written


class VirtualWorkers:
    """As `ClusterWorkers`, in a time of their own; what is packed is written once a block."""

    def __init__(self, count: int, seconds: np.ndarray, world: World, packed: bool) -> None:
        self.now = self.lost_s = self.simulated_s = 0.0
        self.packs = self.requests = 0
        self._seconds, self._world, self._packed = seconds, world, packed
        self._rng = np.random.default_rng(SEED)
        self._idle, self._new = set(range(count)), set(range(count))
        self._seen, self._all = [0] * count, count
        # Time, a number that no other has, worker, block, its units that are done, their seconds
        self._events: list[tuple[float, int, int, int, int, float]] = []
        self._queues, self._tasks = [deque[int]() for _ in range(count)], dict[int, Block]()
        self._away, self._given = set[int](), [0] * count  # blocks that a worker should do
        self._stored, self._losses = Counter[int](), Counter[int]()
        self._ended: list[tuple[int, Outcome]] = []
        self._order = 0

    @property
    def count(self) -> int:
        return self._all - len(self._away)

    @property
    def free(self) -> list[str]:
        room = max(AHEAD * self.count - len(self._tasks), 0)
        known = enumerate(self._given) if room else ()
        found = [(k, own) for own, k in known if k < AHEAD and own not in self._away]
        return [str(own) for least in range(AHEAD) for k, own in found if k <= least][:room]

    def submit(self, number: int, job: bytes, block: Block) -> None:
        begin = time.perf_counter()
        self.now += self._world.block
        self._advance(self.now)
        self._tasks[number] = block
        if block.to:
            self._given[int(block.to)] += 1
        self._put_in_line(number, self.now)
        self.simulated_s += time.perf_counter() - begin

    def wait(self) -> list[tuple[int, Outcome]]:
        begin = time.perf_counter()
        while not self._ended:
            self.now = max(self.now, self._events[0][0])
            self._advance(self.now)
        found, self._ended = self._ended, []
        self.simulated_s += time.perf_counter() - begin
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _put_in_line(self, number: int, at: float) -> None:
        """Of the worker that should do it; where that is away, of the one with the least to do."""
        worker = int(self._tasks[number].to or -1)
        if worker < 0 or worker in self._away:
            worker = min(range(self._all), key=lambda k: (k in self._away, len(self._queues[k])))
        self._queues[worker].append(number)
        self._give(worker, at)

    def _give(self, worker: int, at: float) -> None:
        if worker in self._idle and self._queues[worker]:
            self._idle.discard(worker)
            self._begin(worker, self._queues[worker].popleft(), at)

    def _put(
        self, at: float, worker: int, number: int = 0, done: int = -1, took: float = 0
    ) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, worker, number, done, took))

    def _begin(self, worker: int, number: int, at: float) -> None:
        world, units = self._world, self._tasks[number].units
        at += START_S if worker in self._new else 0.0
        self._new.discard(worker)
        took = self._seconds[np.array(units) % len(self._seconds)]
        took[: self._stored[number]] = 0.0
        before = 0.0
        if self._packed and world.looks:
            new = self.packs - self._seen[worker]
            before = (
                world.latency * (1 + new) + world.new_pack * new + world.known_pack * self.packs
            )
            self.requests += 1 + new  # a list, and the packs
            self._seen[worker] = self.packs
        each = (
            1 if self._packed else 3
        )  # features that are read; image, features sought and written
        ends = before + np.cumsum(took + each * world.latency)
        done = min(int(np.searchsorted(ends, world.longest, "right")) + 1, len(units))
        all_s = float(ends[done - 1]) + (world.latency if self._packed else 0.0)
        dies = self._rng.exponential(world.lives) if world.lives < math.inf else math.inf
        if dies < all_s:
            kept = 0 if self._packed else int(np.searchsorted(ends[:done], dies, "right"))
            self.lost_s += dies - (float(ends[kept - 1]) if kept else 0.0)
            self._stored[number] = max(self._stored[number], kept)
            self._put(at + dies, worker, number)
        else:
            self.requests += each * done + self._packed
            self._put(at + all_s, worker, number, done, all_s)

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, worker, number, done, took = heapq.heappop(self._events)
            if done >= 0:
                self._end(number, Outcome(str(worker), done, took))
                self.packs += self._packed
                self._seen[worker] += self._packed
            elif number:
                self._lose(worker, number, at)
                continue
            else:
                self._away.discard(worker)
            self._idle.add(worker)
            self._give(worker, at)

    def _lose(self, worker: int, number: int, at: float) -> None:
        self._away.add(worker)
        self._new.add(worker)
        self._seen[worker] = 0
        self._put(at + BACK_S, worker)
        self._losses[number] += 1
        if self._losses[number] > ALLOWED:
            self._end(number, Outcome("Dask", fault="lost", message="lost"))
        else:
            self._put_in_line(number, at)
        waiting = list(self._queues[worker])
        self._queues[worker].clear()
        for other in waiting:
            self._put_in_line(other, at)

    def _end(self, number: int, outcome: Outcome) -> None:
        block = self._tasks.pop(number)
        if block.to:
            self._given[int(block.to)] -= 1
        self._ended.append((number, outcome))


def unit_seconds() -> dict[str, np.ndarray]:
    """Of features of images; of matches of pairs, by the product of their features."""
    with (RUNS / f"hpatches/{METHOD}/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    firsts = {row["sequence"]: row["seconds_1"] for row in rows}.values()
    images = np.array([*firsts, *(row["seconds_k"] for row in rows)], float)
    products = np.array([float(r["features_1"]) * float(r["features_k"]) for r in rows])
    with (RUNS / f"aachen/{METHOD}/stages.csv").open(newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["stage"] == "matching")
    pairs = products / products.mean() * float(row["seconds"]) / float(row["pairs"])
    return {"features": np.random.default_rng(SEED).permutation(images), "pairs": pairs}


def pair_bytes(count: int) -> float:
    """Of memory at most, of a pair: read from a list, in order, and given to `Spread`."""
    with tempfile.TemporaryDirectory() as folder:
        path, many = Path(folder) / "pairs.txt", count // NEIGHBOURS
        with path.open("w") as file:
            for k in range(count):
                a = k // NEIGHBOURS
                file.write(
                    f"db/{a:07}.jpg db/{(a + 1 + k % NEIGHBOURS) % (many + NEIGHBOURS):07}.jpg\n"
                )
        tracemalloc.start()
        units = sorted(read_pairs(path).pairs)
        workers = VirtualWorkers(1, np.ones(1), World(0, 0, 0), True)
        spread = Spread(workers, b"", "pairs", units, uncounted)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert spread.extracted == 0
    return peak / count


def uncounted(_: int) -> None:
    """For nobody how many workers there are."""


def scenarios(world: World) -> dict[str, World]:
    """What is simulated, by name."""
    long = {"wanted": 10 * BLOCK_S, "longest": 10 * LONGEST_S}
    found = {"today": {}, "lives of 1 h": {"lives": 3600.0}, "requests of 30 ms": {"latency": 0.03}}
    found |= {
        "blocks of 10 s": long,
        "no look": {"new_pack": 0.0, "known_pack": 0.0, "looks": False},
    }
    found["both"] = found["blocks of 10 s"] | found["no look"]
    found["both, 30 ms, 1 h"] = {**found["both"], "latency": 0.03, "lives": 3600.0}
    return {name: replace(world, **changes) for name, changes in found.items()}


def line(stage: str, units: int, count: int, seconds: np.ndarray, world: World) -> str:
    """What a stage takes of so many units on so many workers."""
    executor.BLOCK_S = world.wanted
    work = float(np.resize(seconds, units).sum())
    workers = VirtualWorkers(count, seconds, world, stage == "pairs")
    begin = time.perf_counter()
    spread = Spread(workers, b"", stage, range(units), uncounted)
    spread.run()
    own_s = time.perf_counter() - begin - workers.simulated_s
    cells = (
        stage, f"{units:.0e}", str(count), f"{workers.now:.0f}",
        f"{work / count / workers.now:.2f}", str(spread._number),
        f"{workers.requests / units:.1f}", f"{100 * workers.lost_s / work:.2f} %",
        f"{1e6 * own_s / units:.0f}",
    )  # fmt: skip
    return " | ".join(cells)


def main() -> None:
    """Prints what was measured, and a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", default=["features", "pairs"])
    parser.add_argument("--units", type=int, nargs="+", default=[10**3, 10**4, 10**6])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 32, 256, 1024])
    parser.add_argument("--scenarios", nargs="+", default=["today"])
    args = parser.parse_args()
    _, *own = dask_s()
    with tempfile.TemporaryDirectory() as folder:
        memory, new, known = measure_packs(Path(folder), PACKS, BLOCK)
    took = unit_seconds()
    print(
        f"a block {1e3 * max(own):.1f} ms; a new pack {1e3 * new:.2f} ms, a known one "
        f"{1e6 * known:.1f} us; memory: {memory:.0f} bytes of a unit in packs, "
        f"{pair_bytes(10**6):.0f} of a pair; mean seconds of units: "
        f"{', '.join(f'{name} {seconds.mean():.3f}' for name, seconds in took.items())}"
    )
    heads = "scenario", "stage", "units", "workers", "seconds", "efficiency", "blocks"
    print(f"| {' | '.join((*heads, 'requests a unit', 'lost', 'us of Spread a unit'))} |")
    print(f"|{'---|' * 10}")
    chosen = scenarios(World(max(own), new, known))
    for name in chosen if args.scenarios == ["all"] else args.scenarios:
        for stage in args.stages:
            for units in args.units:
                for count in args.workers:
                    cells = line(stage, units, count, took[stage], chosen[name])
                    print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
