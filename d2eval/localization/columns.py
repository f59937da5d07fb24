"""Columns of the rows that benchmarks of camera poses have in common."""

from d2eval.foundation.formats.poses import POSE_COLUMNS
from d2eval.runs.columns import REAL, WHOLE, Column

ORIGIN = (Column("dataset", "Dataset", about=True), Column("weights", "Weights", about=True))
THRESHOLD = (
    Column("position_m", kind=REAL, unit="m"),
    Column("rotation_deg", kind=REAL, unit="deg"),
)


def summary_columns(
    label: str, parts: tuple[str, ...], posed: str, cost: Column
) -> tuple[Column, ...]:
    """The columns of ``summary.csv``: a row for each threshold of each group of queries.

    Without reference poses, the numbers of localized queries and the medians are empty. ``parts``
    name a group, beside the protocol; ``posed`` counts the queries with a pose; ``cost`` is what a
    run tells of its features.
    """
    return (
        *(Column(name) for name in (label, "protocol", *parts)),
        *THRESHOLD,
        Column("queries", kind=WHOLE),
        Column(posed, kind=WHOLE, most="queries"),
        Column("localized", kind=WHOLE, most=posed, empty=True),
        *(
            Column(name, kind=REAL, unit="%", most=100.0, empty="localized")
            for name in ("percent", "percent_low", "percent_high")
        ),
        Column("median_position_m", kind=REAL, unit="m", empty=True),
        Column("median_rotation_deg", kind=REAL, unit="deg", empty=True),
        cost,
        *ORIGIN,
    )


def query_columns(
    parts: tuple[str, ...], posed: str, counts: tuple[Column, ...]
) -> tuple[Column, ...]:
    """The columns of ``queries.csv``: a row for each query, its pose and the reference's.

    ``parts`` say what the query is of; ``posed`` is 1 where there is a pose, which rests on
    ``counts``.
    """
    return (
        *(Column(name) for name in ("name", *parts, posed)),
        *counts,
        *(Column(c.name, kind=REAL, unit=c.unit, infinite=True) for c in THRESHOLD),
        *(Column(prefix + name, kind=REAL) for prefix in ("", "ref_") for name in POSE_COLUMNS),
        Column("reason", optional=True),
        Column("protocol"),
        *ORIGIN,
    )


def chosen(columns: tuple[Column, ...], *names: str) -> list[Column]:
    """Those of ``columns`` that have one of the names."""
    return [column for column in columns if column.name in names]
