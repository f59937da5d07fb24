"""Measured runs, as the evaluation left them in ``RUNS/hpatches/<label>/``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.errors import D2EvalError
from d2eval.report.rows import Scores, number, read_rows, reading, score_columns, scores

DEFAULT_RUNS = Path("results/runs")
SAMPLE = "sample"
COSTS = ("seconds_per_image", "peak_memory_mb")
_REMEDY = "run the evaluation again or move the folder away"


@dataclass(frozen=True)
class MeasuredRun:
    """One evaluation of one method.

    Attributes:
        label: the name of its folder; no two runs share one.
        method: the method's registered name.
        top_k: how many of the best-scored features were kept; None for all.
        dataset: "complete", "partial (S of 108 sequences)" or "sample".
        weights: what the weights were, in words, or "none".
        stand_in: whether the weights stand in for the official ones.
        scores: split -> numbers; a split without pairs is absent, "overall" never is.
        cost: seconds and peak memory of the extraction by column of `COSTS`, where known.
    """

    label: str
    method: str
    top_k: int | None
    dataset: str
    weights: str
    stand_in: bool
    scores: Mapping[str, Scores]
    cost: Mapping[str, float]

    @property
    def is_sample(self) -> bool:
        """Whether it ran on the embedded sample, which no published number describes."""
        return self.dataset == SAMPLE

    @property
    def is_partial(self) -> bool:
        """Whether sequences of the benchmark were missing."""
        return self.dataset.startswith("partial")


def load_runs(
    root: Path | None, thresholds_px: Sequence[int]
) -> tuple[list[MeasuredRun], list[str]]:
    """Reads all measured HPatches runs below ``root``, by label.

    Args:
        root: the folder of runs; None means ``results/runs``, which need not exist.
        thresholds_px: thresholds of the benchmark.

    Returns:
        The runs, and notes for the user on what was left out.

    Raises:
        D2EvalError: ``root`` was given and holds no runs' folder, or a run's file is broken.
    """
    folder = (root or DEFAULT_RUNS) / "hpatches"
    if not folder.is_dir():
        if root is not None:
            raise D2EvalError(
                f"{folder}: no such folder; give --runs the folder that holds hpatches/<label>/"
            )
        return [], [f"{folder}: no measured runs yet"]
    runs, notes = [], []
    with reading(folder, "make it and its folders readable"):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            missing = [n for n in ("summary.csv", "manifest.json") if not (path / n).is_file()]
            if missing:
                notes.append(
                    f"{path}: skipped, {' and '.join(missing)} missing: the run is unfinished"
                )
            else:
                runs.append(load_run(path, thresholds_px))
    return runs, notes


def load_run(folder: Path, thresholds_px: Sequence[int]) -> MeasuredRun:
    """Reads the run in ``folder``.

    Raises:
        D2EvalError: a file of it is broken.
    """
    path = folder / "manifest.json"
    with reading(path, _REMEDY):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or manifest.get("benchmark") != "hpatches":
            raise ValueError("not the manifest of an hpatches run")
        method, label = _entry(manifest, "method", str), _entry(manifest, "label", str)
        top_k = _entry(manifest, "top_k", int, type(None))
        completeness = _entry(_entry(manifest, "dataset", dict), "completeness", str)
        weights = _entry(manifest, "weights", dict, type(None))
        stand_in = weights is not None and _entry(weights, "stand_in", bool)
    path = folder / "summary.csv"
    with reading(path, _REMEDY):
        columns = ["method", "split", "pairs", *score_columns(thresholds_px), "dataset", "weights"]
        rows = read_rows(path, columns)
        by_split = {row["split"]: row for row in rows}
        if len(by_split) != len(rows):
            raise ValueError("a split stands twice")
        if "overall" not in by_split:
            raise ValueError("the row of split overall is missing")
        overall = by_split["overall"]
        # Both files belong to one run, or a partial run could be shown as a complete one.
        if overall["method"] not in (method, label) or overall["dataset"] != completeness:
            raise ValueError(
                f"is of {overall['method']!r} on {overall['dataset']!r}, but manifest.json says "
                f"{label!r} on {completeness!r}"
            )
        if completeness not in ("complete", SAMPLE) and not completeness.startswith("partial"):
            raise ValueError(f"dataset is {completeness!r}, not complete, partial or sample")
        cost = {name: number(overall, name) for name in COSTS if overall.get(name)}
        measured = {
            split: scores(row, thresholds_px)
            for split, row in by_split.items()
            if split == "overall" or row["pairs"] != "0"
        }
    return MeasuredRun(
        folder.name, method, top_k, completeness, overall["weights"], stand_in, measured, cost
    )


def _entry(record: Mapping[str, Any], key: str, *kinds: type) -> Any:
    if key not in record:
        raise ValueError(f"lacks {key}")
    if not isinstance(record[key], kinds):
        raise ValueError(f"{key} is {record[key]!r}, of another type than d2eval writes")
    return record[key]
