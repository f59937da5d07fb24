"""Measured HPatches runs, as the evaluation left them in ``RUNS/hpatches/<label>/``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from d2eval.runs.columns import Column, number
from d2eval.runs.manifest import entry, load_manifest
from d2eval.runs.measured import SUMMARY, Run, RunRoots, check_origin, run_folders, unfinished_note
from d2eval.runs.rows import REMEDY, Scores, read_rows, reading, score_columns, scores

COSTS = ("seconds_per_image", "peak_memory_mb")


@dataclass(frozen=True)
class MeasuredRun(Run):
    """One evaluation of one method.

    Attributes:
        top_k: how many of the best-scored features were kept; None for all.
        scores: split -> numbers; a split without pairs is absent, "overall" never is.
        cost: seconds and peak memory of the extraction by column of `COSTS`, where known.
    """

    top_k: int | None
    scores: Mapping[str, Scores]
    cost: Mapping[str, float]


def load_runs(root: RunRoots, thresholds_px: Sequence[int]) -> tuple[list[MeasuredRun], list[str]]:
    """Reads all measured HPatches runs below ``root``, by label.

    Args:
        root: of runs, or several; see `run_folders`.
        thresholds_px: thresholds of the benchmark.

    Returns:
        The runs, and notes for the user on what was left out.

    Raises:
        D2EvalError: ``root`` was given and holds no runs' folder, or a run's file is broken.
    """
    places, notes = run_folders(root, "hpatches")
    runs = []
    for place in places:
        if note := unfinished_note(place.path):
            notes.append(note)
        else:
            runs.append(replace(load_run(place.path, thresholds_px), label=place.label))
    return runs, notes


def load_run(folder: Path, thresholds_px: Sequence[int]) -> MeasuredRun:
    """Reads the run in ``folder``.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, "hpatches")
    with reading(folder / "manifest.json", REMEDY):
        top_k = entry(manifest.content, "top_k", int, type(None))
    path = folder / SUMMARY
    with reading(path, REMEDY):
        named = ("method", "split", "pairs", "dataset", "weights")
        columns = [*map(Column, named), *score_columns(thresholds_px)]
        rows = read_rows(path, columns)
        by_split = {row["split"]: row for row in rows}
        if len(by_split) != len(rows):
            raise ValueError("a split stands twice")
        if "overall" not in by_split:
            raise ValueError("the row of split overall is missing")
        overall = by_split["overall"]
        check_origin(overall["method"], overall["dataset"], manifest)
        return MeasuredRun(
            folder.name,
            manifest.method,
            manifest.matcher,
            manifest.dataset,
            overall["weights"],
            manifest.stand_in,
            top_k,
            {
                split: scores(row, thresholds_px)
                for split, row in by_split.items()
                if split == "overall" or row["pairs"] != "0"
            },
            {name: number(overall, name) for name in COSTS if overall.get(name)},
        )
