"""The paper's HPatches numbers, as data in ``results/published``."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from d2eval.contracts.protocol import load_protocol
from d2eval.evaluation import pairs_runs
from d2eval.evaluation.pairs_runs import PairsRun, split_records
from d2eval.hpatches.protocol import load_benchmark
from d2eval.hpatches.report.pairing import pairing
from d2eval.runs.columns import REAL, WHOLE, Column
from d2eval.runs.measured import RunRoots
from d2eval.runs.published import REMEDY, presentation, published_file
from d2eval.runs.results import PUBLISHED, Numbers, numbers_of
from d2eval.runs.rows import read_rows, reading

Counts = Mapping[str, tuple[int, int]]  # sequence -> features of its images, matches of its pairs
_COUNTS = tuple(Column(name, kind=WHOLE) for name in ("features", "matches"))


@dataclass(frozen=True)
class PaperRow:
    """A method of the paper."""

    label: str | None  # its name in the paper's table; None for one that only the figure has
    method: str  # the name under which d2eval measures it
    legend: str  # its name in the paper's figure
    color: str  # matplotlib's name of the paper's colour
    line: str  # matplotlib's line style
    # printed mean number of features, such as "6.7K", verbatim; None as ``label``
    features: str | None
    matches: str | None  # printed mean number of matches, likewise
    # split (overall, i, v) -> the exact published numbers, as a summary's row has them
    rows: Mapping[str, Mapping[str, str]]
    counts: Counts  # of every sequence

    @cached_property
    def numbers(self) -> Mapping[str, Numbers]:
        """The exact numbers by split."""
        return {own.subset: own for own in numbers_of(self.records())}

    def records(self) -> list[dict[str, Any]]:
        """The exact numbers as records of the tidy table."""
        shared = {"source": PUBLISHED, "row": self.name, "method": self.method}
        return [
            {**shared, **number}
            for split, row in self.rows.items()
            for number in split_records(split, row)
        ]

    @property
    def name(self) -> str:
        """What tables and figures call it; the figure's spelling only if the table has none."""
        return self.label or self.legend


def table_thresholds() -> list[int]:
    """The thresholds of the HPatches table, in px."""
    return list(presentation("hpatches")["table"]["thresholds_px"])


def auc_thresholds() -> list[int]:
    """The thresholds of the AUC of homographies, in px."""
    return list(load_protocol("hpatches").content["homography"]["corner_error_px"])


def shown_thresholds() -> list[int]:
    """The thresholds of the HPatches table and figure, as far as they are measured.

    Others, which a user may add to the benchmark's file, are in a run's rows alone: neither
    published numbers nor runs made before need to have them.
    """
    shown = {*table_thresholds(), *presentation("hpatches")["figure"]["thresholds_px"]}
    return sorted(shown & set(load_protocol("hpatches").content["thresholds_px"]))


def load_paper() -> list[PaperRow]:
    """Reads the paper's rows, in the paper's order.

    The printed counts are from ``hpatches.csv``, the exact numbers from those rows of
    ``hpatches_curves.csv`` that ``hpatches.toml`` names, those of each sequence from
    ``hpatches_counts.csv``.

    Raises:
        D2EvalError: a file is missing or broken, or lacks a row that ``hpatches.toml`` names.
    """
    named = presentation("hpatches")["rows"]
    table = published_file("hpatches.csv")
    with reading(table, REMEDY):
        printed = {
            row["method"]: row
            for row in read_rows(table, map(Column, ("method", "features", "matches")))
        }
        labels = [row["label"] for row in named if "label" in row]
        if list(printed) != labels:
            raise ValueError("its rows are not those of hpatches.toml, in their order")
    exact, of_sequences = _load_curves(), _load_counts()
    paper = []
    for row in named:
        label = row.get("label")
        counts = printed[label] if label else {}
        look = (row["legend"], row["color"], row["line"])
        said = (counts.get("features"), counts.get("matches"))
        curve = row["curve"]
        paper.append(
            PaperRow(label, row["method"], *look, *said, exact[curve], of_sequences[curve])
        )
    return paper


def load_runs(roots: RunRoots) -> tuple[list[PairsRun], list[str]]:
    """All finished runs, with the numbers that are shown; see `pairs_runs.load_runs`."""
    columns = score_columns(shown_thresholds())
    return pairs_runs.load_runs(roots, "hpatches", columns, pairing(load_benchmark()))


def score_columns(thresholds_px: Iterable[int]) -> list[Column]:
    """The columns of a summary that the table and the figure show."""
    counts = [Column(name, kind=REAL) for name in ("mean_features", "mean_matches")]
    costs = [
        Column(name, kind=REAL, empty=True, optional=True)
        for name in ("seconds_per_image", "peak_memory_mib")
    ]
    mma = [Column(f"mma_{t}px", kind=REAL, most=1.0) for t in thresholds_px]
    further = ["matching_score", "repeatability", *(f"h_auc_{t}px" for t in auc_thresholds())]
    scores = [Column(name, kind=REAL, most=1.0, empty=True, optional=True) for name in further]
    return [*counts, *mma, *scores, *costs]


def _load_curves() -> dict[str, dict[str, dict[str, str]]]:
    path = published_file("hpatches_curves.csv")
    shown, in_table = shown_thresholds(), table_thresholds()
    wanted, columns = presentation("hpatches"), score_columns(shown)
    needed = score_columns(t for t in shown if t in in_table)
    source = wanted["curves"]
    curves: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    with reading(path, REMEDY):
        for row in read_rows(path, [*map(Column, ("source", "method", "split")), *needed]):
            if row["source"] == source:
                known = [c for c in columns if c.name in row]
                for column in known:
                    column.value(row)
                curves[row["method"]][row["split"]] = {c.name: row[c.name] for c in known}
        for paper_row in wanted["rows"]:
            for split, _ in wanted["figure"]["panels"]:
                if split not in curves[paper_row["curve"]]:
                    raise ValueError(f"{source} lacks {paper_row['curve']}, split {split}")
    return curves


def _load_counts() -> dict[str, Counts]:
    path = published_file("hpatches_counts.csv")
    counts: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    with reading(path, REMEDY):
        for row in read_rows(path, (*map(Column, ("method", "sequence")), *_COUNTS)):
            features, matches = (int(column.value(row)) for column in _COUNTS)
            counts[row["method"]][row["sequence"]] = features, matches
        for row in presentation("hpatches")["rows"]:
            if row["curve"] not in counts:
                raise ValueError(f"lacks {row['curve']}")
    return dict(counts)
