"""The manifest of a run: everything that decides its numbers, beside them."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError, MissingFileError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.machine.resources import Cost, git_commit, machine, versions
from d2eval.foundation.text.display import markdown_text
from d2eval.foundation.version import program_version
from d2eval.runs.rows import REMEDY, reading

FILE = "manifest.json"
_LARGEST_COST = 1e18  # of whatever a cost is in; of digits without end no float is made
SCHEMA = 1  # raise it when an entry comes to mean something else; manifests without it are older

# Entries in which runs of the same work may differ, and the seed
VARYING = {
    "label", "root", "extracted_now", "wall_seconds", "peak_memory_mib", "peak_memory_mb", "d2eval",
    "git_commit", "versions", "device", "machine", "image_costs", "command", "finished", "seed",
    "protocol_file",
}  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """The entries of ``manifest.json`` that each benchmark's has."""

    method: str  # the method's registered name
    # one that isn't the protocol's, by name, or "". Manifests of earlier versions, which knew one
    # matcher, name none
    matcher: str
    label: str  # how its rows call the run
    dataset: str  # the dataset's completeness
    # whether the weights stand in for the official ones; of several, whether one does
    stand_in: bool
    # what of the benchmark's data weights were trained on, see `d2eval.contracts.leaks`
    leaks: tuple[str, ...]
    content: Mapping[str, Any]  # the whole of it


def environment(device: str) -> dict[str, Any]:
    """Versions, device, code and command of this process."""
    return {
        "d2eval": program_version(),
        "git_commit": git_commit(Path(__file__).parent),
        "versions": versions(),
        "device": device,
        "machine": machine(device),
        "command": ["d2eval", *sys.argv[1:]],
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def circumstances(device: str, seconds: float, peaks: Iterable[float]) -> dict[str, Any]:
    """What a run took, by the peaks of memory (MiB) that are known, and its `environment`."""
    peak = max(peak for peak in peaks if not math.isnan(peak))
    taken = {"wall_seconds": round(seconds, 3), "peak_memory_mib": round(peak, 1)}
    return {**taken, **environment(device)}


def image_costs(costs: Iterable[Cost], descriptor_bytes: Iterable[int]) -> dict[str, Any]:
    """What the features of an image cost, of those of which it is known; None of none.

    ``costs`` are of each image, NaN where they aren't known.
    """
    costs = list(costs)
    seconds, peaks = ([getattr(own, n) for own in costs] for n in ("seconds", "peak_memory_mib"))
    times, most = ([v for v in values if not math.isnan(v)] for values in (seconds, peaks))
    sizes = list(descriptor_bytes)
    return {
        "seconds": math.fsum(times) / len(times) if times else None,
        "peak_memory_mib": max(most, default=None),
        "descriptor_bytes": sum(sizes) / len(sizes) if sizes else None,
        "machines": sorted({own.machine for own in costs if own.machine}),
        "hosts": sorted({own.host for own in costs if own.host}),
    }


def machines_of(manifest: Mapping[str, Any]) -> list[str]:
    """What computed a run's features: the machines of their costs, or the run's own; [] if unsaid.

    Where workers or earlier runs made them elsewhere, it is not the run's own machine.
    """
    said, own = manifest.get("image_costs"), manifest.get("machine")
    made_on = said.get("machines") if isinstance(said, dict) else None
    return [str(name) for name in made_on or ([own] if own else [])]


def machines_notes(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader of the costs of several runs, by label, must know: that they don't compare."""
    runs: dict[str, list[str]] = {}
    for label, manifest in manifests.items():
        for name in machines_of(manifest):
            runs.setdefault(f"{manifest.get('device')}, {name}", []).append(label)
    if len(runs) < 2:
        return []
    shown = "; ".join(f"{name} ({', '.join(labels)})" for name, labels in sorted(runs.items()))
    return [
        markdown_text(f"Seconds and memory are of several machines, and don't compare: {shown}.")
    ]


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes ``manifest.json`` into ``folder``, with the number of its schema."""
    text = json.dumps({"schema": SCHEMA, **content}, indent=2, default=str)
    write_text(folder / FILE, text + "\n")


def read_manifest(folder: Path, remedy: str = "remove the folder") -> dict[str, Any] | None:
    """The content of ``manifest.json`` in ``folder``, or None if there is none.

    Raises:
        D2EvalError: it is broken, or of a later d2eval's schema.
    """
    path = folder / FILE
    try:
        content = read_json(path, remedy)
    except MissingFileError:
        return None
    if not isinstance(content, dict):
        raise D2EvalError(f"{path}: broken manifest (no object); {remedy}")
    schema = content.get("schema", 0)
    if not isinstance(schema, int):
        raise D2EvalError(f"{path}: broken manifest (schema is {schema!r}, no number); {remedy}")
    if schema > SCHEMA:
        raise D2EvalError(
            f"{path}: is of schema {schema}, and this d2eval reads up to {SCHEMA}; install a newer "
            "d2eval, or move the folder away"
        )
    costs = content.get("image_costs")
    own = {"peak_memory_mib": content.get("peak_memory_mib")}
    if not _costs_are_sound(own) or not (costs is None or _costs_are_sound(costs)):
        raise D2EvalError(f"{path}: broken manifest (costs that are none); {remedy}")
    return content


def _costs_are_sound(said: Any) -> bool:
    """Whether ``said`` is as `image_costs`: lists of names, and numbers within reason or None."""
    return isinstance(said, dict) and all(
        isinstance(value, list) and all(isinstance(own, str) for own in value)
        if name in ("machines", "hosts")
        else value is None or (isinstance(value, int | float) and not abs(value) >= _LARGEST_COST)
        for name, value in said.items()
    )


def work_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that runs of the same work share, but for the seed."""
    return {name: value for name, value in manifest.items() if name not in VARYING}


def load_manifest(folder: Path, benchmark: str) -> Manifest:
    """The manifest of a run of ``benchmark``.

    Raises:
        D2EvalError: it is missing, broken, another benchmark's or of a later d2eval's schema.
    """
    path = folder / FILE
    with reading(path, REMEDY):
        content = read_manifest(folder, REMEDY)
        if content is None or content.get("benchmark") != benchmark:
            raise ValueError(f"not the manifest of an {benchmark} run")
        entry({"seed": None, **content}, "seed", int, type(None))
        return Manifest(
            entry(content, "method", str),
            _other_matcher(content),
            entry(content, "label", str),
            entry(entry(content, "dataset", dict), "completeness", str),
            _stands_in(entry(content, "weights", dict, type(None))),
            tuple(map(str, entry({"leaks": [], **content}, "leaks", list))),
            content,
        )


def entry(record: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """``record[key]``, of one of the types.

    Raises:
        ValueError: it is missing or of another type.
    """
    if key not in record:
        raise ValueError(f"lacks {key}")
    if not isinstance(record[key], kinds):
        raise ValueError(f"{key} is {record[key]!r}, of another type than d2eval writes")
    return record[key]


def _other_matcher(content: Mapping[str, Any]) -> str:
    if "matcher" not in content:
        return ""
    matcher = entry(content, "matcher", dict)
    name = str(entry(matcher, "name", str))
    return "" if entry(matcher, "default", bool) else name


def _stands_in(weights: Mapping[str, Any] | None) -> bool:
    if weights is None:
        return False
    if weights and all(isinstance(own, dict | None) for own in weights.values()):
        return any(_stands_in(own) for own in weights.values())
    return bool(entry(weights, "stand_in", bool))
