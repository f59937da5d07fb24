"""What a reader of an Aachen table must know to read it right."""

from collections.abc import Sequence

from d2eval.aachen.report.groups import HOLDOUT, PAPER, SAMPLE, Section
from d2eval.aachen.report.runs import AachenRun
from d2eval.localization.localized import reasons_note

PAPER_NOTES = (
    "Published numbers as the paper prints them, from results/published/aachen.csv. With 98 night "
    "queries a printed percentage stands for a count: 72.5 is 71 of 98 (72.449 %), rounded twice.",
    "The site never reported the fourth threshold; its ground truth changed in June 2020, so that "
    "none of these numbers compares with epoch 2020's.",
)


def notes_of(section: Section, runs: Sequence[AachenRun], returned: bool) -> list[str]:
    """The notes below a section's table.

    Args:
        section: the section.
        runs: whose numbers stand in it.
        returned: whether numbers of the site do.
    """
    notes: list[str] = []
    if section == PAPER:
        notes += PAPER_NOTES
        if not runs:
            notes.append(
                "No measured run belongs beside these rows yet; `python -m d2eval aachen --help` "
                "says how to measure one."
            )
    if section.kind == SAMPLE:
        notes.append(
            "The embedded sample is a small scene made for d2eval, not Aachen: these numbers never "
            "compare with published ones."
        )
    if section.kind == HOLDOUT:
        notes.append(
            "Database images held out from a smaller database stand for queries: these numbers "
            "compare with nothing published."
        )
    if section.group.protocol == "aachen_hloc" and section.kind not in (SAMPLE, HOLDOUT):
        notes.append(
            "Published numbers are on pairs of NetVLAD's top 30 and of an older hloc: no "
            "difference is shown, and none compares with the challenge's."
        )
    notes += _run_notes(section, runs)
    if returned:
        notes.append(
            "The site's numbers are as `d2eval import-result` was told; what was submitted can't "
            "be checked here."
        )
    return notes


def _run_notes(section: Section, runs: Sequence[AachenRun]) -> list[str]:
    notes: list[str] = []
    for run in runs:
        if reasons := run.reasons.get(section.group.split):
            queries = run.results[section.group].queries
            notes.append(reasons_note(run.label, reasons, queries))
    scored = [run for run in runs if run.results[section.group].localized]
    if len(scored) < len(runs):
        notes.append(
            "Runs without percentages had no reference poses, which the benchmark keeps to itself: "
            "submit their Aachen_eval file and add the answer with `d2eval import-result`."
        )
    if scored and section.kind not in (SAMPLE, HOLDOUT):
        notes.append(
            "Measured percentages hold for the reference poses that were given, at the epoch's "
            "thresholds; the benchmark's own ground truth is known to the site alone."
        )
    if any(run.is_partial for run in runs):
        notes.append(
            "Rows with a partial dataset lack images or pairs of the benchmark, or are of another "
            "place in its layout: they are no reproduction, and have no difference."
        )
    if any(run.stand_in for run in runs):
        notes.append(
            "Stand-in weights are not the paper's: rows with them say how another model does."
        )
    return notes
