"""Columns of rows and tables: declared once, for who writes, reads or shows them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.foundation.text.words import real

TEXT, WHOLE, REAL = "text", "whole", "real"
MOST = 1e12  # of any number in a row


@dataclass(frozen=True)
class Column:
    """A column of rows that a run writes, of a published file, or of a table."""

    name: str  # its name in a CSV, and the key of its values
    header: str | None = None  # its name in Markdown; None keeps it out of there
    text: Callable[[Any], str] = str  # how Markdown shows a value
    # whether it says which row it is, and so stands in every part of a wide table
    key: bool = False
    # whether it is no result but about the rows, so that a note can say it, too
    about: bool = False
    # whether it says what to beware of in a row, and so is never left out where a row has it
    warns: bool = False
    best: str = ""  # of a table's numbers, the "most" or the "least"; "": none is better
    # `TEXT`, or numbers, `WHOLE` or `REAL`; those that are read are never negative
    kind: str = TEXT
    unit: str = ""  # of its numbers
    most: float | str = MOST  # its largest number, or the name of the column that has it
    empty: bool | str = False  # whether a cell may be empty; a name: where that column's cell is
    infinite: bool = False  # whether a number may be infinite
    optional: bool = False  # whether rows of earlier versions lack it

    def value(self, row: Mapping[str, str]) -> str | float:
        """What a row has here; NaN for an empty cell of a number.

        Raises:
            ValueError: it is no number, or none of its range.
        """
        text = row[self.name]
        if self.kind == TEXT:
            return text
        may_be = self.empty if isinstance(self.empty, bool) else not row[self.empty]
        if not text and may_be:
            return math.nan
        if self.infinite and text == "inf":
            return math.inf
        most = self.most if isinstance(self.most, float) else number(row, self.most)
        return number(row, self.name, most)


def names(columns: Sequence[Column]) -> list[str]:
    """The names of columns."""
    return [column.name for column in columns]


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
