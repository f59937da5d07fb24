"""What libraries read from the environment when they are imported.

What they compile and what fonts they found lies below the cache folder: their usual places, beside
the code and in the home folder, can't be written in many containers. And how many threads they use.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from d2eval.cli.parsing import given
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import default_cache, expanded
from d2eval.foundation.machine.threads import tell_libraries, thread_count


def claim_caches(arguments: Sequence[str]) -> None:
    """Sets the variables that numba and matplotlib look at when they are imported.

    A user's own settings stay, and matplotlib's folder, which may hold some, if it can be written.
    ``--cache`` is looked for in the arguments before they are understood.
    """
    try:
        named, _ = given("--cache", arguments)
        cache = expanded(named[-1]) if named else default_cache()
    except D2EvalError:  # is told when the arguments are understood
        return
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache.absolute() / "numba"))
    if not _can_be_written(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")):
        os.environ.setdefault("MPLCONFIGDIR", str(cache.absolute() / "matplotlib"))


def claim_threads(arguments: Sequence[str]) -> None:
    """Sets the variables that say so, by ``--threads``, before the arguments are understood."""
    named, _ = given("--threads", arguments)
    count = thread_count(named[-1]) if named else None
    if count:
        tell_libraries(count, os.environ)


def _can_be_written(folder: Path) -> bool:
    """Whether ``folder`` can be made, if need be, and written."""
    try:
        folder = expanded(folder)
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except (D2EvalError, OSError, StopIteration):
        return False
