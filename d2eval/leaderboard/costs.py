"""What the features of an image cost each run, and on which machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2eval.contracts.method import method_class
from d2eval.contracts.registry import METHODS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.runs.manifest import machines_of

# In a report -> how a drawing calls it
KINDS = {
    "seconds": "seconds an image",
    "memory_mib": "peak memory [MiB]",
    "descriptor_mb": "descriptors [MB an image]",
}
ANYWHERE = ("descriptor_mb",)  # the same on every machine
_FLOAT = 4  # bytes
_MEGA = 1e6


def costs_of(
    manifest: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """The `KINDS` of a run, from its manifest; of one of an earlier version, from its numbers.

    Args:
        manifest: the run's.
        records: its own ones of the tidy table, those of all pairs or queries first.
    """
    found: dict[str, float] = {}
    for record in records:
        found.setdefault(record["metric"], record["value"])
    said = manifest.get("image_costs")
    own = said if isinstance(said, dict) else {}
    features = found.get("mean_features", found.get("features"))
    size = _number(own.get("descriptor_bytes"))
    if size is None:
        size = _descriptor_bytes(str(manifest["method"]), features)
    if size is None and "memory" in found:  # InLoc's, with keypoints
        size = found["memory"] * _MEGA
    return {
        "seconds": _number(own.get("seconds") or found.get("seconds_per_image")),
        "memory_mib": _number(
            own.get("peak_memory_mib")
            or found.get("peak_memory_mib", manifest.get("peak_memory_mib"))
        ),
        "descriptor_mb": None if size is None else size / _MEGA,
    }


def machine_of(manifest: Mapping[str, Any]) -> str:
    """Device and machine on which a run's features were made, in words."""
    machines = machines_of(manifest) or ["machine not said"]
    machine = machines[0] if len(machines) == 1 else f"several machines ({'; '.join(machines)})"
    return f"{manifest.get('device') or 'device not said'}, {machine}"


def _descriptor_bytes(method: str, features: float | None) -> float | None:
    """Of so many features of a registered method: what a manifest names else isn't imported."""
    if features is None or method not in registered(METHODS):
        return None
    try:
        dimensions = getattr(method_class(method), "descriptor_dim", None)
    except D2EvalError:  # something that it needs isn't installed
        return None
    return features * dimensions * _FLOAT if dimensions else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None
