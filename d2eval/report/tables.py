"""Tables as text: CSV with full precision, Markdown rounded as a paper rounds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.text.display import csv_text, markdown_text
from d2eval.runs.columns import Column

LEAK = Column("leak", "Leak", key=True, warns=True)  # see `d2eval.contracts.leaks`
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
    content: "Content | None" = None  # what it shows, where it can be shown in another way


@dataclass(frozen=True)
class TableLine:
    """A line of a table."""

    shown: Mapping[str, Any]  # its cells in Markdown, by column; empty keeps it out of there
    flat: Sequence[Mapping[str, Any]]  # its rows in the CSV, by column


@dataclass(frozen=True)
class TableSection:
    """A part of a table, under a heading of its own."""

    title: str  # its heading; "" for none
    before: str  # a line above the rows; "" for none
    lines: Sequence[TableLine]
    notes: Sequence[str]  # below them


@dataclass(frozen=True)
class Content:
    """What a table shows."""

    start: Sequence[str]  # paragraphs of Markdown above the sections
    sections: Sequence[TableSection]
    columns: Sequence[Column]  # of Markdown
    flat: Sequence[Column]  # of the CSV


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
        grid = markdown_grid(columns, [line.shown for line in section.lines if line.shown])
        below = "\n".join(f"- {note}" for note in section.notes)
        parts += filter(
            None, (section.title and f"## {section.title}", section.before, grid, below)
        )
    records = [record for own in sections for line in own.lines for record in line.flat]
    markdown, content = "\n\n".join(parts) + "\n", Content(start, sections, columns, flat)
    return Table(name, flat_csv(flat, records), markdown, notes, content)


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
    cells, notes = shown_cells(columns, records)
    escaped = [(column, [texts[0], *map(markdown_text, texts[1:])]) for column, texts in cells]
    # a line begins with a character that belongs to no column
    grids = [_grid([cells for _, cells in part]) for part in page_parts(escaped, PAGE - 1, _width)]
    below = "\n".join(f"- {title}: {markdown_text(note)}." for title, note in notes)
    return "\n\n".join([*grids, *([below] if notes else [])])


Cells = tuple[Column, list[str]]  # with the header as first cell


def shown_cells(
    columns: Sequence[Column], records: Sequence[Mapping[str, Any]]
) -> tuple[list[Cells], list[tuple[str, str]]]:
    """The columns for which a record has a value, and notes: the column's header, and a text."""
    keys = [column for column in columns if column.key and not column.warns]
    names = [next((k.text(r[k.name]) for k in keys[::-1] if k.name in r), "") for r in records]
    filled = [c for c in columns if c.header and any(c.name in record for record in records)]
    shown, notes = [], []
    for column in filled:
        texts = [column.text(r[column.name]) if column.name in r else "" for r in records]
        if column.about:
            texts, note = _shortened(texts, names)
            notes += [(str(column.header), note)] if note else []
        if column.key:
            texts = [name_in_table(text) for text in texts]
        if any(texts):
            shown.append((column, [str(column.header), *texts]))
    return shown, notes


def _shortened(texts: list[str], names: Sequence[str]) -> tuple[list[str], str | None]:
    """The cells of a column that is about the rows, and the note that takes from them."""
    distinct = list(dict.fromkeys(filter(None, texts)))
    if len(distinct) == 1:
        own = list(dict.fromkeys(compress(names, texts)))
        which = "all rows" if all(texts) else "all rows that have one"
        if len(own) <= _FEW:
            which = ", ".join(own)
        return [""] * len(texts), f"{distinct[0]} ({which})"
    if max(map(len, distinct)) <= _LONG:
        return texts, None
    letters = dict(zip(distinct, _letters(), strict=False))
    explained = "; ".join(f"{letters[text]}: {text}" for text in distinct)
    return [letters.get(text, "") for text in texts], explained


def _letters() -> Iterator[str]:
    """A to z, and then aa, ab, ..."""
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))


def name_in_table(text: str) -> str:
    """A name that leaves room for numbers; its middle is left out where it is long."""
    if len(text) <= _LONGEST_KEY:
        return text
    end = _LONGEST_KEY // 3
    return f"{text[: _LONGEST_KEY - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"


def page_parts(
    shown: Sequence[Cells], page: int, width: Callable[[Sequence[str]], int]
) -> Iterator[list[Cells]]:
    """Columns that fit a page together, the keys first.

    All parts but the first leave out the rows that have nothing but their keys there.

    Args:
        shown: the columns.
        page: how wide a part may be.
        width: of a column's cells and what stands between them.
    """
    keys = [own for own in shown if own[0].key]
    parts: list[list[Cells]] = [[]]
    for own in shown:
        if not own[0].key:
            if parts[-1] and sum(width(cells) for _, cells in [*keys, *parts[-1], own]) > page:
                parts.append([])
            parts[-1].append(own)
    yield [*keys, *parts[0]]
    for part in parts[1:]:
        kept = [any(row) for row in zip(*(cells for _, cells in part), strict=True)]
        yield [(column, list(compress(cells, kept))) for column, cells in (*keys, *part)]


def _width(cells: Sequence[str]) -> int:
    return max(map(len, cells)) + 3


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
    return write_texts(table.name, {"csv": table.csv, "md": table.markdown}, folder)


def write_texts(name: str, texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes a text for each ending, and returns the paths.

    Raises:
        D2EvalError: the folder can't be written.
    """
    paths = [folder / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths
