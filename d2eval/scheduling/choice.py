"""What ``--scheduler`` says."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.scheduling.executor import Workers

MOST = 1024  # processes of one machine
_LOCAL = re.compile(r"local:(\d+)")
_ADDRESS = re.compile(r"([a-z]+://)?[^/\s]+:\d{1,5}")


def _workers_of(text: str, threads: int | None) -> Workers:
    local = _LOCAL.fullmatch(text)
    if local and 1 <= int(local[1]) <= MOST:
        from d2eval.scheduling.local import LocalWorkers

        return LocalWorkers(int(local[1]), threads)
    path: Path = expanded(text)
    if not local and (_ADDRESS.fullmatch(text) or path.is_file()):
        from d2eval.scheduling.cluster import ClusterWorkers

        return ClusterWorkers(str(path) if path.is_file() else text)
    raise D2EvalError(
        f"--scheduler {text}: must be local:N (1 to {MOST} processes of this machine), or the "
        "address or the file of a Dask scheduler that runs"
    )


def is_local(text: str | None) -> bool:
    """Whether ``--scheduler`` names processes of this machine."""
    return text is not None and _LOCAL.fullmatch(text) is not None


@contextlib.contextmanager
def open_workers(text: str | None, threads: int | None = None) -> Iterator[Workers | None]:
    """The workers that ``--scheduler`` names, until the end of the block; None: none.

    Those of this machine have so many threads each; None: their share.

    Raises:
        D2EvalError: it names none, or there are none.
    """
    if text is None:
        yield None
        return
    workers = _workers_of(text, threads)
    try:
        yield workers
    finally:
        workers.close()
