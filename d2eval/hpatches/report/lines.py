"""Lines of the HPatches table: which run stands beside which row of the paper, and its values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.contracts.leaks import leak_text
from d2eval.evaluation.pairing import metric_of
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.hpatches.report.published import PaperRow, auc_thresholds, table_thresholds
from d2eval.hpatches.report.shared import shared_counts
from d2eval.report.names import method_name
from d2eval.report.tables import LEAK
from d2eval.runs.published import presentation
from d2eval.runs.results import Numbers

COUNTS = ("features", "matches")
ENDS = ("low", "high")  # of an interval
SCORES = ("matching_score", "repeatability")


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    section: str  # of the table, as in ``results/published/hpatches.toml``
    name: str  # the paper's name of the method, or the registered one if the paper has none
    paper: PaperRow | None  # the published numbers it stands beside; only in the paper's section
    run: PairsRun | None  # the measured numbers, if there are any


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


def record_of(line: Line) -> dict[str, Any]:
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


def score_names() -> list[str]:
    """What is measured beyond the paper's table."""
    return [*SCORES, *(f"h_auc_{t}px" for t in auc_thresholds())]


def _numbers(numbers: Numbers, kind: str) -> dict[str, Any]:
    """What is scored, and ends of its intervals, by column."""
    found: dict[str, Any] = {f"matches_{end}": numbers.get("mean_matches", end) for end in ENDS}
    names = [*(f"mma_{t}px" for t in table_thresholds()), *score_names()]
    for name in names:
        metric, threshold = metric_of(name)
        found[f"{name}_{kind}"] = numbers.get(metric, threshold=threshold)
        found |= {f"{name}_{end}": numbers.get(metric, end, threshold) for end in ENDS}
    return {name: value for name, value in found.items() if value is not None}
