"""The paper's HPatches table, with what was measured here beside what was published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.contracts.leaks import NOTE, leak_text
from d2eval.evaluation.pairing import metric_of
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.hpatches.report.published import (
    PaperRow,
    auc_thresholds,
    load_paper,
    load_runs,
    table_thresholds,
)
from d2eval.hpatches.report.shared import shared_counts
from d2eval.report.names import method_name
from d2eval.report.tables import LEAK, Table, TableLine, TableSection, build_table, paper_count
from d2eval.runs.columns import Column
from d2eval.runs.measured import RunRoots
from d2eval.runs.published import presentation
from d2eval.runs.results import Numbers

COUNTS = ("features", "matches")
ENDS = ("low", "high")  # of an interval
KINDS = ("published", "measured", *ENDS, "difference")  # of the columns of an MMA
SCORES = ("matching_score", "repeatability")
COUNT_KINDS = (
    "published", "published_exact", "measured", "published_shared", "measured_shared", "difference"
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    section: str  # of the table, as in ``results/published/hpatches.toml``
    name: str  # the paper's name of the method, or the registered one if the paper has none
    paper: PaperRow | None  # the published numbers it stands beside; only in the paper's section
    run: PairsRun | None  # the measured numbers, if there are any


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
            shown = [TableLine(_markdown_record(line), [_record(line)]) for line in own]
            sections.append(TableSection(title, "", shown, _notes(section, own)))
    return build_table("hpatches", start, sections, _columns(), _csv_columns(), notes)


def arrange(paper: Iterable[PaperRow], runs: Sequence[PairsRun]) -> list[Line]:
    """Puts each measured run where it may stand.

    Beside a row of the paper stand only runs of its method with all features on HPatches; the
    paper's table has no limit on features, and published numbers don't describe the sample.
    """
    rows = {row.method: row for row in paper if row.label}
    titles = presentation("hpatches")["table"]["sections"]
    sections: dict[str, list[PairsRun]] = {section: [] for section in titles}
    for run in runs:
        if run.is_sample:
            section = "sample"
        elif run.top_k is not None:
            section = "top_k"
        else:
            section = "paper" if run.named in rows else "further"
        sections[section].append(run)
    lines = []
    for method, row in rows.items():
        own = [run for run in sections["paper"] if run.named == method]
        beside: list[PairsRun | None] = [*own] or [None]
        lines += [Line("paper", str(row.label), row, run) for run in beside]
    for section in ("top_k", "further", "sample"):
        for run in sections[section]:
            lines.append(Line(section, method_name(run.named), None, run))
    return lines


def _csv_columns() -> list[Column]:
    columns = [Column(name) for name in ("section", "row", "method", "label", "top_k")]
    counts = [f"{count}_{kind}" for count in COUNTS for kind in COUNT_KINDS]
    mma = [f"mma_{t}px_{kind}" for t in table_thresholds() for kind in KINDS]
    costs = ["seconds_per_image", "peak_memory_mib"]
    scores = [f"{name}_{end}" for name in _scores() for end in ("measured", *ENDS)]
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


def _markdown_record(line: Line) -> dict[str, Any]:
    """The values of a line, with those of all thresholds, and both differences, in a cell."""
    record = _record(line)
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


def _record(line: Line) -> dict[str, Any]:
    """The values of a line by column name; a column without a value is absent."""
    record: dict[str, Any] = {"section": line.section, "row": line.name}
    paper, run = line.paper, line.run
    if paper:
        exact = paper.numbers["overall"]
        record |= {
            "method": paper.method,
            "features_published": paper.features,
            "features_published_exact": exact.get("mean_features"),
            "matches_published": paper.matches,
            "matches_published_exact": exact.get("mean_matches"),
        }
        record |= _numbers(exact, "published")
    if run:
        measured = run.numbers["overall"]
        record |= {
            "method": run.named,
            "label": run.label,
            "top_k": run.top_k,
            "features_measured": measured.get("mean_features"),
            "matches_measured": measured.get("mean_matches"),
            "dataset": run.dataset,
            "weights": run.weights,
            LEAK.name: leak_text(run.leaks) or None,
            **{name: measured.get(name) for name in ("seconds_per_image", "peak_memory_mib")},
        }
        record |= _numbers(measured, "measured")
    if paper and run:
        sides = ("measured", "published_exact")
        if run.is_partial:
            sides = ("measured_shared", "published_shared")
            record |= _shared(paper, run)
        against = [(count, *sides) for count in COUNTS]
        against += [(f"mma_{t}px", "measured", "published") for t in table_thresholds()]
        for name, measured_kind, published_kind in against:
            ours, theirs = f"{name}_{measured_kind}", f"{name}_{published_kind}"
            if {ours, theirs} <= record.keys():
                # The published numbers have at most 6 decimals: what lies below is float noise.
                record[f"{name}_difference"] = round(record[ours] - record[theirs], 6)
    return {name: value for name, value in record.items() if value is not None}


def _shared(paper: PaperRow, run: PairsRun) -> dict[str, Any]:
    """The counts on the sequences that a partial run shares with the published results."""
    shared = shared_counts(paper, run)
    record: dict[str, Any] = {"shared_sequences": len(shared.sequences)}
    for kind, means in (("published", shared.published), ("measured", shared.measured)):
        for count in COUNTS if means else ():
            record[f"{count}_{kind}_shared"] = means["overall"][f"mean_{count}"]
    return record


def _scores() -> list[str]:
    """What is measured beyond the paper's table."""
    return [*SCORES, *(f"h_auc_{t}px" for t in auc_thresholds())]


def _numbers(numbers: Numbers, kind: str) -> dict[str, Any]:
    """What is scored, and ends of its intervals, by column."""
    found: dict[str, Any] = {f"matches_{end}": numbers.get("mean_matches", end) for end in ENDS}
    names = [*(f"mma_{t}px" for t in table_thresholds()), *_scores()]
    for name in names:
        metric, threshold = metric_of(name)
        found[f"{name}_{kind}"] = numbers.get(metric, threshold=threshold)
        found |= {f"{name}_{end}": numbers.get(metric, end, threshold) for end in ENDS}
    return {name: value for name, value in found.items() if value is not None}


def _notes(section: str, lines: Sequence[Line]) -> list[str]:
    runs = [line.run for line in lines if line.run]
    notes = []
    if section == "paper":
        source = presentation("hpatches")["curves"]
        notes.append(
            "Published features and matches are as the paper prints them; published MMA is exact, "
            f'from the rows "{source}" of results/published/hpatches_curves.csv.'
        )
        if known := _rounding_notes(lines):
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
    return notes


def _rounding_notes(lines: Iterable[Line]) -> list[str]:
    """Where a printed count is not the exact one's rounding, each said once."""
    found: list[str] = []
    for line in lines:
        record = _record(line)
        for count in ("features", "matches"):
            printed, exact = record[f"{count}_published"], record[f"{count}_published_exact"]
            note = f"{line.name}, {count} {printed}, exact {exact:.1f}"
            if paper_count(exact) != printed and note not in found:
                found.append(note)
    return found
