"""The paper's HPatches numbers, as data in ``results/published``."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.runs.columns import Column
from d2eval.runs.published import REMEDY, presentation, published_file
from d2eval.runs.rows import Scores, mma_column, read_rows, reading, score_columns, scores


@dataclass(frozen=True)
class PaperRow:
    """A method of the paper.

    Attributes:
        label: its name in the paper's table; None for one that only the figure has.
        method: the name under which d2eval measures it.
        legend: its name in the paper's figure.
        color: matplotlib's name of the paper's colour.
        line: matplotlib's line style.
        features: printed mean number of features, such as "6.7K", verbatim; None as ``label``.
        matches: printed mean number of matches, likewise.
        scores: split (overall, i, v) -> the exact published numbers.
    """

    label: str | None
    method: str
    legend: str
    color: str
    line: str
    features: str | None
    matches: str | None
    scores: Mapping[str, Scores]

    @property
    def name(self) -> str:
        """What tables and figures call it; the figure's spelling only if the table has none."""
        return self.label or self.legend


def table_thresholds() -> list[int]:
    """The thresholds of the HPatches table, in px."""
    return list(presentation("hpatches")["table"]["thresholds_px"])


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
    ``hpatches_curves.csv`` that ``hpatches.toml`` names.

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
    exact = _load_curves()
    paper = []
    for row in named:
        label = row.get("label")
        counts = printed[label] if label else {}
        look = (row["legend"], row["color"], row["line"])
        said = (counts.get("features"), counts.get("matches"))
        paper.append(PaperRow(label, row["method"], *look, *said, exact[row["curve"]]))
    return paper


def _load_curves() -> dict[str, dict[str, Scores]]:
    path = published_file("hpatches_curves.csv")
    shown, wanted = shown_thresholds(), presentation("hpatches")
    needed = [t for t in shown if t in table_thresholds()]
    source = wanted["curves"]
    curves: dict[str, dict[str, Scores]] = defaultdict(dict)
    with reading(path, REMEDY):
        for row in read_rows(
            path, [*map(Column, ("source", "method", "split")), *score_columns(needed)]
        ):
            if row["source"] == source:
                known = [t for t in shown if mma_column(t) in row]
                curves[row["method"]][row["split"]] = scores(row, known)
        for paper_row in wanted["rows"]:
            for split, _ in wanted["figure"]["panels"]:
                if split not in curves[paper_row["curve"]]:
                    raise ValueError(f"{source} lacks {paper_row['curve']}, split {split}")
    return curves
