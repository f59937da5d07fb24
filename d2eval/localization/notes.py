"""What a reader of a table must know to read it right."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2eval.contracts.leaks import NOTE
from d2eval.foundation.text.display import markdown_text
from d2eval.localization.description import Report
from d2eval.localization.groups import Line, LocalizedRun, Section

MOST_NAMES = 3  # of queries without a pose for one reason


def notes_of(report: Report[Any], section: Section, lines: Sequence[Line]) -> list[str]:
    """The notes below a section's table."""
    measured = [line for line in lines if line.measured]
    notes: list[str] = []
    if section.is_paper:
        notes += report.words.paper
        if not measured:
            notes.append(
                "No measured run belongs beside these rows yet; `python -m d2eval "
                f"{report.name} --help` says how to measure one."
            )
    notes += [section.measured_note] if measured and section.measured_note else []
    notes += [*section.notes, *_run_notes(report, section, measured)]
    if any(line.returned for line in lines):
        notes.append(
            "The site's numbers are as `d2eval import-result` was told; what was submitted can't "
            "be checked here."
        )
        notes += filter(None, [section.returned_note])
    return notes


def _run_notes(report: Report[Any], section: Section, lines: Sequence[Line]) -> list[str]:
    notes: list[str] = []
    runs = [line.run for line in lines if line.run]
    scored = [_is_scored(line) for line in lines]
    for line, run, is_scored in zip(lines, runs, scored, strict=True):
        parts = section.group.query_parts(is_scored)
        reasons = {q: why for part in parts for q, why in run.queries.reasons.get(part, {}).items()}
        if reasons and section.figure:
            notes.append(_reasons_note(run, reasons, line.queries))
    if not all(scored):
        notes.append(report.words.unscored)
    if any(scored):
        notes += filter(None, [section.scored_note])
    if any(run.is_partial for run in runs):
        notes.append(report.words.partial)
    if any(run.stand_in for run in runs):
        notes.append(
            "Stand-in weights are not the paper's: rows with them say how another model does."
        )
    if any(run.leaks for run in runs):
        notes.append(NOTE)
    return notes


def _is_scored(line: Line) -> bool:
    return bool(line.measured and line.measured.curve("localized"))


def _reasons_note(run: LocalizedRun, reasons: Mapping[str, str], queries: int | None) -> str:
    """Such as "Without a pose in mine, 2 of 98 queries: too few features (2: a.jpg, b.jpg)."."""
    by_kind: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_kind.setdefault(reason.partition(":")[0], []).append(name)
    parts = []
    for kind, names in sorted(by_kind.items(), key=lambda entry: -len(entry[1])):
        shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        parts.append(f"{kind} ({len(names)}: {shown})")
    return markdown_text(
        f"Without a pose in {run.label}, {len(reasons)} of {queries} queries: {'; '.join(parts)}."
    )
