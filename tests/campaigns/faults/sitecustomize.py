"""What goes wrong in a process of a campaign, as its variable FAULTS says: "noflock clock=3600".

Python imports this before anything else where its folder is on PYTHONPATH.
"""

import errno
import fcntl
import os
import random
import time
from typing import Any, NoReturn

FAULTS = dict(word.partition("=")[::2] for word in os.environ.get("FAULTS", "").split())
_clock, _fsync = time.time, os.fsync


def _no_locks(*_: Any) -> NoReturn:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _full_at_times(descriptor: int) -> None:
    if random.random() < float(FAULTS["full"]):  # noqa: S311 - no secret
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _fsync(descriptor)


if "noflock" in FAULTS:  # a file system without locks
    fcntl.flock = _no_locks
if "clock" in FAULTS:  # seconds by which the clock is ahead
    time.time = lambda: _clock() + float(FAULTS["clock"])
if "full" in FAULTS:  # the share of files for which the disk has no room
    os.fsync = _full_at_times
