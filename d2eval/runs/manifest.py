"""The manifest of a run: everything that decides its numbers, beside them."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from d2eval import __version__
from d2eval.foundation.errors import D2EvalError, MissingFileError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.machine.resources import git_commit, versions

FILE = "manifest.json"


def environment(device: str) -> dict[str, Any]:
    """Versions, device, code and command of this process."""
    return {
        "d2eval": __version__,
        "git_commit": git_commit(Path(__file__).parent),
        "versions": versions(),
        "device": device,
        "command": ["d2eval", *sys.argv[1:]],
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes ``manifest.json`` into ``folder``."""
    write_text(folder / FILE, json.dumps(content, indent=2, default=str) + "\n")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run in ``folder``, or None if there is none.

    Raises:
        D2EvalError: it is broken.
    """
    path = folder / FILE
    try:
        content = read_json(path, "remove the folder")
    except MissingFileError:
        return None
    if not isinstance(content, dict):
        raise D2EvalError(f"{path}: broken manifest (no object); remove the folder")
    return content
