"""What is in ``results/published``: published numbers, and how results are shown."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.files.bundled import bundled

REMEDY = "restore the file from the project, or install d2eval again"


@cache
def presentation(benchmark: str) -> Mapping[str, Any]:
    """How a benchmark's results are shown: the content of ``results/published/<benchmark>.toml``.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    return load_toml(published_file(f"{benchmark}.toml"))


def published_file(name: str) -> Path:
    """The path of a file of published numbers."""
    return bundled("results/published") / name
