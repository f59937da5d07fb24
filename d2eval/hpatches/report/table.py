"""The paper's HPatches table, with what was measured here beside what was published."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from d2eval.contracts.leaks import NOTE
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.hpatches.report.lines import (
    COUNTS,
    ENDS,
    SCORES,
    Line,
    arrange,
    record_of,
    score_names,
)  # fmt: skip
from d2eval.hpatches.report.published import auc_thresholds, load_paper, load_runs, table_thresholds
from d2eval.report.tables import LEAK, Table, TableLine, TableSection, build_table, paper_count
from d2eval.runs.columns import Column
from d2eval.runs.manifest import machines_notes
from d2eval.runs.measured import RunRoots
from d2eval.runs.published import presentation

KINDS = ("published", "measured", *ENDS, "difference")  # of the columns of an MMA
COUNT_KINDS = (
    "published", "published_exact", "measured", "published_shared", "measured_shared", "difference"
)  # fmt: skip


def hpatches_table(runs_folder: RunRoots) -> Table:
    """Builds the HPatches table.

    Args:
        runs_folder: of measured runs, or several; see `run_folders`.

    Raises:
        D2EvalError: a file it is made from is missing or broken.
    """
    runs, notes = load_runs(runs_folder)
    return table_of_runs(runs, notes)


def table_of_runs(runs: Sequence[PairsRun], notes: Sequence[str] = ()) -> Table:
    """The table with ``runs``; ``notes`` are passed on for the user."""
    lines = arrange(load_paper(), runs)
    start = [
        "# HPatches sequences: the D2-Net paper's table",
        "Mean features of an image, mean matches of a pair and mean matching accuracy (MMA, "
        "overall). Published and measured numbers stand in columns of their own. Intervals are of "
        "a bootstrap over sequences, where there are enough.",
    ]
    sections = []
    for section, title in presentation("hpatches")["table"]["sections"].items():
        if own := [line for line in lines if line.section == section]:
            records = [record_of(line) for line in own]
            shown = [TableLine(_markdown_record(record), [record]) for record in records]
            sections.append(TableSection(title, "", shown, _notes(section, own, records)))
    return build_table("hpatches", start, sections, _columns(), _csv_columns(), notes)


def _csv_columns() -> list[Column]:
    columns = [Column(name) for name in ("section", "row", "method", "label", "top_k")]
    counts = [f"{count}_{kind}" for count in COUNTS for kind in COUNT_KINDS]
    mma = [f"mma_{t}px_{kind}" for t in table_thresholds() for kind in KINDS]
    costs = ["seconds_per_image", "peak_memory_mib"]
    scores = [f"{name}_{end}" for name in score_names() for end in ("measured", *ENDS)]
    matches = [f"matches_{end}" for end in ENDS]
    about = ("dataset", "weights", LEAK.name)
    names = ("shared_sequences", *counts, *matches, *mma, *scores, *costs, *about)
    return [*columns, *map(Column, names)]


def _columns() -> list[Column]:
    mma = f"MMA@{','.join(map(str, table_thresholds()))}px"
    return [
        Column("row", "Method", key=True),
        LEAK,
        Column("label", "Run", key=True),
        Column("top_k", "K"),
        Column("features_published", "Features published"),
        Column("features_measured", "Features measured", paper_count),
        Column("matches_published", "Matches published"),
        Column("matches_measured", "Matches measured", paper_count),
        Column("mma_published", f"{mma} published", best="most"),
        Column("mma_measured", f"{mma} measured", best="most"),
        Column("mma_interval", f"{mma} 95 % intervals"),
        Column("shared_sequences", "Shared seq."),
        Column("features_shared", "Features published, measured there"),
        Column("matches_shared", "Matches published, measured there"),
        Column("differences", "Features, matches diff."),
        *(Column(name, name.replace("_", " ").capitalize(), best="most") for name in SCORES),
        Column("h_auc", f"Homography AUC@{','.join(map(str, auc_thresholds()))}px", best="most"),
        Column("h_auc_interval", "AUC 95 % intervals"),
        Column("seconds_per_image", "Seconds / image", "{:.2f}".format),
        Column("peak_memory_mib", "Peak MiB", "{:.0f}".format),
        Column("dataset", "Dataset", about=True),
        Column("weights", "Weights", about=True),
    ]


def _markdown_record(of_line: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a line, with those of all thresholds, and both differences, in a cell."""
    record = dict(of_line)
    if "features_difference" in record:
        both = [record[f"{count}_difference"] for count in COUNTS]
        # + 0.0 makes a rounded -0.0 a plain zero
        record["differences"] = " / ".join(f"{round(value, 1) + 0.0:+.1f}" for value in both)
    for count in COUNTS:
        if f"{count}_published_shared" in record:
            sides = (record[f"{count}_{kind}_shared"] for kind in ("published", "measured"))
            record[f"{count}_shared"] = " / ".join(f"{value:.1f}" for value in sides)
    mma = [f"mma_{t}px" for t in table_thresholds()]
    auc = [f"h_auc_{t}px" for t in auc_thresholds()]
    cells = {
        "mma_published": [_cell(record, name, "published") for name in mma],
        "mma_measured": [_cell(record, name, "measured") for name in mma],
        "mma_interval": [_interval(record, name) for name in mma],
        "h_auc": [_cell(record, name, "measured") for name in auc],
        "h_auc_interval": [_interval(record, name) for name in auc],
        **{name: [_cell(record, name, "measured")] for name in SCORES},
    }
    record |= {name: " / ".join(own) for name, own in cells.items() if {*own} != {"-"}}
    for name in SCORES:
        if (interval := _interval(record, name)) != "-":
            record[name] += f" ({interval})"
    return record


def _cell(record: Mapping[str, Any], name: str, kind: str) -> str:
    value = record.get(f"{name}_{kind}")
    return "-" if value is None else f"{value:.4f}"


def _interval(record: Mapping[str, Any], name: str) -> str:
    ends = [record.get(f"{name}_{end}") for end in ENDS]
    return "-" if None in ends else "-".join(f"{end:.3f}" for end in ends)


def _notes(section: str, lines: Sequence[Line], records: Iterable[Mapping[str, Any]]) -> list[str]:
    runs = [line.run for line in lines if line.run]
    notes = []
    if section == "paper":
        source = presentation("hpatches")["curves"]
        notes.append(
            "Published features and matches are as the paper prints them; published MMA is exact, "
            f'from the rows "{source}" of results/published/hpatches_curves.csv.'
        )
        if known := _rounding_notes(records):
            notes.append(
                f"The print and those exact numbers disagree: {'; '.join(known)}. The print stays."
            )
        if runs:
            notes.append(
                "A difference is measured minus published, against the exact published mean of "
                "the same rows, because the printed one is rounded."
            )
        else:
            notes.append(
                "No measured run belongs beside these rows yet; `python -m d2eval hpatches --help` "
                "says how to measure one."
            )
        if any(run.is_partial for run in runs):
            notes.append(
                "Rows with a partial dataset are compared, in features and matches, on the "
                "sequences that they share with the published results "
                "(results/published/hpatches_counts.csv), and differences are of the means there. "
                "MMA is published of all sequences alone: its difference is no reproduction."
            )
    if section == "top_k":
        notes.append("The paper's table keeps all features: these rows don't compare with it.")
    if section == "further":
        notes.append("The paper's table has no row for these.")
    if section == "sample":
        notes.append(
            "The embedded sample is a few small sequences made for d2eval, not HPatches: these "
            "numbers never compare with published ones."
        )
    if any(run.stand_in for run in runs):
        notes.append(
            "Stand-in weights are not the paper's: rows with them say how another model does."
        )
    if any(run.leaks for run in runs):
        notes.append(NOTE)
    return notes + machines_notes({run.label: run.manifest for run in runs})


def _rounding_notes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a printed count is not the exact one's rounding, each said once."""
    found: list[str] = []
    for record in records:
        for count in ("features", "matches"):
            printed, exact = record[f"{count}_published"], record[f"{count}_published_exact"]
            note = f"{record['row']}, {count} {printed}, exact {exact:.1f}"
            if paper_count(exact) != printed and note not in found:
                found.append(note)
    return found
