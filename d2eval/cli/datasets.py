"""The folders of several benchmarks' datasets, as ``--data NAME=DIR``."""

import argparse
from pathlib import Path

from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded


def add_datasets_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds ``--data``, ``what`` its folders are."""
    parser.add_argument(
        "--data", type=_place, nargs="+", action="extend", default=[], metavar="NAME=DIR", help=what
    )


def _place(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    known = list(registered(BENCHMARKS))
    if name not in known or not folder:
        raise argparse.ArgumentTypeError(
            f"must be NAME=DIR with one of {', '.join(known)}, not {text!r}"
        )
    return name, expanded(folder)


def datasets_of(args: argparse.Namespace) -> dict[str, Path]:
    """The folders by benchmark.

    Raises:
        D2EvalError: two of one benchmark.
    """
    data: dict[str, Path] = {}
    for name, folder in args.data:
        if data.setdefault(name, folder) != folder:
            raise D2EvalError(f"--data: names two folders of {name}; leave one out")
    return data
