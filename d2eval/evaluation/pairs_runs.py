"""Measured runs of benchmarks of image pairs: ``RUNS/<benchmark>/<label>/``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from d2eval.contracts.leaks import leak_text
from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.pairing import PAIRS, Intervals, Pairing, metric_of
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import real
from d2eval.runs.columns import Column
from d2eval.runs.items import RunItems
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import entry, load_manifest
from d2eval.runs.measured import SUMMARY, Run, RunRoots, check_origin, run_folders, unfinished_note
from d2eval.runs.results import MEASURED, Numbers, numbers_of
from d2eval.runs.rows import REMEDY, read_rows, reading

ABOUT = tuple(map(Column, ("method", "split", "pairs", "dataset", "weights")))


@dataclass(frozen=True)
class PairsRun(Run):
    """One evaluation."""

    folder: Path  # where it lies
    manifest: Mapping[str, Any] = field(repr=False)  # the whole of it
    top_k: int | None  # how many of the best-scored features were kept; None for all
    # of its summary, by split; one without pairs is absent, "overall" never is
    rows: Mapping[str, Mapping[str, str]]
    intervals: Intervals  # of its summary's numbers, as far as they are known

    def records(self) -> list[dict[str, Any]]:
        """Its numbers as records of the tidy table.

        Raises:
            D2EvalError: one is no number.
        """
        with reading(self.folder / SUMMARY, REMEDY):
            return [
                {
                    "source": MEASURED, "run": self.label, "method": self.method,
                    "matcher": self.matcher, "dataset": self.dataset, "weights": self.weights,
                    "leak": leak_text(self.leaks), **number,
                }
                for split, row in self.rows.items()
                for number in split_records(split, row, self.intervals.get(split, {}))
            ]  # fmt: skip

    @cached_property
    def numbers(self) -> Mapping[str, Numbers]:
        """Its numbers by split."""
        return {own.subset: own for own in numbers_of(self.records())}


def split_records(
    split: str,
    row: Mapping[str, str],
    intervals: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """The numbers in a row of a summary; a column such as "mma_3px" has its threshold.

    Args:
        split: of the row.
        row: of the summary.
        intervals: by column, as far as they are known.

    Raises:
        ValueError: one is no number.
    """
    about, records = {column.name for column in ABOUT}, []
    for name, text in row.items():
        if name not in about and text:
            metric, threshold = metric_of(name)
            number = {"metric": metric, "threshold": threshold, "value": real(text)}
            if name in intervals:
                number |= dict(zip(("low", "high"), intervals[name], strict=True))
            records.append({"subset": split, **number})
    return records


def load_run(
    folder: Path,
    benchmark: str,
    columns: Sequence[Column] = (),
    label: str | None = None,
    pairing: Pairing | None = None,
) -> PairsRun:
    """Reads the run in ``folder``.

    ``columns`` of ``summary.csv`` must be there, with numbers of their range. Without a label, it
    has its folder's; without a pairing, or without ``pairs.csv``, no intervals.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, benchmark)
    with reading(folder / MANIFEST, REMEDY):
        top_k = entry({"top_k": None, **manifest.content}, "top_k", int, type(None))
    path = folder / SUMMARY
    with reading(path, REMEDY):
        rows = read_rows(path, (*ABOUT, *columns))
        by_split = {row["split"]: row for row in rows}
        if len(by_split) != len(rows):
            raise ValueError("a split stands twice")
        if OVERALL not in by_split:
            raise ValueError("the row of split overall is missing")
        kept = {s: row for s, row in by_split.items() if s == OVERALL or row["pairs"] != "0"}
        for row in rows:
            check_origin(row["method"], row["dataset"], manifest)
        for row in kept.values():
            for column in columns:
                if column.name in row:
                    column.value(row)
    return PairsRun(
        label or folder.name, manifest.method, manifest.matcher, manifest.dataset,
        by_split[OVERALL]["weights"], manifest.stand_in, folder, manifest.content, top_k, kept,
        pairing.read(folder).intervals() if pairing and (folder / PAIRS).is_file() else {},
        leaks=manifest.leaks,
    )  # fmt: skip


def load_items(run: PairsRun, benchmark: str, pairing: Pairing) -> RunItems:
    """What a run measured of each pair.

    Raises:
        D2EvalError: its rows are missing or broken.
    """
    found = pairing.read(run.folder)
    if not found.compared:
        raise D2EvalError(f"{run.folder / PAIRS}: holds no numbers to compare; {REMEDY}")
    return RunItems(
        run=run,
        manifest=run.manifest,
        item="pair",
        cluster=found.cluster,
        clusters=dict(zip(found.items, found.clusters, strict=True)),
        series=found.series(),
        ranked=found.ranking(),
        alike={"dataset": "the sample" if run.is_sample else benchmark},
    )


def load_runs(
    roots: RunRoots, benchmark: str, columns: Iterable[Column] = (), pairing: Pairing | None = None
) -> tuple[list[PairsRun], list[str]]:
    """All finished runs below ``roots`` by label, and notes for the user on what was left out.

    ``columns`` and ``pairing`` are as in `load_run`.

    Raises:
        D2EvalError: a root was given and holds no runs' folder, or a run's file is broken.
    """
    places, notes = run_folders(roots, benchmark)
    runs, needed = [], tuple(columns)
    for place in places:
        if note := unfinished_note(place.path):
            notes.append(note)
        else:
            runs.append(load_run(place.path, benchmark, needed, place.label, pairing))
    return runs, notes
