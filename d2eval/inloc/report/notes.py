"""What a reader of an InLoc table must know to read it right."""

from collections.abc import Sequence

from d2eval.inloc.report.groups import (
    DEMO,
    FINER,
    FLOORS,
    FURTHER,
    HLOC,
    PAPER,
    POOLED,
    SAMPLE,
    Group,
    Section,
)
from d2eval.inloc.report.runs import InlocRun
from d2eval.inloc.report.site import REFERENCES
from d2eval.localization.localized import reasons_note
from d2eval.localization.site import SiteResult

PAPER_NOTES = (
    "Published numbers as the paper prints them, from results/published/inloc.csv. It pools the "
    "329 reference poses of both floors; a printed percentage stands for a count: 35.0 is 115 of "
    "329.",
    "Memory published is the paper's, of an image's features; measured is the mean size of what a "
    "run keeps of an image.",
)
FAULTS = (
    "InLoc's demo, which the published numbers are from, gives every P3P solution of a sample the "
    "rotation of the first (P3PSolver.m:15) and leaves the null vector out of Dense PE's minimal "
    "homographies (at_ransacH4.m:51)"
)
MENDED = f"{FAULTS}. Rows measured here do neither; `--protocol inloc_demo` measures with both."
KEPT = f"{FAULTS}. Rows measured here do so too; benchmarks/inloc_demo.toml has all that differs."
POOLING = (
    "The site reports each floor. Both together are pooled here by the number of reference poses, "
    + " and ".join(f"{count} on {floor}" for floor, count in REFERENCES.items())
    + ", which its percentages are counts of."
)


def notes_of(
    section: Section, runs: Sequence[InlocRun], returned: Sequence[SiteResult[Group]]
) -> list[str]:
    """The notes below a section's table.

    Args:
        section: the section.
        runs: whose numbers stand in it.
        returned: what the site returned for them or others.
    """
    notes: list[str] = []
    if section.kind == PAPER:
        notes += PAPER_NOTES
        if not runs:
            notes.append(
                "No measured run belongs beside these rows yet; `python -m d2eval inloc --help` "
                "says how to measure one."
            )
    if runs and section.kind in (PAPER, FURTHER, SAMPLE) and section.group.protocol != HLOC:
        notes.append(KEPT if section.group.protocol == DEMO else MENDED)
    if section.kind == FINER:
        notes.append("Thresholds that nobody publishes: they tell precise methods apart.")
    if section.kind == SAMPLE:
        notes.append(
            "The embedded sample is a small building made for d2eval, not InLoc: these numbers "
            "never compare with published ones."
        )
    if section.group.protocol == HLOC and section.kind not in (FINER, SAMPLE):
        notes.append(
            "Published numbers are on NetVLAD's top 20 and of an older hloc: no difference is "
            "shown, and none compares with the paper's protocol."
        )
    notes += _run_notes(section, runs)
    if returned:
        notes.append(
            "The site's numbers are as `d2eval import-result` was told; what was submitted can't "
            "be checked here."
        )
        if section.group.floor == POOLED:
            notes.append(POOLING)
    return notes


def _run_notes(section: Section, runs: Sequence[InlocRun]) -> list[str]:
    notes: list[str] = []
    for run in runs:
        result = run.results[section.group]
        floors = [section.group.floor] if section.group.floor != POOLED else [*FLOORS]
        if not result.localized:  # without references, no query is known to be of a floor
            floors = [""]
        reasons = {q: why for floor in floors for q, why in run.reasons.get(floor, {}).items()}
        if reasons and section.kind != FINER:
            notes.append(reasons_note(run.label, reasons, result.queries))
    if any(not run.results[section.group].localized for run in runs):
        notes.append(
            "Runs without percentages had no reference poses, which the authors keep: submit their "
            "InLoc_*.txt file and add the answer with `d2eval import-result`."
        )
    if any(run.is_partial for run in runs):
        notes.append(
            "Rows with a partial dataset lack images of the benchmark, or are of another place in "
            "its layout: they are no reproduction, and have no difference."
        )
    if any(run.stand_in for run in runs):
        notes.append(
            "Stand-in weights are not the paper's: rows with them say how another model does."
        )
    return notes
