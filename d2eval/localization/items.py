"""What a run measured of each query, for comparisons."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2eval.localization.description import Report
from d2eval.localization.groups import Group
from d2eval.localization.runs import load_run
from d2eval.metrics.poses import Threshold
from d2eval.runs.items import Key, Measure, RunItems, Series

_POSITION = Measure("position_m", title="Position error [m]", lower=True)


def load_items(report: Report[Any], folder: Path, label: str) -> RunItems:
    """Whether each query of the run in ``folder`` is localized, at each threshold.

    Raises:
        D2EvalError: a file of it is missing or broken.
    """
    run, records = load_run(report, folder, label)
    by_part = run.errors
    errors = {name: error for part in by_part.values() for name, error in part.items()}
    series: list[Series] = []
    for subset in dict.fromkeys(record["subset"] for record in records):
        group = report.group(run.protocol, *subset.split(" "))
        own = {n: e for part in group.query_parts(True) for n, e in by_part.get(part, {}).items()}
        series += _series(group, own, report.rule.strict)
    return RunItems(
        run=run,
        manifest=run.manifest,
        item="query",
        cluster="query",
        clusters={(name,): name for name in errors},
        series=series,
        ranked=Series("", _POSITION, {(name,): metres for name, (metres, _) in errors.items()}),
        alike={"protocol": run.protocol, "dataset": "the sample" if run.is_sample else report.name},
        reasons={(n,): why for part in run.queries.reasons.values() for n, why in part.items()},
    )


def _series(
    group: Group, errors: Mapping[str, tuple[float, float]], strict: bool
) -> Iterator[Series]:
    """1 for each localized query, 0 for another."""
    for threshold in group.measured:
        measure = Measure(
            "localized", threshold.position_m, threshold.rotation_deg,
            f"{threshold.position_m:g} m, {threshold.rotation_deg:g}\N{DEGREE SIGN}",
            scale=100.0, hits=True,
        )  # fmt: skip
        hits: dict[Key, float] = {
            (n,): float(_is_within(*e, threshold, strict)) for n, e in errors.items()
        }
        yield Series(group.subset, measure, hits)


def _is_within(position_m: float, rotation_deg: float, limit: Threshold, strict: bool) -> bool:
    if rotation_deg > limit.rotation_deg:
        return False
    return position_m < limit.position_m if strict else position_m <= limit.position_m
