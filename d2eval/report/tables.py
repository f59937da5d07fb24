"""Tables as text: CSV with full precision, Markdown rounded as a paper rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.text.display import csv_text, markdown_text
from d2eval.runs.columns import Column

PAGE = 140  # the most characters of a table's line in Markdown
_LONG, _LONGEST_KEY = 20, 40  # of a cell about its row, and of one that names it
_FEW = 3  # rows that a note names


@dataclass(frozen=True)
class Table:
    """A table of one benchmark, as text."""

    name: str  # stem of its files
    csv: str  # all lines in one flat table, full precision
    markdown: str  # a table for each section, rounded as the paper rounds, with notes
    notes: Sequence[str]  # what the user should be told about the runs that it was made from


@dataclass(frozen=True)
class TableSection:
    """A part of a table, under a heading of its own."""

    title: str  # its heading; "" for none
    before: str  # a line above the rows; "" for none
    records: Sequence[Mapping[str, Any]]  # the rows of Markdown, by column
    notes: Sequence[str]  # below them
    flat: Sequence[Mapping[str, Any]]  # the rows of the CSV, by column


def build_table(
    name: str,
    start: Sequence[str],
    sections: Sequence[TableSection],
    columns: Sequence[Column],
    flat: Sequence[Column],
    notes: Sequence[str],
) -> Table:
    """A table of sections."""
    parts = [*start]
    for section in sections:
        grid = markdown_grid(columns, section.records)
        below = "\n".join(f"- {note}" for note in section.notes)
        parts += filter(
            None, (section.title and f"## {section.title}", section.before, grid, below)
        )
    records = [record for section in sections for record in section.flat]
    return Table(name, flat_csv(flat, records), "\n\n".join(parts) + "\n", notes)


def paper_count(count: float) -> str:
    """A count as the paper prints it: ``paper_count(6710.137) == "6.7K"``."""
    return f"{count / 1000:.1f}K"


def flat_csv(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> str:
    """One flat CSV of all columns; what a record doesn't have stays empty."""
    return csv_text([column.name for column in columns], records)


def markdown_grid(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown tables of the columns for which a record has a value, and notes below them.

    No line is wider than `PAGE` characters. What doesn't fit beside the key columns follows in a
    further table, which has these again and only the records with a value there. A column that is
    only about the rows becomes a note where it says the same of all, and where it is long, letters
    that a note explains.
    """
    keys = [column for column in columns if column.key]
    names = [next((k.text(r[k.name]) for k in keys[::-1] if k.name in r), "") for r in records]
    filled = [c for c in columns if c.header and any(c.name in record for record in records)]
    shown, notes = [], []
    for column in filled:
        texts = [column.text(r[column.name]) if column.name in r else "" for r in records]
        if column.about:
            texts, note = _shortened(column, texts, names)
            notes += [note] if note else []
        if column.key:
            texts = [_cut(text) for text in texts]
        if any(texts):
            shown.append((column, [str(column.header), *map(markdown_text, texts)]))
    grids = [_grid(part) for part in _parts(shown)]
    return "\n\n".join([*grids, *(["\n".join(notes)] if notes else [])])


def _shortened(
    column: Column, texts: list[str], names: Sequence[str]
) -> tuple[list[str], str | None]:
    """The cells of a column that is about the rows, and the note that takes from them."""
    distinct = list(dict.fromkeys(filter(None, texts)))
    if len(distinct) == 1:
        own = list(dict.fromkeys(compress(names, texts)))
        which = "all rows" if all(texts) else "all rows that have one"
        if len(own) <= _FEW:
            which = ", ".join(own)
        said = markdown_text(f"{distinct[0]} ({which})")
        return [""] * len(texts), f"- {column.header}: {said}."
    if max(map(len, distinct)) <= _LONG:
        return texts, None
    letters = dict(zip(distinct, _letters(), strict=False))
    explained = "; ".join(f"{letters[text]}: {markdown_text(text)}" for text in distinct)
    return [letters.get(text, "") for text in texts], f"- {column.header}: {explained}."


def _letters() -> Iterator[str]:
    """A to z, and then aa, ab, ..."""
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))


def _cut(text: str) -> str:
    """A name that leaves room for numbers; its middle is left out where it is long."""
    if len(text) <= _LONGEST_KEY:
        return text
    end = _LONGEST_KEY // 3
    return f"{text[: _LONGEST_KEY - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"


_Shown = tuple[Column, list[str]]  # with the header as first cell


def _parts(shown: Sequence[_Shown]) -> Iterator[list[list[str]]]:
    """Columns that fit a page together, the keys first.

    All parts but the first leave out the rows that have nothing but their keys there.
    """
    keys = [cells for column, cells in shown if column.key]
    parts: list[list[list[str]]] = [[]]
    for column, cells in shown:
        if not column.key:
            if parts[-1] and _width([*keys, *parts[-1], cells]) > PAGE:
                parts.append([])
            parts[-1].append(cells)
    yield [*keys, *parts[0]]
    for part in parts[1:]:
        kept = [any(cells) for cells in zip(*part, strict=True)]
        yield [list(compress(cells, kept)) for cells in (*keys, *part)]


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, cells)) + 3 for cells in columns) + 1


def _grid(columns: Sequence[Sequence[str]]) -> str:
    """One table, of cells by column."""
    widths = [max(map(len, cells)) for cells in columns]
    lines = [
        "| " + " | ".join(map(str.ljust, cells, widths)) + " |"
        for cells in zip(*columns, strict=True)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes ``<name>.csv`` and ``<name>.md`` and returns their paths.

    Raises:
        D2EvalError: the folder can't be written.
    """
    paths = [folder / f"{table.name}.csv", folder / f"{table.name}.md"]
    for path, text in zip(paths, (table.csv, table.markdown), strict=True):
        write_text(path, text)
    return paths
