"""What the runs of a benchmark used that papers describe."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from d2eval.contracts.maps import maps_class
from d2eval.contracts.matcher import matcher_class
from d2eval.contracts.method import method_class
from d2eval.contracts.registry import MAPS, MATCHERS, METHODS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.runs.manifest import load_manifest
from d2eval.runs.measured import run_folders, unfinished_note

if TYPE_CHECKING:
    from d2eval.runs.measured import RunRoots


def classes_used(benchmark: str, runs: "RunRoots") -> tuple[list[type], list[str]]:
    """Methods and matchers of a benchmark's finished runs.

    Runs may be anybody's: what their manifests name is imported only if it is registered here.

    Returns:
        Their classes, each once, and the names of those that aren't known here.

    Raises:
        D2EvalError: a manifest is broken.
    """
    finders = {METHODS: method_class, MAPS: maps_class, MATCHERS: matcher_class}
    tables = {name: finders[table] for table in finders for name in registered(table)}
    classes: list[type] = []
    unknown = []
    for name in dict.fromkeys(_names(benchmark, runs)):
        try:
            if name not in tables:
                raise D2EvalError(f"{name}: isn't registered")
            classes.append(tables[name](name))
        except D2EvalError:  # or something that it needs isn't installed
            unknown.append(name)
    return classes, unknown


def _names(benchmark: str, runs: "RunRoots") -> Iterator[str]:
    """Names of methods and matchers in the manifests of finished runs."""
    for place in run_folders(runs, benchmark)[0]:
        if unfinished_note(place.path) is None:
            yield from _identities(load_manifest(place.path, benchmark).content)


def _identities(content: Any) -> Iterator[str]:
    """Names of all that says in a manifest which version and options it had."""
    if isinstance(content, dict):
        if {"version", "config", "weights"} <= content.keys():
            yield str(content.get("method") or content.get("name"))
        for value in content.values():
            yield from _identities(value)
