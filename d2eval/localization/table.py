"""Tables of benchmarks of camera poses: published, measured, and returned by the site."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from d2eval.contracts.leaks import leak_text
from d2eval.localization.columns import ORIGIN
from d2eval.localization.description import Report
from d2eval.localization.groups import Kind, Line, Section
from d2eval.localization.notes import notes_of
from d2eval.localization.runs import Runs
from d2eval.metrics.poses import Threshold
from d2eval.report.names import method_name
from d2eval.report.tables import LEAK, Table, TableLine, TableSection, build_table
from d2eval.runs.columns import Column
from d2eval.runs.results import MEASURED, PUBLISHED, SITE, Numbers, numbers_of, records_of

_Beside = dict[Section, dict[str, dict[str, Any]]]  # section -> label -> fields of its line
_COLUMNS = (
    Column("published", "Published", best="most"),
    Column("measured", "Measured", best="most"),
    Column("difference", "Measured diff."),
    Column("site", "Site", best="most"),
    Column("site_difference", "Site diff."),
    Column("counts", "Localized"),
    Column("intervals", "95 % intervals"),
)
# column of Markdown -> the number that it needs, and its text
_TEXTS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "published": ("published", lambda own: f"{own['published']:.1f}"),
    "measured": ("measured", lambda own: f"{own['measured']:.1f}"),
    # + 0.0 makes a rounded -0.0 a plain zero
    "difference": ("difference", lambda own: f"{round(own['difference'], 1) + 0.0:+.1f}"),
    "site": ("site", lambda own: f"{own['site']:.1f}"),
    "site_difference": (
        "site_difference",
        lambda own: f"{round(own['site_difference'], 1) + 0.0:+.1f}",
    ),
    "intervals": ("localized", lambda own: f"{own['percent_low']:.1f}-{own['percent_high']:.1f}"),
    "counts": ("localized", lambda own: str(own["localized"])),
}
_FROM = (
    *ORIGIN,
    Column("published_as", "Published as", about=True),
    Column("published_in", "Published in", about=True),
    Column("returned", "Returned by the site", about=True),
)


def table_of_runs(report: Report[Any], runs: Runs) -> Table:
    """A benchmark's table with ``runs``."""
    columns = (
        Column("row", report.words.row, key=True),
        LEAK,
        Column("label", "Run", key=True),
        *_COLUMNS,
        *report.cost.columns,
        Column("median", "Median error"),
        Column("posed", report.words.posed, about=True),
        *report.extra,
        *_FROM,
    )
    sections = [
        TableSection(
            section.title,
            f"At {' / '.join(map(threshold_text, section.thresholds))}:",
            [TableLine(_record(report, line), [*_flat_records(report, line)]) for line in lines],
            notes_of(report, section, lines),
        )
        for section, lines in arrange(report, runs).items()
    ]
    words, flat = report.words, (*map(Column, report.flat), *_FROM, Column(LEAK.name))
    return build_table(
        report.name, [f"# {words.heading}", words.introduction], sections, columns, flat, runs.notes
    )


def arrange(report: Report[Any], runs: Runs) -> dict[Section, list[Line]]:
    """Sections in their order, each with its lines: published rows first, then further ones.

    A section is there where something was published, measured or returned by the site.
    """
    numbers = numbers_of(records_of(runs.numbers))
    groups = {id(own): report.group(own.protocol, *own.subset.split(" ")) for own in numbers}
    measured = {run.label: run for run in runs.measured}
    beside: _Beside = {section: {} for section in report.always}
    where: dict[tuple[str, Any], Section] = {}
    for own in (own for own in numbers if own.source == MEASURED):
        run, group = measured[own.run], groups[id(own)]
        for section in report.sections(run, group, own):
            found = beside.setdefault(section, {})
            found.setdefault(own.run, {}).update(run=run, measured=own)
            if section.submitted:
                where[own.run, group] = section
    for own in (own for own in numbers if own.source == SITE):
        group = groups[id(own)]
        section = where.get((own.run, group), report.open_section(group))
        beside.setdefault(section, {}).setdefault(own.run, {})["returned"] = own
    named = {run.label: report.name_of(run.kind) for run in runs.measured}
    published: dict[Any, list[Numbers]] = {}
    for own in (own for own in numbers if own.source == PUBLISHED):
        published.setdefault(groups[id(own)], []).append(own)
    return {
        section: list(_lines(section, published.get(section.published, []), beside[section], named))
        for section in sorted(beside, key=lambda section: section.rank)
    }


def _lines(
    section: Section,
    published: Sequence[Numbers],
    beside: Mapping[str, Mapping[str, Any]],
    named: Mapping[str, str],
) -> Iterator[Line]:
    shown = set()
    for row in published:
        kind = _kind(row)
        own = {label: found for label, found in beside.items() if _belongs(found, kind)}
        shown |= set(own)
        name = row_name(row)
        for found in list(own.values()) or [{}]:
            yield Line(section, name, kind, row, **found)
    for label, found in beside.items():
        if label not in shown:
            # A run without reference poses has no line in each section, but maybe the site's there.
            kind = found["run"].kind if "run" in found else _kind(found["returned"])
            yield Line(section, named.get(label) or method_name(kind.named), kind, **found)


def _kind(numbers: Numbers) -> Kind:
    return Kind(numbers.method, numbers.matcher, numbers.strategy, numbers.verification)


def _belongs(found: Mapping[str, Any], row: Kind) -> bool:
    """Whether a run, or a submission that wasn't measured here, is of a published row."""
    if "run" in found:
        return bool(found["run"].kind == row)
    return bool(_kind(found["returned"]).named == row.named)


def row_name(row: Numbers) -> str:
    """How a published row is called: as the paper has it, or as it calls the method."""
    return method_name(row.method) if row.said else row.row


def threshold_text(threshold: Threshold) -> str:
    """Such as "0.5 m, 2°"."""
    return f"{threshold.position_m:g} m, {threshold.rotation_deg:g}°"


def _shared(report: Report[Any], line: Line) -> dict[str, Any]:
    """Values that a line has in CSV and Markdown alike."""
    cost, (printed, measured) = report.cost.metric, report.cost.columns
    name = line.name + (report.addition(line.run) if line.run else "")
    record: dict[str, Any] = {"row": name, "label": line.label, "method": line.kind.named}
    if line.published:
        record["published_in"] = line.published.said
        record[printed.name] = line.published.get(cost, "printed")
        if line.published.row != line.name:
            record["published_as"] = line.published.row
    if line.returned:
        record["returned"] = line.returned.said
    if line.run and line.measured:
        record |= {"dataset": line.measured.dataset, "weights": line.measured.weights}
        record |= {measured.name: line.measured.get(cost), "holdout": line.run.holdout}
        record[LEAK.name] = leak_text(line.run.leaks)
    return {name: value for name, value in record.items() if value not in ("", None)}


def _record(report: Report[Any], line: Line) -> dict[str, Any]:
    """A line's values for Markdown."""
    record, own = _shared(report, line), line.measured
    if own:
        record["posed"] = f"{own.get('posed', 'count')} of {line.queries}"
        position, rotation = own.get("median_position"), own.get("median_rotation")
        if position is not None and rotation is not None:
            record["median"] = f"{position:.3f} m, {rotation:.2f}°"
    return record | _by_threshold(line)


def _by_threshold(line: Line) -> dict[str, str]:
    """Cells of several numbers each, such as "44.9 / 66.3 / 88.8 / -", from fine to coarse."""
    numbers = [line.at(threshold) for threshold in line.section.thresholds]
    found = {}
    for column, (name, text) in _TEXTS.items():
        if any(name in own for own in numbers):
            found[column] = " / ".join(text(own) if name in own else "-" for own in numbers)
    if "counts" in found:
        found["counts"] += f" of {line.queries}"
    return found


def _flat_records(report: Report[Any], line: Line) -> Iterator[dict[str, Any]]:
    """A line's values for the CSV: a record for each threshold."""
    shared = {**_shared(report, line), **vars(line.section.group), "section": line.section.title}
    shared = {**vars(line.kind), **shared}
    if line.measured:
        shared |= {
            "queries": line.queries,
            report.posed: line.measured.get("posed", "count"),
            "median_position_m": line.measured.get("median_position"),
            "median_rotation_deg": line.measured.get("median_rotation"),
        }
    for threshold in line.section.thresholds:
        record = {**shared, **vars(threshold), **line.at(threshold)}
        yield {
            name: record[name]
            for name in (*report.flat, *(c.name for c in _FROM), LEAK.name)
            if name in record
        }
