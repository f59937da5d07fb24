"""Prints BibTeX entries: of what the runs of a benchmark used, or of methods and matchers.

Of a benchmark: its own papers, and those of every method and matcher that its table shows measured
(`d2eval tables`), which are all in RUNS.
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from d2eval.cli.common import add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, MAPS, MATCHERS, METHODS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note, say_lines

if TYPE_CHECKING:
    from d2eval.runs.measured import RunRoots

PRINTS_ONLY = True
EXAMPLES = """examples:
  python -m d2eval cite hpatches > used.bib
  python -m d2eval cite aachen inloc --runs results/runs     # yours alone
  python -m d2eval cite --method aliked --matcher lightglue
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "benchmarks",
        nargs="*",
        metavar="BENCHMARK",
        help=f"what a table of it used: {', '.join(registered(BENCHMARKS))}",
    )
    for option in ("--method", "--matcher"):
        parser.add_argument(
            option,
            action="append",
            default=[],
            metavar="NAME",
            help="a name that 'd2eval methods' lists, or module:Class; may be repeated",
        )
    add_runs_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints each entry once, in the order in which they are first named."""
    from d2eval.contracts.citations import papers_of
    from d2eval.contracts.maps import maps_class
    from d2eval.contracts.matcher import matcher_class
    from d2eval.contracts.method import method_class
    from d2eval.evaluation.benchmark import benchmark_class

    if not (args.benchmarks or args.method or args.matcher):
        raise D2EvalError("cite: name a benchmark, --method or --matcher")
    classes: list[type] = [benchmark_class(name) for name in args.benchmarks]
    classes += [method_class(name) for name in args.method]
    classes += [matcher_class(name) for name in args.matcher]
    finders = {METHODS: method_class, MAPS: maps_class, MATCHERS: matcher_class}
    tables = {name: finders[table] for table in finders for name in registered(table)}
    used = [name for benchmark in args.benchmarks for name in _used(args.runs, benchmark)]
    for name in dict.fromkeys(used):
        try:
            classes.append(tables.get(name, method_class)(name))
        except D2EvalError:
            note(f"{name}: not known here, so not cited")
    for cls in classes:
        if getattr(cls, "papers", ()) is None:
            note(f"{cls.__name__}: says nothing of papers")
    papers = {paper.key: paper.entry for cls in classes for paper in papers_of(cls)}
    for entry in papers.values():
        say_lines(f"{entry}\n")
    return 0


def _used(runs: "RunRoots", benchmark: str) -> Iterator[str]:
    """Names of methods and matchers in the manifests of finished runs."""
    from d2eval.runs.manifest import load_manifest
    from d2eval.runs.measured import run_folders, unfinished_note

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
