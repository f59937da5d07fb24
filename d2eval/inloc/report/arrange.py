"""Which numbers stand beside which: the sections of InLoc's table and their lines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.inloc.report.groups import (
    FINER,
    FLOOR,
    FLOORS,
    FURTHER,
    HLOC,
    INLOC,
    PAPER,
    POOLED,
    SAMPLE,
    Group,
    Section,
    open_section,
)
from d2eval.inloc.report.published import (
    Kind,
    PublishedRow,
    load_paper,
    load_published,
    row_name,
)
from d2eval.inloc.report.runs import InlocRun, Result, Runs
from d2eval.inloc.report.site import pooled
from d2eval.localization.site import SiteResult
from d2eval.report.names import method_name

PAPERS = Section(PAPER, Group(INLOC, POOLED))
_Beside = dict[Section, dict[str, dict[str, Any]]]  # section -> label -> fields of its line


@dataclass(frozen=True)
class Line:
    """One line of a section: a run, or a published row, or both.

    Attributes:
        section: where it stands.
        name: as published, or in the paper's manner; of a submission not measured here its method.
        published: the published numbers it stands beside.
        run: the measured run, if there is one.
        returned: what the site returned for that run, or for one not measured here.
    """

    section: Section
    name: str
    published: PublishedRow | None = None
    run: InlocRun | None = None
    returned: SiteResult[Group] | None = None

    @property
    def result(self) -> Result | None:
        """The numbers of the run in this section."""
        return self.run.results[self.section.group] if self.run else None


def sections_of(run: InlocRun, paper: Sequence[Kind]) -> list[Section]:
    """Where a run's numbers stand.

    Args:
        run: with numbers of both floors together, or of each.
        paper: the kinds of the paper's rows.
    """
    pooled_group = Group(run.protocol, POOLED)
    if run.is_sample:
        return [Section(SAMPLE, pooled_group)]
    found = []
    for group, result in run.results.items():
        beside = open_section(group)
        of_paper = beside.kind == FURTHER and run.kind in paper
        found.append(Section(PAPER, group) if of_paper else beside)
        if group == pooled_group and result.localized:
            found.append(Section(FINER, group))
    return found


def arrange(runs: Runs) -> dict[Section, list[Line]]:
    """Sections in their order, each with its lines: published rows first, then further ones.

    A section is there where something was published, measured or returned by the site.
    """
    paper = load_paper()
    kinds = [row.kind for row in paper]
    beside: _Beside = {PAPERS: {}}
    beside |= {Section(FLOOR, Group(HLOC, floor)): {} for floor in FLOORS}
    where: dict[tuple[str, Group], Section] = {}
    for run in runs.measured:
        for section in sections_of(run, kinds):
            beside.setdefault(section, {}).setdefault(run.label, {})["run"] = run
            if section.kind not in (FINER, SAMPLE):
                where[run.label, section.group] = section
    for returned in (*runs.returned, *pooled(runs.returned)[0]):
        group = returned.group
        section = where.get((returned.label, group), open_section(group))
        found = beside.setdefault(section, {})
        found.setdefault(returned.label, {})["returned"] = returned
    names = _names(runs, paper)
    return {
        section: list(_lines(section, beside[section], names))
        for section in sorted(beside, key=lambda section: section.rank)
    }


def _names(runs: Runs, paper: Sequence[PublishedRow]) -> dict[str, str]:
    """How the rows of the runs are called, by label: as in the paper, or in its manner."""
    labels = {row.kind: row.label for row in paper}
    return {run.label: labels.get(run.kind, row_name(run.kind)) for run in runs.measured}


def _lines(
    section: Section, beside: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> Iterator[Line]:
    published = load_published(section) if section.kind in (PAPER, FLOOR) else []
    shown = set()
    for row in published:
        own = {label: found for label, found in beside.items() if _belongs(found, row)}
        shown |= set(own)
        for found in list(own.values()) or [{}]:
            yield Line(section, row.label, row, **found)
    for label, found in beside.items():
        if label not in shown:
            # Of a run without reference poses there is no line on a floor but the site's.
            name = names[label] if label in names else method_name(found["returned"].method)
            yield Line(section, name, **found)


def _belongs(found: Mapping[str, Any], row: PublishedRow) -> bool:
    """Whether a run, or a submission that wasn't measured here, is of a published row."""
    if "run" in found:
        return bool(found["run"].kind == row.kind)
    return bool(found["returned"].method == row.kind.method)
