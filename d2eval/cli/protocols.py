"""Lists the protocols with where their constants are from, or says in which two of them differ.

A protocol is a file of benchmarks/, or one of yours by its path (.toml).
"""

import argparse
import json

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import say, say_lines

PRINTS_ONLY = True
NOWHERE = "-"  # in place of a constant that one of two protocols doesn't have
EXAMPLES = """examples:
  python -m d2eval protocols
  python -m d2eval protocols diff megadepth1500_glue megadepth1500_xfeat
  python -m d2eval protocols diff megadepth1500_loftr mine.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "words", nargs="*", metavar="diff A B", help="what differs between two (default: list all)"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the list, or what differs."""
    if not args.words:
        rows = _listed()
    elif len(args.words) == 3 and args.words[0] == "diff":
        rows = _differing(*args.words[1:])
    else:
        raise D2EvalError("protocols: takes nothing, or diff and the names of two protocols")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say("  ".join([*cells, row[-1]]).rstrip())
    if args.words and len(rows) == 2:
        say_lines("no constant differs")
    return 0


def _listed() -> list[tuple[str, ...]]:
    from d2eval.contracts.protocol import load_protocol, protocol_names

    rows: list[tuple[str, ...]] = [("protocol", "of", "source")]
    for name in protocol_names():
        content = load_protocol(name).content
        rows.append((name, str(content["name"]), str(content["source"])))
    return rows


def _differing(first: str, second: str) -> list[tuple[str, ...]]:
    """Names, hashes, then a line for each constant that differs."""
    from d2eval.contracts.protocol import load_protocol

    files = [load_protocol(name) for name in (first, second)]
    one, other = (file.constants for file in files)
    rows: list[tuple[str, ...]] = [("constant", first, second)]
    rows.append(("sha256", files[0].sha256[:12], files[1].sha256[:12]))
    rows += [
        (name, *(_text(own[name]) if name in own else NOWHERE for own in (one, other)))
        for name in {**one, **other}
        if name not in one or name not in other or one[name] != other[name]
    ]
    return rows


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
