"""The paper's Aachen table: published, measured, and what the benchmark's site returned."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d2eval.aachen.report.groups import (
    BENCHMARK,
    CHALLENGE,
    Group,
    Section,
    thresholds,
)
from d2eval.aachen.report.notes import notes_of
from d2eval.aachen.report.published import PUBLISHED, PublishedRow, load_published
from d2eval.aachen.report.runs import AachenRun, Result, Runs, load_runs
from d2eval.localization.localized import (
    Localized,
    by_threshold,
    difference,
    number_columns,
    thresholds_text,
)
from d2eval.localization.site import SiteResult
from d2eval.metrics.poses import Threshold
from d2eval.report.names import method_name
from d2eval.report.tables import Column, Table, flat_csv, markdown_grid, paper_count
from d2eval.runs.measured import RunRoots

INTRODUCTION = (
    "Localized queries in percent, by position and rotation error. Numbers that were published, "
    "measured here and returned by the benchmark's site stand in columns of their own; numbers of "
    "another epoch of the ground truth, protocol or set of queries in tables of their own. "
    "Intervals are Wilson's, of the measured percentages. A difference is in percentage points, "
    "from the published number. Where a table is too wide for a page, it goes on below."
)


@dataclass(frozen=True)
class Line:
    """One line of a section: a run, or a published row, or both.

    Attributes:
        section: where it stands.
        name: of the method.
        method: the method's registered name.
        published: the published numbers it stands beside.
        run: the measured run, if there is one.
        returned: what the site returned for that run, or for one not measured here.
    """

    section: Section
    name: str
    method: str
    published: PublishedRow | None = None
    run: AachenRun | None = None
    returned: SiteResult[Group] | None = None

    @property
    def result(self) -> Result | None:
        """The numbers of the run in this section."""
        return self.run.results[self.section.group] if self.run else None


def aachen_table(runs_folder: RunRoots) -> Table:
    """Builds the Aachen table.

    Args:
        runs_folder: of measured runs, or several; see `run_folders`.

    Raises:
        D2EvalError: a file it is made from is missing or broken.
    """
    return table_of_runs(load_runs(runs_folder))


def table_of_runs(runs: Runs) -> Table:
    """The table with ``runs``."""
    sections = arrange(runs)
    parts = ["# Aachen Day-Night: the D2-Net paper's table", INTRODUCTION]
    records = []
    for section, lines in sections.items():
        own = [_record(line) for line in lines]
        records += [record for line in lines for record in _flat_records(line)]
        limits = thresholds(section.group.protocol, section.group.epoch)
        parts += [f"## {section.title}", thresholds_text(limits), markdown_grid(_columns(), own)]
        notes = notes_of(
            section, [line.run for line in lines if line.run], any(line.returned for line in lines)
        )
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    return Table(
        "aachen", flat_csv(_flat_columns(), records), "\n\n".join(parts) + "\n", runs.notes
    )


def arrange(runs: Runs) -> dict[Section, list[Line]]:
    """Sections in their order, each with its lines: published rows first, then further methods.

    A section is there where something was published, measured or returned by the site.
    """
    beside: dict[Section, dict[tuple[str, str], dict[str, Any]]] = {
        Section(BENCHMARK, group): {} for group in PUBLISHED
    }
    for run in runs.measured:
        for group in run.results:
            found = beside.setdefault(run.section(group), {})
            found.setdefault((run.named, run.label), {})["run"] = run
    for returned in runs.returned:
        found = beside.setdefault(Section(BENCHMARK, returned.group), {})
        found.setdefault((returned.method, returned.label), {})["returned"] = returned
    return {
        section: list(_lines(section, beside[section]))
        for section in sorted(beside, key=lambda section: section.rank)
    }


def _lines(
    section: Section,
    beside: Mapping[tuple[str, str], Mapping[str, Any]],
) -> Iterator[Line]:
    published = load_published(section.group) if section.kind == BENCHMARK else []
    for row in published:
        own = [found for (method, _), found in beside.items() if method == row.method]
        for found in own or [{}]:
            yield Line(section, row.label, row.method, row, **found)
    known = {row.method for row in published}
    for (method, _), found in beside.items():
        if method not in known:
            yield Line(section, method_name(method), method, **found)


def compares(section: Section) -> bool:
    """Whether a difference from published numbers says something.

    hloc's published numbers are on other image pairs (NetVLAD) than the challenge's.
    """
    return (section.kind, section.group.protocol) == (BENCHMARK, CHALLENGE)


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
        Column("row", "Method", key=True),
        Column("label", "Run", key=True),
        *number_columns(),
        Column("features_published", "Features published"),
        Column("features_measured", "Features measured", paper_count),
        Column("median", "Median error"),
        Column("registered", "Registered", about=True),
        Column("holdout", "Held out", about=True),
        *_origin_columns(),
    ]


def _flat_columns() -> list[Column]:
    names = [
        "section", "row", "method", "label", "protocol", "epoch", "split", "position_m",
        "rotation_deg", "published", "measured", "localized", "percent_low", "percent_high",
        "difference", "site", "site_difference", "queries", "registered", "features_published",
        "features_measured", "median_position_m", "median_rotation_deg", "holdout",
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
    if "published" in numbers and compares(line.section):
        if "localized" in numbers and line.run and not line.run.is_partial:
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
        if line.published.features:
            record["features_published"] = line.published.features
    if line.returned:
        record["label"] = line.returned.label
        record["returned"] = ", ".join(filter(None, (line.returned.date, line.returned.source)))
    if line.run and line.result:
        record |= {
            "label": line.run.label,
            "features_measured": line.result.features,
            "dataset": line.run.dataset,
            "weights": line.run.weights,
        }
        if line.run.holdout is not None:
            record["holdout"] = line.run.holdout
    return record


def _record(line: Line) -> dict[str, Any]:
    """A line's values for Markdown."""
    group, result = line.section.group, line.result
    record = _origin(line)
    if result:
        record["registered"] = f"{result.registered} of {result.queries}"
        if result.median_position_m is not None and result.median_rotation_deg is not None:
            record["median"] = (
                f"{result.median_position_m:.3f} m, {result.median_rotation_deg:.2f}°"
            )
    limits = thresholds(group.protocol, group.epoch)
    numbers = [_numbers(line, threshold) for threshold in limits]
    return record | by_threshold(numbers, result.queries if result else None)


def _flat_records(line: Line) -> Iterable[dict[str, Any]]:
    """A line's values for the CSV: a record for each threshold."""
    group, result = line.section.group, line.result
    shared = {
        **_origin(line),
        "section": line.section.title,
        "method": line.method,
        "protocol": group.protocol,
        "epoch": group.epoch,
        "split": group.split,
    }
    if result:
        shared |= {
            "queries": result.queries,
            "registered": result.registered,
            "median_position_m": result.median_position_m,
            "median_rotation_deg": result.median_rotation_deg,
        }
    for threshold in thresholds(group.protocol, group.epoch):
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
