"""``methods/registry.toml``: what this repository registers by name, a table for each kind."""

import difflib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.errors import D2EvalError

METHODS, MATCHERS = "methods", "matchers"
KINDS = (MATCHERS, "maps", "trainers", "preparers", METHODS)  # tables of the file


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


def registered(table: str = METHODS) -> dict[str, str]:
    """Every known entry of a table: name -> "module:Class", without importing any of them.

    Those of this repository stand in ``methods/registry.toml``; other packages add theirs through
    the entry-point group ``d2eval.<table>``.

    Raises:
        D2EvalError: two packages claim one name.
    """
    found = dict(load_registry()[table])
    for entry in entry_points(group=f"d2eval.{table}"):
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
