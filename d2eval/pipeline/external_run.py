"""A command of the user's that makes features: what it says, and a run of it."""

import hashlib
import os
import shlex
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2eval.contracts.source import Source
from d2eval.foundation.errors import D2EvalError, writing
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.files.limits import LIMITS, UNPACKED_VARIABLE
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.files.reading import is_there, sha256_of
from d2eval.foundation.images.decoding import ImageFile
from d2eval.foundation.machine.program import Program, last_lines
from d2eval.foundation.terminal.console import note

IMAGES, OUTPUT = "{images}", "{output}"  # what stands for the list and the folder
LOOK_SECONDS, SETTLED_SECONDS = 0.02, 0.5  # a file that a running program left alone is whole
SPARE_FILES = 1000  # that may lie in the folder beside those asked for


@dataclass(frozen=True)
class Command:
    """A command in words, and the files that it names."""

    text: str  # as the user wrote it
    words: tuple[str, ...]  # with what stands for the list and the folder
    files: tuple[Path, ...]  # those of its words, or what follows a = in one, that are files

    @classmethod
    def of(cls, text: str) -> "Command":
        """The command that a user wrote; no shell looks at it.

        Raises:
            D2EvalError: it is empty, a quotation isn't closed, or it has one placeholder only.
        """
        try:
            words = tuple(_home_for_tilde(word) for word in shlex.split(text))
        except ValueError as error:
            raise D2EvalError(f"external:{text}: {error}; mend the command") from error
        if not words:
            raise D2EvalError("external: names no program; write external:COMMAND")
        named = [any(mark in word for word in words) for mark in (IMAGES, OUTPUT)]
        if not any(named):
            words += (IMAGES, OUTPUT)
        elif not all(named):
            raise D2EvalError(f"external:{text}: must have both {IMAGES} and {OUTPUT}, or neither")
        ends = [end for word in words for end in dict.fromkeys((word, word.partition("=")[2]))]
        # What is too long for a name is none; to ask whether it is a file would be an error.
        found = (Path(end) for end in ends if end)
        return cls(text, words, tuple(path for path in found if is_there(path) and path.is_file()))

    def filled(self, images: Path, output: Path) -> list[str]:
        """Its words for a list and a folder."""
        paths = {IMAGES: str(images), OUTPUT: str(output)}
        found = []
        for word in self.words:
            for mark, path in paths.items():
                word = word.replace(mark, path)
            found.append(word)
        return found

    def times(self) -> list[tuple[int, int]]:
        """Sizes and times of its files, which tell whether one was changed."""
        try:
            found = [path.stat() for path in self.files]
        except OSError as error:
            raise D2EvalError(f"{error.filename}: {error.strerror}; put it back") from error
        return [(stat.st_size, stat.st_mtime_ns) for stat in found]

    def source(self) -> Source:
        """What its files hold."""
        if not self.files:
            return Source("files")
        lines = [f"{sha256_of(path)}\n" for path in self.files]
        names = tuple(path.name for path in self.files)
        return Source("files", hashlib.sha256("".join(lines).encode()).hexdigest(), names)


def _home_for_tilde(word: str) -> str:
    return str(expanded(word)) if word.startswith("~") else word


class Run:
    """A program at work, and the files that come of it."""

    def __init__(
        self, label: str, words: Sequence[str], output: Path, count: int, limit: float, log: Path
    ) -> None:
        """Starts the program, given ``count`` images; a ``log`` is written when it fails.

        Raises:
            D2EvalError: there can be no process.
        """
        self._label, self._limit = label, limit  # seconds that it may go without writing
        self._output, self._count, self._log = output, count, log
        self._program = Program(words)
        # What was seen of each file, and since when
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._last = time.monotonic()

    def failure(self, what: str) -> D2EvalError:
        """An error that says what the program did, what it printed last and where all is."""
        self._program.stop()
        printed = self._program.output()
        last, is_all = last_lines(printed)
        said = f"; it printed: {last}" if last else "; it printed nothing"
        if not is_all:
            write_text(self._log, printed)
            said += f" (all of it: {self._log})"
        return D2EvalError(f"{self._label}: the program {what}{said}")

    def wait_for(self, number: int, image: ImageFile) -> Path:
        """The file of an image, once it is whole.

        Raises:
            D2EvalError: there will be none, or the program writes too much.
        """
        path = self._output / f"{number}.npz"
        while True:
            ended = self._program.ended()
            self._look()
            if path.name in self._seen and (ended or self._is_whole(path)):
                return path
            if ended:
                end = self._program.end() or "ended"
                others = f" (but {min(self._seen)})" if self._seen else ""
                raise self.failure(f"{end} without {path.name}{others} for {image.path}")
            self._require_progress(f"for {image.path}")
            time.sleep(LOOK_SECONDS)

    def finish(self) -> None:
        """Waits for the program's end, after the last file; what is odd is a note."""
        while not self._program.ended():
            self._look()
            self._require_progress("after the last image")
            time.sleep(LOOK_SECONDS)
        self._look()
        if end := self._program.end():
            note(f"{self._label}: the program {end} after all was written")
        if self._seen:
            some = ", ".join(sorted(self._seen)[:3])
            note(f"{self._label}: {len(self._seen)} files are of no image ({some}); left out")

    def close(self) -> None:
        """Ends the program."""
        self._program.stop()

    def _look(self) -> None:
        """Sees which files there are.

        Raises:
            D2EvalError: too many, or too large a one.
        """
        now, seen = time.monotonic(), {}
        with writing(self._output), os.scandir(self._output) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # it was renamed
                    continue
                state = stat.st_size, stat.st_mtime_ns
                before = self._seen.get(entry.name)
                seen[entry.name] = before if before and before[0] == state else (state, now)
                if stat.st_size > LIMITS.unpacked_mib * 2**20:
                    raise self.failure(
                        f"wrote {entry.name} of more than {LIMITS.unpacked_mib} MiB; if that is "
                        f"right, set {UNPACKED_VARIABLE} higher"
                    )
                if len(seen) > self._count + SPARE_FILES:
                    raise self.failure(f"wrote {len(seen)} files for {self._count} images")
        self._seen = seen
        self._last = max([self._last, *(since for _, since in seen.values())])

    def _is_whole(self, path: Path) -> bool:
        """Whether a running program is done with a file, whose end is a zip archive's."""
        since = self._seen[path.name][1]
        return time.monotonic() - since > SETTLED_SECONDS and zipfile.is_zipfile(path)

    def _require_progress(self, where: str) -> None:
        if time.monotonic() - self._last > self._limit:
            raise self.failure(f"wrote nothing for {self._limit:g} s (--time-limit) {where}")
