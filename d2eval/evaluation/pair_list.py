"""Lists of image pairs as CSV files: a line each, and in its columns what is known of the pair."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_text

OWN = "pairs.csv"  # a list in the data's own folder
PAIR = ("scene", "image0", "image1")  # the columns that say which pair a line is of
T = TypeVar("T")


def read_pair_list(
    path: Path, columns: Sequence[str], make: Callable[[dict[str, str], str], T]
) -> list[T]:
    """The pairs of a list, in its order.

    Args:
        path: the file.
        columns: those of `PAIR` among them; its header must have them in any order, it may have
            more.
        make: of a line's cells by column; the other argument begins its errors.

    Raises:
        D2EvalError: a column is missing or stands twice, a line is broken, a pair stands twice, or
            there is none.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    found: dict[tuple[str, ...], T] = {}
    try:
        header = [*(reader.fieldnames or ())]
        if missing := [name for name in columns if name not in header]:
            raise D2EvalError(f"{path}: the header lacks {', '.join(missing)}; add them")
        if double := [name for name in columns if header.count(name) > 1]:
            raise D2EvalError(f"{path}: {double[0]} stands twice in the header; mend it")
        for row in reader:
            where = f"{path}: line {reader.line_num}"
            if None in row or None in row.values():
                raise D2EvalError(f"{where}: doesn't have the header's columns; mend it")
            key = tuple(row[name] for name in PAIR)
            if key in found:
                raise D2EvalError(f"{where}: the pair stands twice; leave it out")
            found[key] = make(row, where)
    except csv.Error as error:
        raise D2EvalError(f"{path}: line {reader.reader.line_num}: {error}; mend it") from error
    if not found:
        raise D2EvalError(f"{path}: lists no pair; add one")
    return [*found.values()]
