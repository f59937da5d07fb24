"""Published shares of localized queries, as data in ``results/published``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from d2eval.localization.groups import Group, Kind
from d2eval.localization.site import localized, percent
from d2eval.metrics.poses import Threshold
from d2eval.runs.columns import Column
from d2eval.runs.published import REMEDY, published_file
from d2eval.runs.results import PUBLISHED
from d2eval.runs.rows import read_rows, reading

Record = Mapping[str, Any]
_HEADER = re.compile(r"([0-9.]+)m(?:, ([0-9.]+)deg)?")


def paper_records(file: str, kinds: Mapping[str, Kind], group: Group, cost: str) -> list[Record]:
    """The rows of the paper's table, as records of the tidy table.

    Args:
        file: its name in ``results/published``.
        kinds: the rows by name, in their order.
        group: what they are of.
        cost: column of what is printed of the features, which is the metric's name too.

    Raises:
        D2EvalError: the file is missing or broken, or its rows are others.
    """
    path = published_file(file)
    with reading(path, REMEDY):
        rows = read_rows(path, (Column("method"), Column(cost)))
        if [row["method"] for row in rows] != list(kinds):
            toml = file.replace(".csv", ".toml")
            raise ValueError(f"its rows are not those of {toml}, in their order")
        return [
            record for row in rows for record in _records(row, kinds[row["method"]], group, cost)
        ]


def further_records(file: str, group: Group, kind: Kind) -> list[Record]:
    """Rows of a group that were published elsewhere, each with its source.

    Args:
        file: its name in ``results/published``; the last of the group's parts is a column of it.
        group: what they are of.
        kind: of them all, but for the method.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    path, part = published_file(file), group.parts()[-1]
    columns = [Column(name) for name in ("method", "measured_as", part, "source")]
    with reading(path, REMEDY):
        return [
            record
            for row in read_rows(path, columns)
            if row[part] == getattr(group, part)
            for record in _records(row, replace(kind, method=row["measured_as"]), group)
        ]


def _records(
    row: Mapping[str, str], kind: Kind, group: Group, cost: str | None = None
) -> list[Record]:
    shared = {
        "source": PUBLISHED, "row": row["method"], **vars(kind), "protocol": group.protocol,
        "subset": group.subset, "said": row.get("source", ""),
    }  # fmt: skip
    records: list[Record] = [
        {**shared, **localized(*own)} for own in _percents(row, group.thresholds).items()
    ]
    if cost and row[cost]:
        records.append({**shared, "metric": cost, "printed": row[cost]})
    return records


def _percents(row: Mapping[str, str], wanted: Sequence[Threshold]) -> dict[Threshold, float]:
    found = {}
    for column, text in row.items():
        if match := _HEADER.fullmatch(column):
            found[float(match[1]), match[2] and float(match[2])] = percent(text)
    angles = any(angle for _, angle in found)  # where there are none, they are the protocol's
    if list(found) != [(own.position_m, own.rotation_deg if angles else None) for own in wanted]:
        raise ValueError(
            "its thresholds are not those of the file in benchmarks, which may have been edited"
        )
    return dict(zip(wanted, found.values(), strict=True))
