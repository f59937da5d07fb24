"""Names and values from outside, shown as text: on a terminal, in CSV, in Markdown.

A name may hold a newline, an escape code, markup or a spreadsheet's formula. None of these may do
anything where it is only to be read.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan)")
# What a spreadsheet takes for a formula, and what would be taken for the mark that prevents it.
_FORMULA = re.compile(r"'?[=+\-@\uff1d\uff0b\uff0d\uff20]|'{2}")
_MARKED = re.compile(r"'[=+\-@\uff1d\uff0b\uff0d\uff20']")
_ESCAPE = re.compile(
    r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
)  # what `printable` and `csv_cell` write
_MARKUP = str.maketrans(
    {mark: f"\\{mark}" for mark in r"\`*[]~$|"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
)
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # within a word it is only itself


def printable(text: str) -> str:
    r"""One line of text that a terminal shows and doesn't obey.

    Control characters, line ends, marks that turn the direction of writing, and what wasn't UTF-8
    are written as Python does: ``printable("a\x1b[31m\n") == "a\\x1b[31m\\n"``.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else _escaped(mark) for mark in text)


def _escaped(mark: str) -> str:
    return mark.encode("unicode_escape").decode("ascii")


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet computes; `from_csv_cell` gives the text back.

    Where it begins like a formula and isn't a number, an apostrophe goes before it, as one would
    type it there. A backslash stands twice, because it also stands for what can't be printed.
    """
    text = printable(text.replace("\\", r"\\"))
    formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text


def from_csv_cell(cell: str) -> str:
    """The text that `csv_cell` was given."""
    text = cell[1:] if _MARKED.match(cell) else cell
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: m[0].encode("ascii").decode("unicode_escape"), text)


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """A CSV with a header; text goes through `csv_cell`, and what a record lacks stays empty.

    Raises:
        ValueError: a record has a column that isn't there.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(
            {n: csv_cell(value) if isinstance(value, str) else value for n, value in record.items()}
        )
    return text.getvalue()


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, also in a cell of a table: no markup, HTML or column."""
    return _EDGE_UNDERSCORE.sub(r"\\_", printable(text).translate(_MARKUP))
