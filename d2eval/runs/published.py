"""What is in ``results/published``: published numbers, and how results are shown."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.errors import D2EvalError

REMEDY = "restore the file from the project, or install d2eval again"


@cache
def presentation(benchmark: str) -> Mapping[str, Any]:
    """How a benchmark's results are shown: the content of ``results/published/<benchmark>.toml``.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    return load_toml(published_file(f"{benchmark}.toml"))


def published_file(name: str) -> Path:
    """The path of a file of published numbers, in a checkout or an installed wheel.

    Raises:
        D2EvalError: the folder is not there.
    """
    try:
        return Path(str(files("results.published") / name))
    except ModuleNotFoundError as error:
        raise D2EvalError(
            f"results/published/{name}: not found; install d2eval again, and start it where no "
            "other Python package named results hides it"
        ) from error
