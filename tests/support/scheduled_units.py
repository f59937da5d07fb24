"""A job whose units are files, for tests of workers; its units say how they fail."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.scheduling.work import Block, Outcome, run_block


@dataclass
class FileParts:
    """Writes a line for each time that a unit is made."""

    folder: Path
    share: float
    extracted: int = 0

    def work(self, stage: str, units: Sequence[str]) -> Iterator[str]:
        try:
            yield from self._made(units)
        finally:
            full = self.folder / "full"
            if full.exists():  # once
                full.unlink()
                raise D2EvalError("no room to write what was made")

    def _made(self, units: Sequence[str]) -> Iterator[str]:
        for unit in units:
            path = self.folder / unit
            tried = path.with_suffix(".tries")
            with tried.open("a") as file:
                file.write(f"{self.share}\n")
            tries = len(tried.read_text().splitlines())
            kind = unit.partition("-")[0]
            if kind == "broken":
                raise D2EvalError(f"{unit}: is broken")
            if kind == "once" and tries == 1:
                raise D2EvalError(f"{unit}: couldn't be read")
            if kind == "large" and self.share > 0.3:
                raise MemoryError("no room")
            if kind == "deadly" or (kind == "killed" and tries == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "slow":
                time.sleep(0.05)
            with path.open("a") as file:
                file.write("made\n")
            self.extracted += 1
            yield unit


@dataclass(frozen=True)
class FileJob:
    """Makes files in a folder."""

    folder: Path

    def open(self, worker: int, memory_share: float) -> FileParts:
        return FileParts(self.folder, memory_share)


@dataclass
class HereWorkers:
    """Workers that are this process: what they are given is done at once."""

    count: int = 2
    blocks: list[Block] = field(default_factory=list)
    ended: list[tuple[int, Outcome]] = field(default_factory=list)

    @property
    def free(self) -> list[str]:
        return [str(k) for k in range(self.count - len(self.ended))]

    def submit(self, number: int, job: bytes, block: Block) -> None:
        self.blocks.append(block)
        self.ended.append((number, run_block(job, block)))

    def wait(self) -> list[tuple[int, Outcome]]:
        found, self.ended = self.ended, []
        return found

    def close(self) -> None:
        pass


@dataclass
class Kept:
    """Where units would be kept."""

    fresh: bool = False
    anew: list[str] = field(default_factory=list)

    def made_anew(self, kind: str) -> None:
        self.anew.append(kind)
