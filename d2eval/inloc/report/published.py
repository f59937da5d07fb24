"""Published InLoc numbers, as data in ``results/published``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2eval.inloc.report.groups import HLOC, INLOC, PAPER, Group, Section, thresholds
from d2eval.localization.localized import percent
from d2eval.metrics.poses import Threshold
from d2eval.report.names import method_name
from d2eval.runs.published import REMEDY, presentation, published_file
from d2eval.runs.rows import read_rows, reading

POOLED_STRATEGY, UNVERIFIED = "pooled", "none"  # hloc's
_HEADER = re.compile(r"([0-9.]+)m")


@dataclass(frozen=True)
class Kind:
    """What makes a row of the table: how poses are found, from what, and who judges them.

    Attributes:
        strategy: "direct", "sparse", "dense", "merge" or "pooled".
        method: whose features; of "merge" the sparse ones.
        verification: "none" or "dense_pv".
    """

    strategy: str
    method: str
    verification: str


@dataclass(frozen=True)
class PublishedRow:
    """A published row.

    Attributes:
        label: the row's name, with the method's as the paper has it.
        printed: its name as published.
        kind: what a measured run must be to stand beside it.
        memory: printed memory of an image's features, such as "5MB", verbatim; "" where unsaid.
        percent: of localized queries, by threshold.
        source: where it was published; None for the paper.
    """

    label: str
    printed: str
    kind: Kind
    memory: str
    percent: Mapping[Threshold, float]
    source: str | None


def load_published(section: Section) -> list[PublishedRow]:
    """The published rows of a section, in their order; often none.

    Raises:
        D2EvalError: a file is missing or broken.
    """
    if section.kind == PAPER:
        return load_paper()
    return load_hloc(section.group)


def load_paper() -> list[PublishedRow]:
    """The rows of the paper's table.

    Raises:
        D2EvalError: the file is missing or broken, or its rows are not those of ``inloc.toml``.
    """
    path = published_file("inloc.csv")
    known = presentation("inloc")["rows"]
    with reading(path, REMEDY):
        rows = read_rows(path, ["method", "memory"])
        if [row["method"] for row in rows] != [row["label"] for row in known]:
            raise ValueError("its rows are not those of inloc.toml, in their order")
        wanted = thresholds(INLOC)
        return [
            PublishedRow(
                row["method"],
                row["method"],
                Kind(entry["strategy"], entry["method"], entry["verification"]),
                row["memory"],
                _percents(row, wanted),
                None,
            )
            for row, entry in zip(rows, known, strict=True)
        ]


def load_hloc(group: Group) -> list[PublishedRow]:
    """The rows of hloc of a group; none if the group is not of its protocol.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    if group.protocol != HLOC:
        return []
    path = published_file("inloc_hloc.csv")
    with reading(path, REMEDY):
        wanted = thresholds(HLOC)
        return [
            PublishedRow(
                method_name(row["measured_as"]),
                row["method"],
                Kind(POOLED_STRATEGY, row["measured_as"], UNVERIFIED),
                "",
                _percents(row, wanted),
                row["source"],
            )
            for row in read_rows(path, ["method", "measured_as", "floor", "source"])
            if row["floor"] == group.floor
        ]


def _percents(row: Mapping[str, str], wanted: Sequence[Threshold]) -> dict[Threshold, float]:
    metres = {}
    for column, text in row.items():
        if match := _HEADER.fullmatch(column):
            metres[float(match[1])] = percent(text)
    if list(metres) != [threshold.position_m for threshold in wanted]:
        raise ValueError(
            "its thresholds are not those of the file in benchmarks, which may have been edited"
        )
    return dict(zip(wanted, metres.values(), strict=True))


def row_name(kind: Kind) -> str:
    """How a row that the paper doesn't have is called, in the paper's manner."""
    method = method_name(kind.method)
    titles = {
        "direct": f"Direct PE - {method}",
        "sparse": f"Sparse PE - {method}",
        "dense": f"Dense PE - {method}",
        "merge": f"InLoc + {method}",
        POOLED_STRATEGY: method,
    }
    verified = kind.verification != UNVERIFIED and kind.strategy != "merge"
    return titles[kind.strategy] + (" + Dense PV" if verified else "")
