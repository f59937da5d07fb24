"""How many threads the libraries of a process use."""

import re
import sys
from collections.abc import Mapping, MutableMapping

# Libraries read them once, when they are imported
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_COUNT = re.compile("[0-9]{1,4}")


def tell_libraries(count: int, variables: MutableMapping[str, str]) -> None:
    """Sets what libraries that are not yet imported will read."""
    variables.update(dict.fromkeys(VARIABLES, str(count)))


def told_libraries(variables: Mapping[str, str]) -> int | None:
    """What somebody has told them; None: nothing."""
    return thread_count(variables.get(VARIABLES[0], ""))


def thread_count(text: str) -> int | None:
    """The number of threads from 1 to 9999 that a text says in plain digits; None: it says none."""
    return int(text) or None if _COUNT.fullmatch(text) else None


def use_threads(count: int) -> None:
    """Lets OpenCV use so many threads, and PyTorch where it is imported already.

    Nothing here lets numba choose threads, and telling it would change PyTorch's, both being
    OpenMP's.
    """
    import cv2

    cv2.setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
