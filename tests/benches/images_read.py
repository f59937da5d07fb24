"""How many images workers read, or make maps of, to match all pairs of a real list.

Run by hand: ``python tests/benches/images_read.py PAIRS [--workers 1 2 8 32] [--held 45]``. The
order of the pairs and the blocks are d2eval's own; workers' time is simulated.
"""

import argparse
import heapq
from collections import Counter, OrderedDict, deque
from pathlib import Path

from d2eval.aachen.data.parsing import read_pairs
from d2eval.aachen.order import near_each_other
from d2eval.scheduling.cluster import AHEAD
from d2eval.scheduling.executor import Spread
from d2eval.scheduling.work import LONGEST_S, Block, Outcome

# Seconds of a pair and of an image of 1.5 megapixels: d2_ss and its features from a disk; maps
COSTS = {"features": (0.055, 0.02), "dense maps": (0.2, 4.0)}


class Reading:
    """Workers that hold the images that they used last, in a time of their own."""

    def __init__(self, count: int, pair_s: float, image_s: float, held: int) -> None:
        self.now, self.images, self.count = 0.0, 0, count
        self._pair_s, self._image_s, self._most = pair_s, image_s, held
        self._held = [OrderedDict[str, None]() for _ in range(count)]
        self._lines = [deque[int]() for _ in range(count)]
        self._busy, self._tasks = set[int](), dict[int, Block]()
        self._ends: list[tuple[float, int, int, int, float]] = []

    @property
    def free(self) -> list[str]:
        given = Counter(block.to for block in self._tasks.values())
        names = [str(own) for own in range(self.count)]
        return [own for k in range(AHEAD) for own in names if given[own] <= k]

    def submit(self, number: int, job: bytes, block: Block) -> None:
        self._tasks[number] = block
        self._lines[int(block.to)].append(number)
        self._begin(int(block.to))

    def wait(self) -> list[tuple[int, Outcome]]:
        self.now, number, worker, done, took = heapq.heappop(self._ends)
        self._busy.discard(worker)
        del self._tasks[number]
        self._begin(worker)
        return [(number, Outcome(str(worker), done, took))]

    def close(self) -> None:
        """Nothing is open."""

    def _begin(self, worker: int) -> None:
        if worker in self._busy or not self._lines[worker]:
            return
        number, took, done = self._lines[worker].popleft(), 0.0, 0
        for pair in self._tasks[number].units:
            took += self._pair_s + self._image_s * sum(self._reads(worker, own) for own in pair)
            done += 1
            if took > LONGEST_S:
                break
        self._busy.add(worker)
        heapq.heappush(self._ends, (self.now + took, number, worker, done, took))

    def _reads(self, worker: int, name: str) -> bool:
        held, is_new = self._held[worker], name not in self._held[worker]
        held[name] = None
        held.move_to_end(name)
        if len(held) > self._most:
            held.popitem(last=False)
        self.images += is_new
        return is_new


def main() -> None:
    """Prints a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--held", type=int, default=45, help="images in a worker's memory")
    args = parser.parse_args()
    pairs = near_each_other(read_pairs(args.pairs).pairs)
    images = len({name for pair in pairs for name in pair})
    print(f"{len(pairs)} pairs of {images} images, {args.held} held by each worker\n")
    print("| of | workers | read or made | for an image | seconds | without repetition |")
    print("|---|---|---|---|---|---|")
    for what, (pair_s, image_s) in COSTS.items():
        for count in args.workers:
            workers = Reading(count, pair_s, image_s, args.held)
            Spread(workers, b"", "pairs", pairs, lambda _: None).run()
            least = (len(pairs) * pair_s + images * image_s) / count
            print(
                f"| {what} | {count} | {workers.images} | {workers.images / images:.2f} "
                f"| {workers.now:.0f} | {least:.0f} |"
            )


if __name__ == "__main__":
    main()
