"""Damages valid files at random and has every parser read them; run by hand.

    export PYTHONPATH=.:tests/support
    python tests/fuzz/fuzz.py --inputs 100000 --seed 1 [--parsers toml,poses] [--save FOLDER]

A reader may return something or raise D2EvalError of one line. Anything else is a failure: another
exception, the end of the process, no answer in time, or more memory than --memory beyond what the
process began with. Failing inputs are saved. Exit code 1 if there was one.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from kinds import Parser, write_input
from mutations import mutate
from parsers import PARSERS

from d2eval.foundation.errors import D2EvalError

READ, REFUSED = "read", "refused"


def used_bytes(kind: str) -> int:
    """Of this process: "VmSize" (address space) or "VmHWM" (most memory that was held)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this script needs Linux")


def attempt(parser: Parser, path: Path, least: int, most: int) -> str:
    """What reading did: `READ`, `REFUSED`, or what is wrong."""
    try:
        parser.read(path)
        result = READ
    except D2EvalError as error:
        result = REFUSED if "\n" not in str(error) else "an error of several lines"
        if isinstance(error.__cause__, MemoryError):
            result = f"no memory, refused as: {error}"
    except BaseException as error:  # noqa: BLE001 - the very thing that is looked for
        result = f"{type(error).__name__}: {str(error)[:200]}"
    held = used_bytes("VmHWM") - least
    return f"held {held / 2**20:.0f} MiB" if held > most else result


def worker(parser: Parser, folder: Path, inbox: Connection, memory: int) -> None:
    """Reads inputs one by one until it is told none; its memory is limited."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    parser.read(write_input(parser, parser.seeds()[0], folder))  # what is imported late
    limit = used_bytes("VmSize") + memory + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    least = used_bytes("VmHWM")
    inbox.send(READ)  # compiling at first use took no input's time
    while (data := inbox.recv()) is not None:
        shutil.rmtree(folder)
        folder.mkdir()
        result = attempt(parser, write_input(parser, data, folder), least, memory)
        inbox.send(result)


class Reader:
    """A worker that is started anew after each failure."""

    def __init__(self, parser: Parser, folder: Path, memory: int, seconds: float) -> None:
        self._parser, self._folder = parser, folder
        self._memory, self._seconds = memory, seconds
        self._start()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("fork")
        self._outbox, inbox = context.Pipe()
        self._process = context.Process(
            target=worker, args=(self._parser, self._folder, inbox, self._memory), daemon=True
        )
        self._process.start()
        inbox.close()
        self._outbox.recv()

    def try_input(self, data: bytes) -> str:
        """What became of it."""
        self._outbox.send(data)
        try:
            if self._outbox.poll(self._seconds):
                result = str(self._outbox.recv())
            else:
                result = f"no answer in {self._seconds:g} s"
        except EOFError:
            self._process.join()
            result = f"the process ended ({self._process.exitcode})"
        if result not in (READ, REFUSED):
            self.stop()
            self._start()
        return result

    def stop(self) -> None:
        """Ends the worker, whatever it does."""
        self._process.kill()
        self._process.join()
        self._outbox.close()


def fuzz(parser: Parser, inputs: int, options: argparse.Namespace) -> Counter[str]:
    """Tries so many inputs, and gives counts: read, refused, failed."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(parser, Path(scratch) / "x", options.memory * 2**20, options.timeout)
        seeds = parser.seeds()
        for number in range(inputs):
            data = mutate(seeds, random.Random(f"{options.seed} {parser.name} {number}"))  # noqa: S311
            result = reader.try_input(data)
            counts[result if result in (READ, REFUSED) else "failed"] += 1
            if result not in (READ, REFUSED):
                options.save.mkdir(parents=True, exist_ok=True)
                path = options.save / f"{parser.name}-{options.seed}-{number}"
                path.write_bytes(data)
                print(f"FAILED {parser.name} {number}: {result} ({path})", flush=True)
        reader.stop()
    return counts


def main() -> int:
    """Tries all parsers in turn, as many inputs each."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--inputs", type=int, default=10_000, help="of all parsers together")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--parsers", default=",".join(PARSERS), help="names, joined by commas")
    options.add_argument("--timeout", type=float, default=10.0, help="seconds for an input")
    options.add_argument("--memory", type=int, default=1024, help="MiB beyond what it began with")
    options.add_argument("--save", type=Path, default=Path("fuzz-failures"))
    given = options.parse_args()
    total: Counter[str] = Counter()
    names = given.parsers.split(",")
    for name in names:
        start = time.monotonic()
        counts = fuzz(PARSERS[name], -(-given.inputs // len(names)), given)
        print(f"{name}: {dict(counts)}, {time.monotonic() - start:.0f} s", flush=True)
        total += counts
    print(f"all: {dict(total)}")
    return int(total["failed"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
