"""Tables as text: CSV with full precision, Markdown rounded as a paper rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.atomic import write_text
from d2eval.text import csv_text, markdown_text


@dataclass(frozen=True)
class Table:
    """A table of one benchmark, as text.

    Attributes:
        name: stem of its files.
        csv: all lines in one flat table, full precision.
        markdown: a table for each section, rounded as the paper rounds, with notes.
        notes: what the user should be told about the runs that it was made from.
    """

    name: str
    csv: str
    markdown: str
    notes: Sequence[str]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name in the CSV, and the key of its values.
        header: its name in Markdown; None keeps it out of there.
        text: how Markdown shows a value.
    """

    name: str
    header: str | None = None
    text: Callable[[Any], str] = str


def paper_count(count: float) -> str:
    """A count as the paper prints it: ``paper_count(6710.137) == "6.7K"``."""
    return f"{count / 1000:.1f}K"


def flat_csv(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> str:
    """One flat CSV of all columns; what a record doesn't have stays empty."""
    return csv_text([column.name for column in columns], records)


def markdown_grid(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the columns for which a record has a value."""
    filled = []
    for column in columns:
        if column.header and any(column.name in record for record in records):
            cells = [
                markdown_text(column.text(record[column.name])) if column.name in record else ""
                for record in records
            ]
            filled.append([column.header, *cells])
    widths = [max(map(len, cells)) for cells in filled]
    rows = [
        "| " + " | ".join(map(str.ljust, cells, widths)) + " |"
        for cells in zip(*filled, strict=True)
    ]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes ``<name>.csv`` and ``<name>.md`` and returns their paths.

    Raises:
        D2EvalError: the folder can't be written.
    """
    paths = [folder / f"{table.name}.csv", folder / f"{table.name}.md"]
    for path, text in zip(paths, (table.csv, table.markdown), strict=True):
        write_text(path, text)
    return paths
