"""What lies in a cache folder: how large, of which method, and what of it no run names."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.leftovers import clear_leftovers, remove_folder
from d2eval.foundation.files.reading import read_text
from d2eval.pipeline.packs import GROUP
from d2eval.pipeline.stored import identity_of

FEATURES = "features"
KEY = re.compile(r"[0-9a-f]{16}")
QUIET_S = 3600.0  # of a folder in which nothing changed for so long nobody is at work
_IDENTITY = {"version", "config", "weights", "source"}


@dataclass(frozen=True)
class Part:
    """A folder of the cache, or all of a kind in which files don't say whose they are."""

    kind: str  # "features", "matches", ...
    of: str  # method, group of weights, ...; "" where that isn't known
    path: Path
    size: int  # bytes
    keys: frozenset[str] | None  # of the methods and matchers that it is of; None: not known


def parts_of(cache: Path) -> list[Part]:
    """All parts, by kind and method.

    Raises:
        D2EvalError: there is no such folder.
    """
    if not cache.is_dir():
        raise D2EvalError(f"{cache}: no such cache folder; choose another --cache")
    features, kinds = (
        sorted(path for path in folder.glob("*") if path.is_dir())
        for folder in (cache / FEATURES, cache)
    )
    names = {key: name for name, key in map(_method_and_key, features)}
    found = [own for kind in kinds for own in _parts_of_kind(kind, names)]
    return sorted(found, key=lambda own: (own.kind, own.of, own.path))


def _method_and_key(folder: Path) -> tuple[str, str]:
    name, _, key = folder.name.rpartition("-")
    return name, key


def _parts_of_kind(kind: Path, names: Mapping[str, str]) -> Iterator[Part]:
    rest = 0
    for path in kind.iterdir():
        size = _size(path)
        if path.name.startswith("."):  # being made or removed
            rest += size
            continue
        keys = _keys_in(path / GROUP) if path.is_dir() else None
        if kind.name == FEATURES and path.is_dir():
            name, key = _method_and_key(path)
            yield Part(kind.name, name, path, size, frozenset([key]))
        elif keys is not None:
            methods = sorted({names[key] for key in keys if key in names})
            yield Part(kind.name, ", ".join(methods), path, size, keys)
        elif kind.name in ("weights", "sample"):
            yield Part(kind.name, path.name, path, size, None)
        else:
            rest += size
    if rest:
        yield Part(kind.name, "", kind, rest, None)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += 0 if file.is_dir() else file.lstat().st_size
        except OSError:  # it has gone meanwhile
            continue
    return total


def _keys_in(group: Path) -> frozenset[str] | None:
    """The keys that decide the units of a folder of packs; None where it isn't said."""
    try:
        content = json.loads(read_text(group))
    except (D2EvalError, ValueError, RecursionError):
        return None
    return frozenset(own for own in _texts(content) if KEY.fullmatch(own)) or None


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for own in content.values() if isinstance(content, dict) else content:
            yield from _texts(own)


def keys_of(manifest: Any) -> set[str]:
    """The keys of methods, networks and matchers that a manifest names.

    Raises:
        ValueError: it says too little of one.
    """
    if isinstance(manifest, list):
        return {key for own in manifest for key in keys_of(own)}
    if not isinstance(manifest, dict):
        return set()
    found = {key for own in manifest.values() for key in keys_of(own)}
    if isinstance(manifest.get("key"), str):
        found.add(manifest["key"])
    if manifest.keys() >= _IDENTITY and manifest["source"]:
        found.add(identity_of(manifest, "method" if "method" in manifest else "name").key)
    return found


def unused(parts: Sequence[Part], keys: Collection[str]) -> tuple[list[Part], list[Part]]:
    """Parts that are of a method or matcher without one of ``keys``, and those of them in use.

    A part is in use if something in it changed within the last hour, or is being written.
    """
    quiet: list[Part] = []
    busy: list[Part] = []
    for own in parts:
        if own.keys is not None and not own.keys <= set(keys):
            (busy if _is_busy(own.path) else quiet).append(own)
    return quiet, busy


def _is_busy(folder: Path) -> bool:
    clear_leftovers(folder, ".*.tmp")
    recent = time.time() - QUIET_S
    return any(folder.glob(".*.tmp")) or folder.stat().st_mtime > recent


def remove(parts: Sequence[Part]) -> None:
    """Removes folders, each at once.

    Raises:
        D2EvalError: one can't be.
    """
    for own in parts:
        remove_folder(own.path)


def sizes(parts: Sequence[Part]) -> dict[tuple[str, str], int]:
    """Bytes by kind and method."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for own in parts:
        found[own.kind, own.of] += own.size
    return dict(found)
