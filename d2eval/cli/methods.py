"""Lists methods and matchers: name, dimensions of descriptors, description, weights as they are.

The lists are what methods/registry.toml names, and what installed packages declare as entry points
of the groups d2eval.methods and d2eval.matchers.
"""

import argparse
from typing import TYPE_CHECKING

from d2eval.cli.common import add_cache_argument
from d2eval.foundation.terminal.console import say, say_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from d2eval.contracts.method import Adapter, Runtime

PRINTS_ONLY = True
HEADER = ("method", "dim", "description", "weights")
MATCHERS = ("matcher", "", "description", "weights")
FOOTER = """
--method also takes precomputed:DIR (features from files that another program wrote),
external:COMMAND (a program of yours in any language) and module:Class (a d2eval.Method by its
import path), which --matcher does, too. Networks for dense maps are of
`d2eval inloc --dense-network`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    add_cache_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the list."""
    from d2eval.contracts.maps import maps_class
    from d2eval.contracts.matcher import Matcher, matcher_class
    from d2eval.contracts.method import Runtime, method_class
    from d2eval.contracts.registry import MAPS, registered

    runtime = Runtime(cache=args.cache)
    lines = [HEADER, *(_line(name, method_class, runtime) for name in registered())]
    lines += [_line(name, maps_class, runtime) for name in registered(MAPS)]
    lines += [("", "", "", ""), MATCHERS]
    lines += [_line(name, matcher_class, runtime) for name in registered(Matcher.table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    for name, dim, description, weights in lines:
        start = f"{name.ljust(widths[0])}  {dim.rjust(widths[1])}"
        say(f"{start}  {description.ljust(widths[2])}  {weights}".rstrip())
    say_lines(FOOTER)
    return 0


def _line(
    name: str, find: "Callable[[str], type[Adapter]]", runtime: "Runtime"
) -> tuple[str, str, str, str]:
    from d2eval.foundation.errors import D2EvalError

    try:
        cls = find(name)
        dim = str(getattr(cls, "descriptor_dim", cls.table if cls.table == "maps" else ""))
        return name, dim, cls.description, cls.weights_state(runtime)
    except D2EvalError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a method of others must not end the list
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return name, "-", "-", f"broken: {reason}"
