"""Standard streams that can't end a run: closed, full, a pipe nobody reads, or plain ASCII."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _Steady:
    """A text stream whose failure is remembered instead of raised; what follows is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: str | None = None

    def write(self, text: str) -> int:
        """Writes; what the encoding can't say is written as escapes."""
        if self.failure is None:
            try:
                return self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                plain = text.encode(encoding, "backslashreplace").decode(encoding)
                return self.write(plain)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flushes, if nothing has failed."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        gone = isinstance(error, BrokenPipeError) or getattr(error, "errno", 0) == errno.EPIPE
        self.failure = "" if gone else str(getattr(error, "strerror", None) or error)
        # What is still buffered would fail once more when the interpreter ends.
        with contextlib.suppress(OSError, ValueError):
            _discard(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _discard(descriptor: int) -> None:
    """Lets ``descriptor`` lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _open_missing() -> None:
    """Gives the numbers of closed standard streams to the null device.

    Else the next file that is opened, which may be one of ours, gets the number, and whatever a
    library prints ends up in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            _discard(descriptor)


@contextlib.contextmanager
def steady_streams() -> Iterator[_Steady]:
    """Standard output and error that drop what can't be written; yields standard output."""
    _open_missing()
    before = sys.stdout, sys.stderr
    # A process that starts with a closed stream has None in its place.
    out, err = (_Steady(stream or open(os.devnull, "w")) for stream in before)  # noqa: SIM115, PTH123
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
