"""Copies of the checkout that a test may edit, and which source its classes have there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from places import REPOSITORY

SOURCES = """
import sys
from importlib import import_module
from d2eval.contracts.source import source_of
module, find, *names = sys.argv[1:]
for name in names:
    source = source_of(getattr(import_module(module), find)(name))
    print(source.origin, source.sha256 or "-")
"""


def copy_checkout(target: Path) -> Path:
    """The packages, without weights and photos."""
    for name in ("d2eval", "methods"):
        shutil.copytree(
            REPOSITORY / name, target / name,
            ignore=shutil.ignore_patterns("__pycache__", "weights", "sample"),
        )  # fmt: skip
    return target


def sources(checkout: Path, find: str, *names: str) -> list[str]:
    """Origin and hash of what ``find``, as "d2eval.contracts.method:method_class", finds."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", SOURCES, *find.split(":"), *names],
        capture_output=True, text=True, check=True, cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    return done.stdout.splitlines()
