"""The paper's InLoc table: published, measured, and what the benchmark's site returned."""

from collections.abc import Iterable
from typing import Any

from d2eval.inloc.report.arrange import Line, arrange
from d2eval.inloc.report.groups import PAPER
from d2eval.inloc.report.notes import notes_of
from d2eval.inloc.report.runs import Runs, load_runs
from d2eval.localization.localized import (
    Localized,
    by_threshold,
    difference,
    number_columns,
    thresholds_text,
)
from d2eval.metrics.poses import Threshold
from d2eval.report.tables import Column, Table, flat_csv, markdown_grid
from d2eval.runs.measured import RunRoots

INTRODUCTION = (
    "Localized queries in percent, by position error (smaller than the threshold) and rotation "
    "error. Numbers that were published, measured here and returned by the benchmark's site stand "
    "in columns of their own; numbers of another protocol, of one floor or at other thresholds in "
    "tables of their own. Intervals are Wilson's, of the measured percentages. A difference is in "
    "percentage points, from the published number. Where a table is too wide for a page, it goes "
    "on below."
)


def inloc_table(runs_folder: RunRoots) -> Table:
    """Builds the InLoc table.

    Args:
        runs_folder: of measured runs, or several; see `run_folders`.

    Raises:
        D2EvalError: a file it is made from is missing or broken.
    """
    return table_of_runs(load_runs(runs_folder))


def table_of_runs(runs: Runs) -> Table:
    """The table with ``runs``."""
    parts = ["# InLoc: the D2-Net paper's table", INTRODUCTION]
    records = []
    for section, lines in arrange(runs).items():
        records += [record for line in lines for record in _flat_records(line)]
        grid = markdown_grid(_columns(), [_record(line) for line in lines])
        parts += [f"## {section.title}", thresholds_text(section.thresholds), grid]
        returned = [line.returned for line in lines if line.returned]
        notes = notes_of(section, [line.run for line in lines if line.run], returned)
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    return Table("inloc", flat_csv(_flat_columns(), records), "\n\n".join(parts) + "\n", runs.notes)


def _origin_columns() -> list[Column]:
    return [
        Column("dataset", "Dataset", about=True),
        Column("weights", "Weights", about=True),
        Column("published_as", "Published as", about=True),
        Column("published_in", "Published in", about=True),
        Column("returned", "Returned by the site", about=True),
    ]


def _columns() -> list[Column]:
    return [
        Column("row", "Row", key=True),
        Column("label", "Run", key=True),
        *number_columns(),
        Column("memory_published", "Memory published"),
        Column("stored_mb", "Memory measured", "{:.1f} MB".format),
        Column("median", "Median error"),
        Column("posed", "With a pose", about=True),
        *_origin_columns(),
    ]


def _flat_columns() -> list[Column]:
    names = [
        "section", "row", "label", "strategy", "method", "verification", "protocol", "floor",
        "position_m", "rotation_deg", "published", "measured", "localized", "percent_low",
        "percent_high", "difference", "site", "site_difference", "queries", "posed",
        "memory_published", "stored_mb", "median_position_m", "median_rotation_deg",
    ]  # fmt: skip
    return [*map(Column, names), *_origin_columns()]


def _numbers(line: Line, threshold: Threshold) -> dict[str, Any]:
    """What there is to say of a threshold, by column."""
    numbers: dict[str, Any] = {}
    if line.published:
        numbers["published"] = line.published.percent[threshold]
    if line.result and threshold in line.result.localized:
        numbers["localized"] = line.result.localized[threshold]
    if line.returned and threshold in line.returned.percent:
        numbers["site"] = line.returned.percent[threshold]
    # hloc's published numbers are on other image pairs than a run's: no difference.
    if "published" in numbers and line.section.kind == PAPER:
        if "localized" in numbers and line.run and line.run.dataset == "complete":
            numbers["difference"] = difference(numbers["localized"].percent, numbers["published"])
        if "site" in numbers:
            numbers["site_difference"] = difference(numbers["site"], numbers["published"])
    return numbers


def _origin(line: Line) -> dict[str, Any]:
    """Values that a line has in CSV and Markdown alike."""
    record: dict[str, Any] = {"row": line.name}
    if line.published:
        if line.published.source:
            record["published_in"] = line.published.source
        if line.published.printed != line.name:
            record["published_as"] = line.published.printed
        if line.published.memory:
            record["memory_published"] = line.published.memory
    if line.returned:
        record["label"] = line.returned.label
        record["returned"] = ", ".join(filter(None, (line.returned.date, line.returned.source)))
    if line.run:
        record |= {
            "label": line.run.label,
            "stored_mb": line.run.stored_mb,
            "dataset": line.run.dataset,
            "weights": line.run.weights,
        }
    return record


def _record(line: Line) -> dict[str, Any]:
    """A line's values for Markdown."""
    record, result = _origin(line), line.result
    if result:
        record["posed"] = f"{result.posed} of {result.queries}"
        if result.median_position_m is not None and result.median_rotation_deg is not None:
            record["median"] = (
                f"{result.median_position_m:.3f} m, {result.median_rotation_deg:.2f}°"
            )
    numbers = [_numbers(line, threshold) for threshold in line.section.thresholds]
    return record | by_threshold(numbers, result.queries if result else None)


def _shared(line: Line) -> dict[str, Any]:
    """A line's values that are the same for each of its thresholds."""
    group, result = line.section.group, line.result
    shared = {
        **_origin(line),
        "section": line.section.title,
        "protocol": group.protocol,
        "floor": group.floor,
    }
    known = line.run or line.published
    if known:
        kind = known.kind
        shared |= {
            "strategy": kind.strategy,
            "method": kind.method,
            "verification": kind.verification,
        }
    elif line.returned:
        shared["method"] = line.returned.method
    if result:
        shared |= {
            "queries": result.queries,
            "posed": result.posed,
            "median_position_m": result.median_position_m,
            "median_rotation_deg": result.median_rotation_deg,
        }
    return shared


def _flat_records(line: Line) -> Iterable[dict[str, Any]]:
    """A line's values for the CSV: a record for each threshold."""
    shared = _shared(line)
    for threshold in line.section.thresholds:
        numbers = _numbers(line, threshold)
        localized: Localized | None = numbers.pop("localized", None)
        if localized:
            numbers |= {
                "measured": localized.percent,
                "localized": localized.count,
                "percent_low": localized.low,
                "percent_high": localized.high,
            }
        where = {"position_m": threshold.position_m, "rotation_deg": threshold.rotation_deg}
        yield {**shared, **where, **numbers}
