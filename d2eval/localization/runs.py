"""Measured runs and site results, as they lie in ``RUNS/<benchmark>/<label>/``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import is_there
from d2eval.localization.columns import THRESHOLD, chosen
from d2eval.localization.description import Report
from d2eval.localization.groups import QUERIES, Group, LocalizedRun, Queries
from d2eval.localization.published import published_records
from d2eval.localization.site import FILE, SiteResult, is_site_only, localized
from d2eval.metrics.poses import Threshold
from d2eval.runs.columns import names
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import Manifest, entry, load_manifest
from d2eval.runs.measured import SUMMARY, RunRoots, check_origin, run_folders, unfinished_note
from d2eval.runs.results import MEASURED, results_frame
from d2eval.runs.rows import REMEDY, frame_of, read_rows, reading

if TYPE_CHECKING:
    import pandas as pd

Records = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Runs:
    """What a folder of runs holds."""

    measured: Sequence[LocalizedRun]  # the runs, by label
    numbers: "pd.DataFrame"  # published, measured and returned ones, as the tidy table
    notes: Sequence[str] = ()  # for the user, on what was left out


def load_runs(report: Report[Any], roots: RunRoots) -> Runs:
    """Reads all runs and site results below ``roots``.

    Raises:
        D2EvalError: a folder was given and holds no runs' folder, or a run's file is broken.
    """
    places, notes = run_folders(roots, report.name)
    measured: list[tuple[LocalizedRun, Records]] = []
    returned: list[SiteResult[Any]] = []
    for place in places:
        found = report.site.read(place.path / FILE)
        returned += [replace(result, label=place.label) for result in found]
        note = unfinished_note(place.path)
        if note is None:
            measured.append(load_run(report, place.path, place.label))
        elif not is_site_only(place.path):
            notes.append(note)
    return _runs(report, measured, returned, notes)


def load_folder(report: Report[Any], folder: Path) -> Runs:
    """The one run in ``folder``, with what the site returned for it.

    Raises:
        D2EvalError: a file of it is broken.
    """
    returned = report.site.read(folder / FILE)
    return _runs(report, [load_run(report, folder, folder.name)], returned, [])


def no_runs(report: Report[Any]) -> Runs:
    """The published numbers alone.

    Raises:
        D2EvalError: a file is missing or broken.
    """
    return _runs(report, [], [], [])


def _runs(
    report: Report[Any],
    measured: Sequence[tuple[LocalizedRun, Records]],
    returned: Sequence[SiteResult[Any]],
    notes: Sequence[str],
) -> Runs:
    further, more = report.further(returned)
    records = [
        record for own in report.published for record in published_records(own, report.cost.metric)
    ]
    records += [record for _, own in measured for record in own]
    records += [record for result in (*returned, *further) for record in result.records()]
    numbers = results_frame(report.name, records)
    return Runs([run for run, _ in measured], numbers, [*notes, *more])


def load_run(report: Report[Any], folder: Path, label: str) -> tuple[LocalizedRun, Records]:
    """The run in ``folder``, and its numbers as records of the tidy table.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, report.name)
    with reading(folder / MANIFEST, REMEDY):
        protocol = entry(manifest.content, "protocol", str)
        if protocol not in report.protocols:
            known = ", ".join(report.protocols)
            raise ValueError(f"protocol is {protocol!r}; d2eval knows {known}")
        kind = report.kind_of(manifest)
        holdout = manifest.content.get("holdout")
    path = folder / SUMMARY
    with reading(path, REMEDY):
        rows = read_rows(path, report.summary)
        if not rows:
            raise ValueError("holds no row")
        run = LocalizedRun(
            label, manifest.method, manifest.matcher, manifest.dataset, rows[0]["weights"],
            manifest.stand_in, folder, manifest.content, protocol, kind, holdout,
            load_queries(report, folder),
            leaks=manifest.leaks,
        )  # fmt: skip
        records = [
            record
            for group, own in _groups(report, rows, manifest, protocol)
            if own[0]["queries"] != "0"
            for record in _records(report, run, group, frame_of(own, report.summary))
        ]
    return run, records


def _groups(
    report: Report[Any], rows: Sequence[Mapping[str, str]], manifest: Manifest, protocol: str
) -> list[tuple[Any, list[Mapping[str, str]]]]:
    parts = report.group.parts()
    for row in rows:
        check_origin(row[report.summary[0].name], row["dataset"], manifest)
        if row["protocol"] != protocol:
            raise ValueError(f"is of protocol {row['protocol']!r}, manifest.json of {protocol!r}")
        if not report.group(protocol, *(row[part] for part in parts)).is_known:
            said = ", ".join(f"{part} {row[part]!r}" for part in parts)
            raise ValueError(f"{said}: no such numbers")
    groups = [
        (report.group(protocol, *key), list(own))
        for key, own in groupby(rows, lambda row: tuple(row[part] for part in parts))
    ]
    if len({group for group, _ in groups}) != len(groups):
        raise ValueError(f"the rows of one {' and '.join(parts)} don't stand together")
    return groups


def _records(report: Report[Any], run: LocalizedRun, group: Group, rows: "pd.DataFrame") -> Records:
    """The numbers of a group, from its rows of ``summary.csv``."""
    thresholds = [
        Threshold(*own) for own in zip(rows["position_m"], rows["rotation_deg"], strict=True)
    ]
    if thresholds != list(group.measured):
        raise ValueError(f"the thresholds of {group} are not the benchmark file's")
    shared = {
        "source": MEASURED, "run": run.label, **vars(run.kind), "protocol": group.protocol,
        "subset": group.subset, "dataset": run.dataset, "weights": run.weights,
    }  # fmt: skip
    listed = rows.to_dict("records")
    queries, first = int(listed[0]["queries"]), listed[0]
    records: Records = [
        {
            **shared,
            **localized(
                threshold, row["percent"], count=int(row["localized"]), of=queries,
                low=row["percent_low"], high=row["percent_high"],
            ),
        }
        for threshold, row in zip(thresholds, listed, strict=True)
        if row["localized"] == row["localized"]  # it is none without reference poses
    ]  # fmt: skip
    posed = int(first[report.posed])
    records.append({**shared, "metric": "posed", "value": posed, "count": posed, "of": queries})
    facts = {
        "median_position": "median_position_m", "median_rotation": "median_rotation_deg",
        report.cost.metric: report.cost.measured,
    }  # fmt: skip
    units = {column.name: column.unit for column in report.summary}
    return records + [
        {**shared, "metric": metric, "value": first[name], "unit": units[name]}
        for metric, name in facts.items()
    ]


def load_queries(report: Report[Any], folder: Path) -> Queries:
    """What the run in ``folder`` says of each query; one of an earlier version may say less.

    Raises:
        D2EvalError: ``queries.csv`` is broken.
    """
    path, part = folder / QUERIES, report.group.parts()[-1]
    if not is_there(path):
        return Queries({}, {}, "is missing")
    where = chosen(report.queries, *names(THRESHOLD))
    errors: dict[str, dict[str, tuple[float, float]]] = {}
    reasons: dict[str, dict[str, str]] = {}
    with reading(path, REMEDY):
        rows = read_rows(path, chosen(report.queries, "name", part, report.posed))
        absent = [n for n in ("ref_qw", *names(where)) if rows and n not in rows[0]]
        for row in rows:
            if row[report.posed] == "0" and row.get("reason"):
                reasons.setdefault(row[part], {})[row["name"]] = row["reason"]
            if not absent and row["ref_qw"]:
                own = errors.setdefault(row[part], {})
                if row[part] not in report.query_parts:
                    raise ValueError(f"{row['name']} is of {part} {row[part]!r}")
                error = [math.inf, math.inf]
                if row[report.posed] == "1":
                    error = [float(column.value(row)) for column in where]
                if row["name"] in own:
                    raise ValueError(f"{row['name']} stands twice")
                own[row["name"]] = (error[0], error[1])
    return Queries(errors, reasons, f"the header lacks {', '.join(absent)}" if absent else "")


def choose(runs: Runs, label: str) -> Runs:
    """The one run named ``label``, with what the site returned for it.

    Raises:
        D2EvalError: there is none.
    """
    measured = [run for run in runs.measured if run.label == label]
    numbers = runs.numbers[runs.numbers["run"].isin(["", label])]
    if not measured and not (numbers["run"] == label).any():
        known = ", ".join(run.label for run in runs.measured) or "none"
        raise D2EvalError(f"--run {label}: no such run; there are: {known}")
    return replace(runs, measured=measured, numbers=numbers)
