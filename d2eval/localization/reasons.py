"""What a run says of its queries: why one has no pose, and how many lie within the thresholds."""

from collections.abc import Callable, Sequence
from itertools import groupby

from d2eval.runs.folder import Row

MOST_QUERIES = 10  # that are listed one by one


def shortage(steps: Sequence[tuple[str, int, int]]) -> str:
    """Why a query has no pose, such as "too few verified matches: 5 of 812 matches, 30 are needed".

    The steps say, from its features on, what was left, how many, and how many are needed.
    """
    for index, (what, count, needed) in enumerate(steps):
        if count < needed:
            before = f" of {steps[index - 1][1]} {steps[index - 1][0]}" if index else ""
            return f"too few {what}: {count}{before}, {needed} are needed"
    return "no pose: what was found agrees with none"


def without_pose(queries: Sequence[Row], column: str) -> list[str]:
    """Lines that say which queries have no pose and why, of many the first ones.

    ``column`` is 1 where there is a pose.
    """
    lacking = [row for row in queries if not row[column]]
    lines = [f"no pose for {row['name']}: {row['reason']}" for row in lacking[:MOST_QUERIES]]
    if len(lacking) > MOST_QUERIES:
        lines.append(f"and {len(lacking) - MOST_QUERIES} more; queries.csv has the reasons")
    return lines


def summary_lines(summary: Sequence[Row], text: Callable[[Row], str], scored: bool) -> list[str]:
    """A line for each group of queries, such as "DUC1  3/4 with a pose  0.5 m, 2 deg: 3 (75.0 %)".

    ``text`` gives what is said of a group before its thresholds, of which there is something to say
    where it is ``scored``.
    """
    return [
        "  ".join([start, *(map(_share, rows) if scored else ())])
        for start, rows in groupby(summary, text)
    ]


def _share(row: Row) -> str:
    limits = f"{row['position_m']:g} m, {row['rotation_deg']:g} deg"
    return f"{limits}: {row['localized']} ({row['percent']:.1f} %)"
