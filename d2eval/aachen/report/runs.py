"""Measured Aachen runs, as the evaluation left them in ``RUNS/aachen/<label>/``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from d2eval.aachen.report.groups import (
    BENCHMARK,
    HOLDOUT,
    PROTOCOLS,
    SAMPLE,
    SPLITS,
    Group,
    Section,
    epochs,
    thresholds,
)
from d2eval.aachen.report.site import SITE
from d2eval.foundation.errors import D2EvalError
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
    run_folders,
    unfinished_note,
)
from d2eval.runs.rows import REMEDY, number, read_rows, reading

NAME = "aachen"
_COLUMNS = (
    "method", "protocol", "epoch", "split", "position_m", "rotation_deg", "queries", "registered",
    "localized", "percent", "percent_low", "percent_high", "median_position_m",
    "median_rotation_deg", "mean_features", "dataset", "weights",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The numbers of one run in one group.

    Attributes:
        queries: how many there are.
        registered: how many of them got a pose.
        features: mean number of features of an image.
        localized: by threshold; empty without reference poses.
        median_position_m: over the registered queries; None without reference poses.
        median_rotation_deg: likewise.
    """

    queries: int
    registered: int
    features: float
    localized: Mapping[Threshold, Localized]
    median_position_m: float | None
    median_rotation_deg: float | None


@dataclass(frozen=True)
class AachenRun(Run):
    """One localization of all queries with one method.

    Attributes:
        folder: where its files lie.
        protocol: stem of the benchmark file.
        holdout: how many database images were held out as queries; None for none.
        results: its numbers; a group without queries is absent.
        reasons: split -> name of a query without a pose -> why, in words.
    """

    folder: Path
    protocol: str
    holdout: int | None
    results: Mapping[Group, Result]
    reasons: Mapping[str, Mapping[str, str]]

    def section(self, group: Group) -> Section:
        """Where its numbers of ``group`` stand."""
        if self.is_sample:
            return Section(SAMPLE, group)
        # Night queries of a run with held-out images saw a smaller database than everyone else's.
        held_out = self.holdout is not None or group.split == "holdout"
        return Section(HOLDOUT if held_out else BENCHMARK, group)


@dataclass(frozen=True)
class Runs:
    """What a folder of runs holds.

    Attributes:
        measured: the runs, by label.
        returned: what the benchmark's site returned, by label.
        notes: for the user, on what was left out.
    """

    measured: Sequence[AachenRun]
    returned: Sequence[SiteResult[Group]]
    notes: Sequence[str] = ()


def load_runs(root: RunRoots) -> Runs:
    """Reads all Aachen runs and site results below ``root``.

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
    return Runs(measured, returned, notes)


def load_run(folder: Path) -> AachenRun:
    """Reads the run in ``folder``.

    Raises:
        D2EvalError: a file of it is broken.
    """
    manifest = load_manifest(folder, NAME)
    with reading(folder / MANIFEST, REMEDY):
        protocol = entry(manifest.content, "protocol", str)
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}; d2eval knows {', '.join(PROTOCOLS)}")
        holdout = entry(manifest.content, "holdout", int, type(None))
    path = folder / SUMMARY
    with reading(path, REMEDY):
        rows = read_rows(path, _COLUMNS)
        if not rows:
            raise ValueError("holds no row")
        weights = rows[0]["weights"]
        results = {
            group: _result(own, group)
            for group, own in _groups(rows, manifest, protocol)
            if own[0]["queries"] != "0"
        }
    return AachenRun(
        folder.name,
        manifest.method,
        manifest.matcher,
        manifest.dataset,
        weights,
        manifest.stand_in,
        folder,
        protocol,
        holdout,
        results,
        load_reasons(folder, "registered", "split"),
    )


def _groups(
    rows: Iterable[Mapping[str, str]], manifest: Manifest, protocol: str
) -> list[tuple[Group, list[Mapping[str, str]]]]:
    known = epochs(protocol)
    for row in rows:
        check_origin(row, manifest)
        if row["protocol"] != protocol:
            raise ValueError(f"is of protocol {row['protocol']!r}, manifest.json of {protocol!r}")
        if row["epoch"] not in known or row["split"] not in SPLITS:
            raise ValueError(f"epoch {row['epoch']!r}, split {row['split']!r}: no such numbers")
    groups = [
        (group, list(own))
        for group, own in groupby(rows, lambda row: Group(protocol, row["epoch"], row["split"]))
    ]
    if len({group for group, _ in groups}) != len(groups):
        raise ValueError("the rows of an epoch and split don't stand together")
    return groups


def _result(rows: Sequence[Mapping[str, str]], group: Group) -> Result:
    said = [threshold_of(row) for row in rows]
    if said != list(thresholds(group.protocol, group.epoch)):
        raise ValueError(f"the thresholds of {group} are not the benchmark file's")
    first = rows[0]
    queries = int(number(first, "queries"))
    registered = int(number(first, "registered", most=queries))
    return Result(
        queries,
        registered,
        number(first, "mean_features"),
        {
            threshold: localized_of(row, registered)
            for threshold, row in zip(said, rows, strict=True)
            if row["localized"]
        },
        number(first, "median_position_m") if first["median_position_m"] else None,
        number(first, "median_rotation_deg") if first["median_rotation_deg"] else None,
    )


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
