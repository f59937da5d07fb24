"""Lists methods and matchers: dimensions of descriptors, weights, licence and paper.

What is missing stands below the table with the command that gets it. With names, says all of these.
The lists are what methods/registry.toml names, and what installed packages declare as entry points
of the groups d2eval.methods and d2eval.matchers.
"""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2eval.cli.common import add_cache_argument
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import say, say_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from d2eval.contracts.method import Adapter, Runtime

PRINTS_ONLY = True
HEADER = ("dim", "weights", "licence", "paper")
WEIGHTS_WIDTH = 16  # characters; what is longer is cut in the table, and whole below it
FOOTER = """
--method also takes precomputed:DIR (features from files that another program wrote),
external:COMMAND (a program of yours in any language) and module:Class (a d2eval.Method by its
import path), which --matcher does, too; and `all`, or names joined by commas. Networks for dense
maps are of `d2eval inloc --dense-network`. `d2eval cite --method NAME` prints BibTeX."""


@dataclass(frozen=True)
class _Entry:
    """What there is to say of a method or matcher."""

    name: str
    dim: str = "-"
    weights: str = "-"
    license: str = "-"
    papers: tuple[str, ...] = ()
    description: str = "-"
    trained_on: str = ""  # "" where nothing was

    @property
    def short_weights(self) -> str:
        """Those that fit into a column."""
        cut = len(self.weights) > WEIGHTS_WIDTH
        return self.weights.partition(":")[0].partition(",")[0] if cut else self.weights

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        paper = self.papers[0] if self.papers else "-"
        return self.name, self.dim, self.short_weights, self.license, paper

    def lines(self) -> list[str]:
        """All of it."""
        found = [f"{self.name}: {self.description}", f"  dimensions: {self.dim}"]
        found.append(f"  weights: {self.weights}")
        found += [f"  trained on: {self.trained_on}"] if self.trained_on else []
        found.append(f"  licence: {self.license}")
        return [*found, *(f"  paper: {paper}" for paper in self.papers)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="say all of these (default: list)")
    add_cache_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the list, or what is known of the methods named."""
    from d2eval.contracts.maps import maps_class
    from d2eval.contracts.matcher import Matcher, matcher_class
    from d2eval.contracts.method import Runtime, method_class
    from d2eval.contracts.registry import MAPS, METHODS, registered

    runtime = Runtime(cache=args.cache)
    finders = {METHODS: method_class, MAPS: maps_class, Matcher.table: matcher_class}
    known = {name: finders[table] for table in finders for name in registered(table)}
    for name in args.names:
        say(*_entry(name, known.get(name, method_class)(name), runtime).lines())
    if args.names:
        return 0
    entries = {name: _listed(name, find, runtime) for name, find in known.items()}
    matchers = [entries.pop(name) for name in registered(Matcher.table)]
    rows = [("method", *HEADER), *(entry.cells() for entry in entries.values())]
    rows += [("",) * len(rows[0]), ("matcher", *HEADER), *(entry.cells() for entry in matchers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    longer = [e for e in (*entries.values(), *matchers) if e.weights != e.short_weights]
    say("", *(f"{entry.name}: {entry.weights}" for entry in longer))
    say_lines(FOOTER)
    return 0


def _entry(name: str, cls: "type[Adapter]", runtime: "Runtime") -> _Entry:
    """What a class says of itself.

    Raises:
        D2EvalError: its papers, or its weights, are not as they should be.
    """
    from d2eval.contracts.citations import papers_of

    return _Entry(
        name,
        str(getattr(cls, "descriptor_dim", "-")),
        cls.weights_state(runtime),
        cls.license,
        tuple(paper.short for paper in papers_of(cls)),
        cls.description,
        _words(cls.training_data(runtime)),
    )


def _words(trained_on: "tuple[str, ...] | None") -> str:
    return "not stated" if trained_on is None else ", ".join(trained_on)


def _listed(name: str, find: "Callable[[str], type[Adapter]]", runtime: "Runtime") -> _Entry:
    try:
        return _entry(name, find(name), runtime)
    except D2EvalError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a method of others must not end the list
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return _Entry(name, weights=f"broken: {reason}")
