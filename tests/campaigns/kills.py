"""Ends every command at random moments and sees whether the same command still gives the same.

Run by hand, since it takes long: ``python tests/campaigns/kills.py --kills 300``. Each series
starts from an empty folder (cache, sample and all), is ended a few times by SIGKILL, SIGTERM or
SIGINT, and is then run to its end. What that leaves must equal what an uninterrupted run leaves,
but for times and memory, and no scratch file may be left.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from d2eval.foundation.files.folders import RECORD

REPOSITORY = Path(__file__).parents[2]
PHOTOS = REPOSITORY / "benchmarks" / "sample" / "photos"
# {root} is the series' own folder; {runs} holds finished runs that are only read.
COMMANDS = {
    "hpatches": "hpatches --method rootsift --cache {root}/cache --output {root}/out",
    "aachen": "aachen --method rootsift --cache {root}/cache --output {root}/out",
    "inloc": "inloc --method rootsift --dense-pv --cache {root}/cache --output {root}/out",
    "extract": f"extract --method rootsift {PHOTOS} --cache {{root}}/cache --output {{root}}/out",
    "extract h5": f"extract --method rootsift {PHOTOS} --format h5 --cache {{root}}/cache "
    "--output {root}/out",
    "twoview": "twoview --method orb --cache {root}/cache --output {root}/out",
    "homography": "homography --method orb --cache {root}/cache --output {root}/out",
    "train": "train --epochs 1 --cache {root}/cache --output {root}/out",
    "speed": "speed --method rootsift --size 160x120 --repeats 1 --cache {root}/cache "
    "--output {root}/out",
    "describe": "describe d2_ms --size 160x120 --output {root}/out",
    "tables": "tables hpatches --runs {runs} --output {root}/out",
    "plot": "plot mma --runs {runs} --output {root}/out",
    "report": "report --runs {runs} --output {root}/out/page.html",
    "export": "export rootsift-sample --runs {runs} --output {root}/out/run.zip",
}
UNEQUAL = ("seconds", "memory", "mib", "finished", "command", "extracted_now", "root", "host",
           "git_commit")  # fmt: skip
NOT_COMPARED = (".png", ".svg", ".pdf", ".lock", "checkpoint.pt")  # pictures, seconds, who wrote
TIMES_ONLY = ("speed",)  # commands whose numbers are times


@dataclass
class Ended:
    """How a process ended."""

    code: int
    error: str
    seconds: float


def run(command: str, folder: Path, runs: Path, after: float | None, sign: int) -> Ended:
    """Runs a command, and ends it ``after`` seconds by ``sign``."""
    arguments = command.format(root=folder, runs=runs).split()
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "d2eval", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        error = process.communicate(timeout=after)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(sign)
        error = process.communicate()[1]
    return Ended(process.returncode, error, time.monotonic() - start)


def _plain(value: Any) -> Any:
    """Without what differs between two runs of one command."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(word in k for word in UNEQUAL)}
        return {k: _plain(v) for k, v in kept.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _content(path: Path) -> Any:
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        return [_plain(json.loads(line)) for line in lines]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [_plain(row) for row in csv.DictReader(file)]
    if path.suffix == ".h5":
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        return found
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return path.name if path.suffix == ".md" else path.read_bytes()


def contents(folder: Path) -> dict[str, Any]:
    """What a command left, by path."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in NOT_COMPARED
        and path.name not in NOT_COMPARED
        and "tfevents" not in path.name  # TensorBoard names files by the time
    }


def leftovers(folder: Path) -> list[str]:
    """Hidden and temporary things that a finished command must not leave."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if (path.name.startswith(".") or path.suffix in (".tmp", ".part"))
        and not path.name.endswith(".lock")
        and path.name != RECORD
    ]


def faults_of(ended: Ended, sign: int | None) -> list[str]:
    """What is wrong with how a process ended."""
    found = []
    if sign == signal.SIGINT and "<frozen site>" in ended.error:
        return []  # Python itself was still beginning
    if "Traceback" in ended.error:
        found.append(f"traceback: {ended.error[-600:]}")
    told = [line for line in ended.error.splitlines() if line.startswith("d2eval: ")]
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143}
    if sign in expected and ended.code not in (0, expected[sign]):
        found.append(f"signal {sign}: exit code {ended.code}: {ended.error[-300:]}")
    if sign in expected and ended.code and len(told) != 1:
        found.append(f"signal {sign}: {len(told)} lines: {ended.error[-300:]}")
    return found


def main() -> int:
    """Runs the campaign and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(COMMANDS), nargs="+", default=list(COMMANDS))
    arguments = parser.parse_args()
    # Where a shell starts this in the background, all commands would ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(arguments.seed)  # noqa: S311 - chooses moments
    faults, ends = [], Counter()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        runs = base / "runs"
        run(COMMANDS["hpatches"], _fresh(base / "first"), runs, None, 0)
        shutil.copytree(base / "first" / "out", runs)
        expected, length = {}, {}
        for name in arguments.only:
            ended = run(COMMANDS[name], _fresh(base / "killed"), runs, None, 0)
            if ended.code:
                faults.append(f"{name}: exit code {ended.code}: {ended.error[-300:]}")
                continue
            expected[name], length[name] = contents(base / "killed" / "out"), ended.seconds
            print(f"{name}: {len(expected[name])} files in {ended.seconds:.1f} s", flush=True)
        done = 0
        shown = 0
        while done < arguments.kills and expected:
            name = list(expected)[done % len(expected)]
            folder = _fresh(base / "killed")
            for _ in range(rng.choice((1, 1, 2, 3))):
                sign = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
                ended = run(COMMANDS[name], folder, runs, rng.uniform(0, length[name]), sign)
                faults += [f"{name}: {fault}" for fault in faults_of(ended, sign)]
                ends[f"{name} {signal.Signals(sign).name} -> {ended.code}"] += 1
                done += 1
            ended = run(COMMANDS[name], folder, runs, None, 0)
            if ended.code:
                faults.append(f"{name}: afterwards exit code {ended.code}: {ended.error[-300:]}")
            elif name not in TIMES_ONLY and contents(folder / "out") != expected[name]:
                shutil.copytree(folder, Path(tempfile.mkdtemp()) / "differs")
                faults.append(f"{name}: afterwards other results")
            faults += [f"{name}: left {path}" for path in leftovers(folder)]
            print(f"{done} of {arguments.kills}, {len(faults)} faults", flush=True)
            print(*(f"  {fault}" for fault in faults[shown:]), sep="\n", flush=True)
            shown = len(faults)
    for line in (*(f"{count:4d} {end}" for end, count in sorted(ends.items())), *faults):
        print(line)
    return bool(faults)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
