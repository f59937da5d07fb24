"""Shares of localized queries: how CSV holds them, how a table shows them, the site's numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from d2eval.foundation.text.display import markdown_text
from d2eval.metrics.poses import Threshold
from d2eval.report.tables import Column
from d2eval.runs.rows import REMEDY, number, read_rows, reading

QUERIES = "queries.csv"
MOST_NAMES = 3  # of queries without a pose for one reason
COLUMNS = ("localized", "percent", "percent_low", "percent_high")


@dataclass(frozen=True)
class Localized:
    """How many queries lie within a threshold, where reference poses were there.

    Attributes:
        count: of queries.
        percent: of all queries, with a pose or without.
        low: lower end of the 95 % interval of the percentage.
        high: its upper end.
    """

    count: int
    percent: float
    low: float
    high: float


def localized_of(row: Mapping[str, str], most: int) -> Localized:
    """The numbers of a row of ``summary.csv``.

    Args:
        row: has `COLUMNS`.
        most: how many queries have a pose.

    Raises:
        ValueError: one is no number of its range.
    """
    return Localized(
        int(number(row, "localized", most=most)),
        number(row, "percent", most=100.0),
        number(row, "percent_low", most=100.0),
        number(row, "percent_high", most=100.0),
    )


def load_reasons(folder: Path, posed: str, part: str) -> dict[str, dict[str, str]]:
    """Why queries have no pose: part -> name -> reason, from ``queries.csv``.

    Args:
        folder: of the run; one without the file, or of an earlier version, gives no reasons.
        posed: the column that is 1 where there is a pose.
        part: the column that says what the query counts to.

    Raises:
        D2EvalError: the file is broken.
    """
    path = folder / QUERIES
    found: dict[str, dict[str, str]] = {}
    if path.is_file():
        with reading(path, REMEDY):
            for row in read_rows(path, ("name", posed, part)):
                if row[posed] == "0" and row.get("reason"):
                    found.setdefault(row[part], {})[row["name"]] = row["reason"]
    return found


def reasons_note(label: str, reasons: Mapping[str, str], queries: int) -> str:
    """Such as "Without a pose in mine, 2 of 98 queries: too few features (2: a.jpg, b.jpg)."."""
    by_kind: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_kind.setdefault(reason.partition(":")[0], []).append(name)
    parts = []
    for kind, names in sorted(by_kind.items(), key=lambda entry: -len(entry[1])):
        shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        parts.append(f"{kind} ({len(names)}: {shown})")
    return markdown_text(
        f"Without a pose in {label}, {len(reasons)} of {queries} queries: {'; '.join(parts)}."
    )


def threshold_of(row: Mapping[str, str]) -> Threshold:
    """The threshold that a row is of.

    Raises:
        ValueError: its limits are no numbers.
    """
    return Threshold(number(row, "position_m"), number(row, "rotation_deg"))


def threshold_text(threshold: Threshold) -> str:
    """Such as "0.5 m, 2°"."""
    return f"{threshold.position_m:g} m, {threshold.rotation_deg:g}°"


def thresholds_text(thresholds: Sequence[Threshold]) -> str:
    """What the numbers of a table are of, such as "At 0.25 m, 2° / 0.5 m, 5° / 5 m, 10°:"."""
    return f"At {' / '.join(map(threshold_text, thresholds))}:"


def by_threshold(numbers: Sequence[Mapping[str, Any]], queries: int | None) -> dict[str, str]:
    """The cells of a line that has several numbers in a column, from the finest threshold on.

    Args:
        numbers: at each threshold; with "published", "localized", "difference", "site",
            "site_difference" where there are such.
        queries: how many of them were there to localize; None without a run.

    Returns:
        Cells such as "44.9 / 66.3 / 88.8 / -" by these names, and "intervals" and "counts" where
        something was measured.
    """
    texts: dict[str, tuple[str, Callable[[Any], str]]] = {
        "published": ("published", "{:.1f}".format),
        "measured": ("localized", lambda found: f"{found.percent:.1f}"),
        "difference": ("difference", difference_text),
        "site": ("site", "{:.1f}".format),
        "site_difference": ("site_difference", difference_text),
        "intervals": ("localized", lambda found: f"{found.low:.1f}-{found.high:.1f}"),
        "counts": ("localized", lambda found: str(found.count)),
    }
    cells = {}
    for column, (name, text) in texts.items():
        if any(name in own for own in numbers):
            cells[column] = " / ".join(text(own[name]) if name in own else "-" for own in numbers)
    if "counts" in cells and queries is not None:
        cells["counts"] += f" of {queries}"
    return cells


def number_columns() -> list[Column]:
    """The columns of `by_threshold`."""
    return [
        Column("published", "Published"),
        Column("measured", "Measured"),
        Column("difference", "Measured diff."),
        Column("site", "Site"),
        Column("site_difference", "Site diff."),
        Column("counts", "Localized"),
        Column("intervals", "95 % intervals"),
    ]


def difference_text(difference: float) -> str:
    """Such as "+1.2", in percentage points."""
    # + 0.0 makes a rounded -0.0 a plain zero
    return f"{round(difference, 1) + 0.0:+.1f}"


def difference(percent: float, published: float) -> float:
    """Percentage points from the published number, which has one decimal."""
    return round(percent - published, 6)  # what lies below is float noise


def percent(text: str) -> float:
    """A percentage.

    Raises:
        ValueError: not a number in 0..100.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 100.0:
        raise ValueError(f"{text!r} is not a percentage in 0..100")
    return value


def site_percents(
    values: Sequence[str], thresholds: Sequence[Threshold], least: int, what: str
) -> dict[Threshold, float]:
    """The percentages as the benchmark's site shows them, by threshold.

    Args:
        values: a number each, or several joined by slashes ("44.9 / 66.3 / 88.8").
        thresholds: what they may be of, from fine to coarse.
        least: how many of these the site reports at least.
        what: names the numbers for the user.

    Raises:
        ValueError: their count is another, one is no percentage, or they fall.
    """
    words = " ".join(values).replace("/", " ").split()
    numbers = [percent(word) for word in words]
    if not least <= len(numbers) <= len(thresholds):
        count = str(least) if least == len(thresholds) else f"{least} or {len(thresholds)}"
        raise ValueError(f"{len(numbers)} values; {what} takes {count}")
    if any(coarse < fine for fine, coarse in pairwise(numbers)):
        raise ValueError(
            f"{' '.join(words)} fall, but a coarser threshold never localizes fewer queries"
        )
    return dict(zip(thresholds, numbers, strict=False))
