"""Numbers of one split as CSV rows hold them, published or measured."""

import contextlib
import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_text
from d2eval.foundation.text.display import from_csv_cell
from d2eval.foundation.text.words import real

REMEDY = "run the evaluation again or move the folder away"
MOST = 1e12  # of any number in a row


@dataclass(frozen=True)
class Scores:
    """Means of one split.

    Attributes:
        features: mean number of features of an image.
        matches: mean number of matches of a pair.
        mma: threshold in px -> mean matching accuracy, a mean over pairs, in 0..1.
    """

    features: float
    matches: float
    mma: Mapping[int, float]


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


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Reads a CSV file with a header; text comes back as `csv_cell` was given it.

    Args:
        path: the file, UTF-8.
        columns: names that the header must hold; it may hold more.

    Raises:
        ValueError: a column is missing or stands twice, or a row is torn.
        D2EvalError: the file can't be read.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, "write it again")), strict=True)
    header = list(reader.fieldnames or ())
    missing = [name for name in columns if name not in header]
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


def mma_column(threshold_px: int) -> str:
    """The column of the mean matching accuracy at a threshold."""
    return f"mma_{threshold_px}px"


def score_columns(thresholds_px: Iterable[int]) -> list[str]:
    """The columns that `scores` reads."""
    return ["mean_features", "mean_matches", *map(mma_column, thresholds_px)]


def scores(row: Mapping[str, str], thresholds_px: Iterable[int]) -> Scores:
    """The numbers of one row.

    Raises:
        ValueError: one is no number, negative, or an MMA above 1.
    """
    return Scores(
        number(row, "mean_features"),
        number(row, "mean_matches"),
        {t: number(row, mma_column(t), most=1.0) for t in thresholds_px},
    )


def number(row: Mapping[str, str], column: str, most: float = MOST) -> float:
    """The number in a column.

    Raises:
        ValueError: it is none, negative, or above ``most``, by default beyond reason.
    """
    text = row[column]
    try:
        value = real(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= most:
        limit = "at least 0" if most == MOST else f"in 0..{most:g}"
        of = f" of split {row['split']}" if "split" in row else ""
        raise ValueError(f"{column}{of} is {text!r}, not a number {limit}")
    return value
