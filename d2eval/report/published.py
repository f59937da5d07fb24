"""The D2-Net paper's HPatches table and curves, as data in ``results/published``."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from d2eval.errors import D2EvalError
from d2eval.report.rows import (
    MMA_THRESHOLDS_PX,
    Scores,
    mma_column,
    read_rows,
    reading,
    score_columns,
    scores,
    shown_thresholds,
)

REMEDY = "restore the file from the project, or install d2eval again"


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


def load_paper(benchmark: Mapping[str, Any]) -> list[PaperRow]:
    """Reads the paper's rows, in the paper's order.

    The printed counts are from ``hpatches.csv``, the exact numbers from the rows of
    ``hpatches_curves.csv`` whose source the benchmark file names.

    Args:
        benchmark: the content of ``benchmarks/hpatches.toml``.

    Raises:
        D2EvalError: a file is missing or broken, or lacks a row that the benchmark file names.
    """
    table = published_file("hpatches.csv")
    with reading(table, REMEDY):
        printed = {
            row["method"]: row for row in read_rows(table, ["method", "features", "matches"])
        }
        labels = [row["label"] for row in benchmark["rows"] if "label" in row]
        if list(printed) != labels:
            raise ValueError("its rows are not those of benchmarks/hpatches.toml, in their order")
    exact = _load_curves(benchmark)
    paper = []
    for row in benchmark["rows"]:
        label = row.get("label")
        counts = printed[label] if label else {}
        paper.append(
            PaperRow(
                label,
                row["method"],
                row["legend"],
                row["color"],
                row["line"],
                counts.get("features"),
                counts.get("matches"),
                exact[row["curve"]],
            )
        )
    return paper


def published_file(name: str) -> Path:
    """The path of a file of published numbers, in a checkout or an installed wheel.

    Raises:
        D2EvalError: the folder is not there.
    """
    try:
        return Path(str(files("results.published") / name))
    except ModuleNotFoundError as error:
        raise D2EvalError(
            f"results/published/{name}: not found; install d2eval again, and start it where no "
            "other Python package named results hides it"
        ) from error


def _load_curves(benchmark: Mapping[str, Any]) -> dict[str, dict[str, Scores]]:
    path = published_file("hpatches_curves.csv")
    shown = shown_thresholds(benchmark)
    needed = [t for t in shown if t in MMA_THRESHOLDS_PX]
    source = benchmark["plot"]["source"]
    curves: dict[str, dict[str, Scores]] = defaultdict(dict)
    with reading(path, REMEDY):
        for row in read_rows(path, ["source", "method", "split", *score_columns(needed)]):
            if row["source"] == source:
                known = [t for t in shown if mma_column(t) in row]
                curves[row["method"]][row["split"]] = scores(row, known)
        for paper_row in benchmark["rows"]:
            for split, _ in benchmark["plot"]["panels"]:
                if split not in curves[paper_row["curve"]]:
                    raise ValueError(f"{source} lacks {paper_row['curve']}, split {split}")
    return curves
