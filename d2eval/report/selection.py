"""Which of a table's rows and columns are shown, and in which order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.report.tables import Table, TableLine, build_table

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_NAMES = ("method", "row", "label")  # columns by which a row is chosen


@dataclass(frozen=True)
class Selection:
    """What a user asks for; empty takes all, in the table's order."""

    columns: Sequence[str] = ()  # of Markdown, by name; those that say what rows are of stay
    methods: Sequence[str] = ()  # methods, rows' names or runs
    sort: str = ""  # a column, largest first; "measured:2" by the second number of its cells


def select(table: Table, chosen: Selection) -> Table:
    """The table with what is chosen of it. The CSV keeps all columns.

    Raises:
        D2EvalError: there is no such row or column, or the table is always shown whole.
    """
    if chosen == Selection():
        return table
    if table.content is None:
        raise D2EvalError(f"{table.name}: its columns and rows can't be chosen")
    content = table.content
    lines = [line for section in content.sections for line in section.lines]
    if missing := [name for name in chosen.methods if not any(_is_of(own, name) for own in lines)]:
        known = dict.fromkeys(str(own.shown[k]) for own in lines for k in _NAMES if k in own.shown)
        raise D2EvalError(f"{missing[0]}: no row is of it; there are {', '.join(known)}")
    columns = [c for c in content.columns if c.header]
    known = dict.fromkeys(c.name for c in columns if not (c.key or c.about))
    sort, _, place = chosen.sort.partition(":")
    numbers = {name for own in lines for name in own.shown}
    for name in chosen.columns:
        if name not in known:
            raise D2EvalError(f"{name}: no such column; there are {', '.join(known)}")
    if sort and (sort not in numbers or not (place or "1").isdecimal() or place == "0"):
        raise D2EvalError(f"{chosen.sort}: no column to sort by; there are {', '.join(known)}")
    sections = []
    for section in content.sections:
        own = [line for line in section.lines if not chosen.methods or _is_chosen(line, chosen)]
        if sort:
            own.sort(key=lambda line: _order(line.shown.get(sort), int(place or 1)))
        if own:
            sections.append(replace(section, lines=own))
    wanted = [
        c for c in columns if not chosen.columns or c.key or c.about or c.name in chosen.columns
    ]
    order = {name: index for index, name in enumerate(chosen.columns)}
    wanted.sort(key=lambda c: -1 if c.key else order.get(c.name, len(order)))
    return build_table(table.name, content.start, sections, wanted, content.flat, table.notes)


def _is_of(line: TableLine, name: str) -> bool:
    return any(line.shown.get(column) == name for column in _NAMES)


def _is_chosen(line: TableLine, chosen: Selection) -> bool:
    return any(_is_of(line, name) for name in chosen.methods)


def _order(value: Any, place: int) -> tuple[int, float, str]:
    """Numbers from the largest, then texts, then what has none."""
    parts = str(value).split(" / ") if value is not None else []
    match = _NUMBER.match(parts[place - 1]) if place <= len(parts) else None
    if match:
        return 0, -float(match[0]), ""
    return (1, 0.0, str(value)) if value is not None else (2, 0.0, "")
