"""Rows of CSV files, as text and as tables of numbers."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_text
from d2eval.foundation.text.display import from_csv_cell
from d2eval.runs.columns import Column

if TYPE_CHECKING:
    import pandas as pd

REMEDY = "run the evaluation again or move the folder away"


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turns what can go wrong while ``path`` is read into one line with a ``remedy``.

    Raises:
        D2EvalError: for the block's OSError, ValueError (broken JSON and wrong encoding too) and
            csv.Error.
    """
    try:
        yield
    except OSError as error:
        raise D2EvalError(f"{path}: can't be read ({error.strerror or error}); {remedy}") from error
    except (ValueError, csv.Error) as error:
        raise D2EvalError(f"{path}: {error}; {remedy}") from error


def read_rows(path: Path, columns: Iterable[Column]) -> list[dict[str, str]]:
    """Reads a CSV file with a header; text comes back as `csv_cell` was given it.

    The header must hold ``columns``, but for optional ones; it may hold more.

    Raises:
        ValueError: a column is missing or stands twice, or a row is torn.
        D2EvalError: the file can't be read.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, "write it again")), strict=True)
    # as earlier versions called MiB
    header = [name.replace("_memory_mb", "_memory_mib") for name in reader.fieldnames or ()]
    reader.fieldnames = header
    missing = [c.name for c in columns if c.name not in header and not c.optional]
    if missing:
        raise ValueError(f"the header lacks {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise ValueError("a column of the header stands twice")
    rows = []
    for row in reader:
        # DictReader marks a row that is too long or too short with None.
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} doesn't have the header's columns")
        rows.append({name: from_csv_cell(cell) for name, cell in row.items()})
    return rows


def frame_of(rows: Sequence[Mapping[str, str]], columns: Iterable[Column]) -> "pd.DataFrame":
    """Rows as `read_rows` gives them, with numbers where columns have such.

    Raises:
        ValueError: a cell is none of its column's.
    """
    import pandas as pd  # takes as long to import as everything else

    known = [column for column in columns if not rows or column.name in rows[0]]
    return pd.DataFrame({c.name: [c.value(row) for row in rows] for c in known})
