"""Kills workers and the scheduler at random moments, and sees whether rows are still the same.

Run by hand, since it takes long: ``python tests/campaigns/workers.py --kills 20 [--dask]``. One
process runs the sample; then a run with two workers, of which one is killed by SIGKILL every few
seconds until so many were (with ``--dask`` the scheduler once, too, which is started again). Runs
are repeated with empty caches until all kills are done; each must end with the same rows, with
every unit stored once but for what was under way.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
COSTS = ("seconds", "peak_memory_mib", "stored_mb")
TABLES = ("pairs.csv", "queries.csv", "candidates.csv")
WORDS = {
    "hpatches": ["hpatches", "--method", "rootsift"],
    "aachen": ["aachen", "--method", "rootsift", "--first-octave", "0"],
    "inloc": ["inloc", "--method", "rootsift", "--first-octave", "0", "--dense-pv"],
}


def command(root: Path, benchmark: str, *more: str) -> list[str]:
    where = ["--cache", str(root / "cache"), "--output", str(root / "runs")]
    return [sys.executable, "-m", "d2eval", *WORDS[benchmark], *where, *more]


def rows(root: Path) -> dict[str, list[dict[str, str]]]:
    """The tables of rows, without costs."""
    found = {}
    for path in sorted(root.glob("runs/*/*/*.csv")):
        if path.name in TABLES:
            with path.open(newline="", encoding="utf-8") as file:
                found[path.name] = [
                    {k: cell for k, cell in row.items() if not k.startswith(COSTS)}
                    for row in csv.DictReader(file)
                ]
    return found


def units(root: Path) -> tuple[int, int]:
    """Units of work that are stored, and how many of them are there twice.

    Hashes of images are none: that of a file that has just been written isn't kept.
    """
    names = [path.name for path in root.glob("cache/features/*/*.h5")]
    packs = root.glob("cache/*/*/*.pack")
    for path in (own for own in packs if own.parts[-3] != "hashes"):
        data = path.read_bytes()
        begin, count, _ = struct.unpack("<QQ32s", data[-48:])
        names += [data[begin + 80 * k : begin + 80 * k + 32].hex() for k in range(count)]
    return len({*names}), len(names) - len({*names})


class Dask:
    """A scheduler and two workers, each started again when it ends."""

    def __init__(self, folder: Path) -> None:
        self.file, self.folder = folder / "scheduler.json", folder
        self.dask = str(Path(sys.executable).with_name("dask"))
        self.scheduler = self._scheduler()
        self.workers = [self._worker(), self._worker()]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "dask.log").open("ab")
        return subprocess.Popen([self.dask, *words], stdout=log, stderr=log, cwd=self.folder)

    def _scheduler(self) -> subprocess.Popen[bytes]:
        return self._start(
            "scheduler", "--scheduler-file", str(self.file), "--no-dashboard", "--port", "8798"
        )

    def _worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-dashboard",
            "--no-nanny", "--death-timeout", "30", "--local-directory", str(self.folder),
        )  # fmt: skip

    def mend(self) -> None:
        """Starts again what has ended."""
        if self.scheduler.poll() is not None:
            self.scheduler = self._scheduler()
        self.workers = [own if own.poll() is None else self._worker() for own in self.workers]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def workers_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes of ``local:N``."""
    try:
        children = psutil.Process(run.pid).children()
        return [own for own in children if "spawn_main" in " ".join(own.cmdline())]
    except psutil.Error:
        return []


def chaos(root: Path, benchmark: str, kills: int, dask: bool, rng: random.Random) -> int:
    """One run under fire; how many processes were killed."""
    cluster = Dask(root) if dask else None
    where = str(cluster.file) if cluster else "local:2"
    while cluster and not cluster.file.exists():
        time.sleep(0.2)
    killed, scheduler, before = 0, dask, 0
    try:
        run = subprocess.Popen(
            command(root, benchmark, "--scheduler", where), cwd=root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while run.poll() is None:
            time.sleep(rng.uniform(1, 6))
            if cluster:
                cluster.mend()
            # A new worker needs seconds to begin: one that is killed before has shown nothing.
            if killed >= kills or units(root)[0] <= before or run.poll() is not None:
                continue
            before = units(root)[0]
            if cluster and scheduler and rng.random() < 0.3:
                cluster.scheduler.send_signal(signal.SIGKILL)
                scheduler = False
                print("  the scheduler is killed", flush=True)
                continue
            victims = cluster.workers if cluster else workers_of(run)
            if victims:
                rng.choice(victims).send_signal(signal.SIGKILL)
                killed += 1
        assert run.returncode == 0, run.returncode
    finally:
        if cluster:
            cluster.stop()
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--benchmark", choices=WORDS, default="hpatches")
    parser.add_argument("--dask", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, killed = random.Random(args.seed), 0  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        one = base / "one"
        one.mkdir()
        subprocess.run(
            command(one, args.benchmark), cwd=one, check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        expected, (count, _) = rows(one), units(one)
        assert expected
        while killed < args.kills:
            root = base / "chaos"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            killed += chaos(root, args.benchmark, args.kills - killed, args.dask, rng)
            found, twice = units(root)
            assert rows(root) == expected, "rows differ"
            assert found == count, (found, count)
            print(f"{killed} killed: rows equal, {found} units, {twice} of them twice", flush=True)


if __name__ == "__main__":
    main()
