"""The folder of a run: rows as CSV, and earlier runs of other work put aside."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2eval.atomic import write_text
from d2eval.errors import D2EvalError
from d2eval.manifest import FILE, read_manifest, same_work
from d2eval.text import csv_text

Row = dict[str, Any]


def format_value(value: Any) -> str:
    """One CSV cell: nine significant digits, empty for what is not known."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return "" if value is None else str(value)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows of equal keys, complete or not at all."""
    cells = ({name: format_value(value) for name, value in row.items()} for row in rows)
    write_text(path, csv_text(list(rows[0]), cells))


def put_aside(folder: Path, manifest: Mapping[str, Any], keys: Sequence[str]) -> Path | None:
    """Moves an earlier run of other work out of the way, so that its rows are not lost.

    Args:
        folder: the run's folder, which this process holds.
        manifest: of the run that is about to be written.
        keys: entries that two runs of the same work share.

    Returns:
        Where the earlier run lies now, or None if there was none.

    Raises:
        D2EvalError: it can't be moved.
    """
    old = read_manifest(folder)
    if old is None or same_work(old, manifest, keys):
        return None
    stamp = str(old.get("finished", "unknown")).replace(":", "").replace("+0000", "")
    aside = folder.parent / ".replaced" / f"{folder.name}-{stamp}"
    try:
        aside.mkdir(parents=True, exist_ok=True)
        # The lock stays. The manifest goes last: as long as it is here, so is the rest's story.
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for path in sorted(files, key=lambda path: path.name == FILE):
            path.replace(aside / path.name)
    except OSError as error:
        raise D2EvalError(
            f"{folder}: holds an earlier run that can't be moved to {aside} ({error.strerror}); "
            "move it, or choose another --output"
        ) from error
    return aside
