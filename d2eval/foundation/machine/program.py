"""Another program that runs for d2eval, and never longer than d2eval does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from d2eval.foundation.errors import D2EvalError

GUARD = Path(__file__).with_name("guard.py")
TAIL_BYTES = 1 << 16  # of what it printed last, which are kept
SHOWN_LINES, SHOWN_CHARACTERS = 3, 600  # of them
FAREWELL_SECONDS = 1.0  # for output that a process which left the group still holds open


def last_lines(text: str) -> tuple[str, bool]:
    """The last lines of a text as one, and whether they are all of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = " / ".join(lines[-SHOWN_LINES:])
    return last[-SHOWN_CHARACTERS:], len(lines) <= SHOWN_LINES and len(last) <= SHOWN_CHARACTERS


class Program:
    """A command that was started, without a shell.

    It has no input. It and what it starts are killed when it ends, on `stop`, and when this process
    ends in whatever way.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Starts it.

        Raises:
            D2EvalError: there can be no process.
        """
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise D2EvalError(f"{command[0]}: can't be started ({error}); mend it") from error
        self._tail, self._said = b"", b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self._guard.stderr
        while stream is not None and (chunk := os.read(stream.fileno(), 1 << 16)):
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def ended(self) -> bool:
        """Whether it has."""
        return self._guard.poll() is not None

    def end(self) -> str | None:
        """How it ended, in words that begin with a verb; None if all is well.

        To be asked once it has ended.
        """
        if not self._said and self._guard.stdout is not None:
            self._said = self._guard.stdout.read()
        said = json.loads(self._said or b"{}")
        if "error" in said:
            return f"can't be started ({said['error']})"
        code = said.get("code", -signal.SIGKILL)
        if code == 0:
            return None
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def output(self) -> str:
        """What it printed, or the end of it."""
        if self.ended():
            self._reader.join(FAREWELL_SECONDS)
        return self._tail.decode(errors="replace")

    def stop(self) -> None:
        """Ends it, if it runs."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
        self._reader.join(FAREWELL_SECONDS)
        for stream in (self._guard.stdin, self._guard.stdout):
            if stream is not None:
                stream.close()
        if self._guard.stderr is not None and not self._reader.is_alive():
            self._guard.stderr.close()
