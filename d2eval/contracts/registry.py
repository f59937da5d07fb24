"""What is found by name: ``methods/registry.toml``, entry points, and "module:Class" itself."""

import difflib
import functools
import importlib
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from d2eval.contracts.protocol import load_toml
from d2eval.contracts.source import loading
from d2eval.foundation.errors import D2EvalError

METHODS, MATCHERS, MAPS = "methods", "matchers", "maps"
DENSE_NETWORK = "vgg16_dense"  # of the maps, where none is named
TRAINERS, PREPARERS, BENCHMARKS = "trainers", "preparers", "benchmarks"
KINDS = (BENCHMARKS, MATCHERS, MAPS, TRAINERS, PREPARERS, METHODS)  # tables of the file
_LISTED = {METHODS: " ('d2eval methods' lists them)", MATCHERS: " ('d2eval methods' lists them)"}
T = TypeVar("T")


def _path() -> Path:
    return Path(str(files("methods") / "registry.toml"))


def load_registry() -> dict[str, dict[str, str]]:
    """Every table of the file, name -> "module:Class"; a table that isn't there is empty.

    Raises:
        D2EvalError: the file is missing or no TOML; a name stands outside of the tables, in one
            that there isn't, or stands for something else than "module:Class".
    """
    path = _path()
    content = load_toml(path)
    for name, table in content.items():
        if not isinstance(table, dict):
            raise D2EvalError(
                f"{path}: {name} stands in no table; move its line below [{METHODS}] if it is a "
                "method"
            )
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1)
            hint = f"did you mean [{near[0]}]?" if near else f"known: {', '.join(KINDS)}"
            raise D2EvalError(f"{path}: unknown table [{name}]; {hint}")
        for key, target in table.items():
            if not isinstance(target, str) or ":" not in target:
                raise D2EvalError(f'{path}: [{name}] {key} = {target!r}: must be "module:Class"')
    return {kind: content.get(kind, {}) for kind in KINDS}


def _installed(table: str) -> tuple[EntryPoint, ...]:
    """What other packages add to a table; looked for again where a folder of them has changed."""
    return _entries_in(table, tuple((folder, _changed_ns(folder)) for folder in sys.path))


@functools.lru_cache(maxsize=2 * len(KINDS))
def _entries_in(table: str, folders: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Those of ``sys.path``, which takes tens of milliseconds among a hundred packages."""
    return tuple(entry_points(group=f"d2eval.{table}"))


def _changed_ns(folder: str) -> int:
    try:
        return os.stat(folder or os.curdir).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def registered(table: str = METHODS) -> dict[str, str]:
    """Every known entry of a table: name -> "module:Class", without importing any of them.

    Those of this repository stand in ``methods/registry.toml``; other packages add theirs through
    the entry-point group ``d2eval.<table>``.

    Raises:
        D2EvalError: two packages claim one name.
    """
    found = dict(load_registry()[table])
    for entry in _installed(table):
        if found.get(entry.name, entry.value) != entry.value:
            raise D2EvalError(
                f"{table.removesuffix('s')} {entry.name!r} is claimed by {found[entry.name]} and "
                f"{entry.value}; uninstall or rename one"
            )
        found[entry.name] = entry.value
    return found


def other_table(name: str, kind: str) -> str | None:
    """What to tell somebody who looks for ``name`` in one table and has it in another."""
    for other, table in load_registry().items():
        if other != kind and name in table:
            return f"{_path()} has it in the table [{other}], not in [{kind}]"
    return None


def find_class(name: str, table: str, base: type[T], kind: str) -> type[T]:
    """The class that ``name`` stands for, or that it names directly as "module:Class".

    Args:
        name: what the user asks for.
        table: of what is registered.
        base: what the class must be derived from.
        kind: what it is called in errors.

    Raises:
        D2EvalError: no such name (the nearest names are suggested), or it can't be imported.
    """
    if (file := name.partition(":")[0]).endswith(".py"):
        path = Path(file)
        raise D2EvalError(
            f"unknown {kind} {name!r}; write {path.stem}:CLASS, where {path.name} lies in the "
            "current folder or in one of PYTHONPATH"
        )
    targets = {} if ":" in name else registered(table)
    target = name if ":" in name else targets.get(name)
    if target is None:
        near = difflib.get_close_matches(name, targets, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(targets)}"
        elsewhere = other_table(name, table)
        listed = f"; {elsewhere}" if elsewhere else _LISTED.get(table, "")
        raise D2EvalError(f"unknown {kind} {name!r}; {hint}{listed}")
    module, _, attribute = target.partition(":")
    loading(module)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module may be anyone's and raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise D2EvalError(f"{kind} {name!r}: {target} can't be imported ({reason})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise D2EvalError(f"{kind} {name!r}: {target} is not a d2eval.{base.__name__}")
    return found
