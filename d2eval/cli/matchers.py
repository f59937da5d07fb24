"""``--matcher`` and the options of the matcher that it names."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from d2eval.cli.common import add_options
from d2eval.cli.parsing import MATCHER_FLAG

if TYPE_CHECKING:
    from d2eval.contracts.matcher import MatcherChoice


def add_matcher_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds ``--matcher``.

    ``default`` says in words what matches where it isn't given.
    """
    parser.add_argument(
        "--matcher",
        metavar="NAME",
        help="what matches features: a name that 'd2eval methods' lists, or module:Class; its "
        "options begin with --matcher-, as in --matcher ratio --matcher-ratio 0.9 (default: "
        f"{default})",
    )


def add_matcher_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds an option for each field of the ``Config`` of the matcher ``name``."""
    from d2eval.contracts.matcher import matcher_class

    config = matcher_class(name).Config
    add_options(parser, config, f"matcher {name!r}", f"options of matcher {name}", MATCHER_FLAG)


def matcher_choice(args: argparse.Namespace) -> "MatcherChoice | None":
    """What ``--matcher`` and its options say; None where it isn't given.

    Raises:
        D2EvalError: an unknown matcher, or a value that it doesn't take.
    """
    from d2eval.contracts.matcher import MatcherChoice, matcher_class

    if args.matcher is None:
        return None
    names = [field.name for field in dataclasses.fields(matcher_class(args.matcher).Config)]
    options = {name: getattr(args, f"matcher_{name}") for name in names}
    choice = MatcherChoice(args.matcher, options)
    choice.config()
    return choice
