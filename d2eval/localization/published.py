"""Published shares of localized queries, as data in ``results/published``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from d2eval.localization.description import Published
from d2eval.localization.site import localized, percent
from d2eval.metrics.poses import Threshold
from d2eval.runs.columns import Column
from d2eval.runs.published import REMEDY, published_file
from d2eval.runs.results import PUBLISHED
from d2eval.runs.rows import read_rows, reading

Record = Mapping[str, Any]
_HEADER = re.compile(r"([0-9.]+)m(?:, ([0-9.]+)deg)?")


def published_records(own: Published, cost: str) -> list[Record]:
    """The rows of a file, as records of the tidy table.

    ``cost`` is the metric's name, and the column of the paper's files for what is printed of the
    features.

    Raises:
        D2EvalError: the file is missing or broken, or the paper's rows are others.
    """
    path, part = published_file(own.file), own.group.parts()[-1]
    further = ("method", "measured_as", part, "source")
    with reading(path, REMEDY):
        rows = read_rows(path, map(Column, ("method", cost) if own.kinds else further))
        if own.kinds and [row["method"] for row in rows] != list(own.kinds):
            toml = own.file.replace(".csv", ".toml")
            raise ValueError(f"its rows are not those of {toml}, in their order")
        return [
            record
            for row in rows
            if own.kinds or row[part] == getattr(own.group, part)
            for record in _records(row, own, cost)
        ]


def _records(row: Mapping[str, str], own: Published, cost: str) -> list[Record]:
    method, group = row["method"], own.group
    kind = own.kinds[method] if own.kinds else replace(own.kind, method=row["measured_as"])
    shared = {
        "source": PUBLISHED, "row": method, **vars(kind), "protocol": group.protocol,
        "subset": group.subset, "said": row.get("source", ""),
    }  # fmt: skip
    records: list[Record] = [
        {**shared, **localized(*own)} for own in _percents(row, group.thresholds).items()
    ]
    if row.get(cost):
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
