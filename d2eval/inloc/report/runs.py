"""Measured InLoc runs, as the evaluation left them in ``RUNS/inloc/<label>/``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.report.groups import FLOORS, PROTOCOLS, Group, thresholds
from d2eval.inloc.report.published import Kind
from d2eval.inloc.report.site import SITE, pooled
from d2eval.localization.localized import Localized, load_reasons, localized_of, threshold_of
from d2eval.localization.site import FILE, SiteResult, is_site_only
from d2eval.metrics.poses import Threshold
from d2eval.runs.manifest import entry, load_manifest
from d2eval.runs.measured import (
    MANIFEST,
    SUMMARY,
    Manifest,
    Run,
    RunRoots,
    check_origin,
    named,
    run_folders,
    unfinished_note,
)
from d2eval.runs.rows import REMEDY, number, read_rows, reading

NAME = "inloc"
QUERIES = "queries.csv"
STRATEGIES = ("direct", "sparse", "pooled", "dense", "merge")
_COLUMNS = (
    "row", "protocol", "floor", "position_m", "rotation_deg", "queries", "posed", "localized",
    "percent", "percent_low", "percent_high", "median_position_m", "median_rotation_deg",
    "stored_mb", "dataset", "weights",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The numbers of one run on one floor, or on both.

    Attributes:
        queries: how many there are.
        posed: how many of them got a pose.
        localized: by threshold, the finer ones too; empty without reference poses.
        median_position_m: over poses on the right floor; None without reference poses.
        median_rotation_deg: likewise.
    """

    queries: int
    posed: int
    localized: Mapping[Threshold, Localized]
    median_position_m: float | None
    median_rotation_deg: float | None


@dataclass(frozen=True)
class InlocRun(Run):
    """One localization of all queries.

    Attributes:
        folder: where its files lie.
        protocol: stem of the benchmark file.
        kind: strategy, method and verification, which say whose row it stands beside.
        stored_mb: mean size of what is kept of an image, in 10^6 bytes.
        results: its numbers; a floor without references is absent.
        reasons: floor -> name of a query without a pose -> why, in words.
    """

    folder: Path
    protocol: str
    kind: Kind
    stored_mb: float
    results: Mapping[Group, Result]
    reasons: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Runs:
    """What a folder of runs holds.

    Attributes:
        measured: the runs, by label.
        returned: what the benchmark's site returned, by label.
        notes: for the user, on what was left out.
    """

    measured: Sequence[InlocRun]
    returned: Sequence[SiteResult[Group]]
    notes: Sequence[str] = ()


def load_runs(root: RunRoots) -> Runs:
    """Reads all InLoc runs and site results below ``root``.

    Args:
        root: of runs, or several; see `run_folders`.

    Raises:
        D2EvalError: ``root`` was given and holds no runs' folder, or a run's file is broken.
    """
    places, notes = run_folders(root, NAME)
    measured, returned = [], []
    for place in places:
        found = SITE.read(place.path / FILE)
        returned += [replace(result, label=place.label) for result in found]
        note = unfinished_note(place.path)
        if note is None:
            measured.append(replace(load_run(place.path), label=place.label))
        elif not is_site_only(place.path):
            notes.append(note)
    return Runs(measured, returned, [*notes, *pooled(returned)[1]])


def load_run(folder: Path) -> InlocRun:
    """Reads the run in ``folder``.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, NAME)
    with reading(folder / MANIFEST, REMEDY):
        protocol = entry(manifest.content, "protocol", str)
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}; d2eval knows {', '.join(PROTOCOLS)}")
        kind = _kind(entry(manifest.content, "row", dict))
        kind = replace(kind, method=named(kind.method, manifest.matcher))
    path = folder / SUMMARY
    with reading(path, REMEDY):
        rows = read_rows(path, _COLUMNS)
        if not rows:
            raise ValueError("has no rows")
        results = {}
        for floor, own in groupby(rows, lambda row: row["floor"]):
            group = Group(protocol, floor)
            if floor not in FLOORS or group in results:
                raise ValueError(f"floor {floor!r}: no such numbers, or their rows stand apart")
            results[group] = _result(list(own), group, manifest)
        return InlocRun(
            folder.name,
            manifest.method,
            manifest.matcher,
            manifest.dataset,
            rows[0]["weights"],
            manifest.stand_in,
            folder,
            protocol,
            kind,
            number(rows[0], "stored_mb"),
            results,
            load_reasons(folder, "posed", "floor"),
        )


def _kind(row: Mapping[str, Any]) -> Kind:
    """What the manifest says of the row."""
    strategy = entry(row, "strategy", str)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; d2eval knows {', '.join(STRATEGIES)}")
    features = entry(row, "features", dict)
    own = entry(features, "sparse" if strategy == "merge" else strategy, dict)
    return Kind(strategy, entry(own, "method", str), entry(row, "verification", str))


def _result(rows: Sequence[Mapping[str, str]], group: Group, manifest: Manifest) -> Result:
    for row in rows:
        check_origin({"method": row["row"], "dataset": row["dataset"]}, manifest)
        if row["protocol"] != group.protocol:
            raise ValueError(
                f"is of protocol {row['protocol']!r}, manifest.json of {group.protocol!r}"
            )
    said = [threshold_of(row) for row in rows]
    if said != [*thresholds(group.protocol), *thresholds(group.protocol, True)]:
        raise ValueError(f"the thresholds of {group} are not the benchmark file's")
    first = rows[0]
    queries = int(number(first, "queries"))
    posed = int(number(first, "posed", most=queries))
    return Result(
        queries,
        posed,
        {
            threshold: localized_of(row, posed)
            for threshold, row in zip(said, rows, strict=True)
            if row["localized"]
        },
        number(first, "median_position_m") if first["median_position_m"] else None,
        number(first, "median_rotation_deg") if first["median_rotation_deg"] else None,
    )


def load_errors(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Metres and degrees of the queries with references, by floor, from ``queries.csv``.

    They are infinite without a pose and on a wrong floor.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    path = folder / QUERIES
    columns = ("name", "floor", "scored", "position_m", "rotation_deg")
    errors: dict[str, list[tuple[float, float]]] = {}
    with reading(path, REMEDY):
        for row in read_rows(path, columns):
            if row["scored"] == "1":
                if row["floor"] not in FLOORS:
                    raise ValueError(f"{row['name']} is of floor {row['floor']!r}")
                error = _error(row, "position_m"), _error(row, "rotation_deg")
                errors.setdefault(row["floor"], []).append(error)
    return errors


def _error(row: Mapping[str, str], column: str) -> float:
    return math.inf if row[column] == "inf" else number(row, column)


def choose(runs: Runs, label: str) -> Runs:
    """The one run named ``label``, with what the site returned for it.

    Raises:
        D2EvalError: there is none.
    """
    measured = [run for run in runs.measured if run.label == label]
    returned = [result for result in runs.returned if result.label == label]
    if not measured and not returned:
        known = ", ".join(run.label for run in runs.measured) or "none"
        raise D2EvalError(f"--run {label}: no such run; there are: {known}")
    return Runs(measured, returned, runs.notes)
