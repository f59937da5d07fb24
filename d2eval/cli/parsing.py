"""A parser whose complaints are one line that names what was probably meant."""

import argparse
import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.display import printable

_NUMBER = re.compile(r"-\d*\.?\d+")
MATCHER_FLAG = "--matcher-"  # begins the options of a matcher, which a method may have, too
_NEAR = 0.6  # of difflib's ratio, from which a name counts as mistyped


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' lines and says the defaults."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        silent = (None, argparse.SUPPRESS, "", False)
        if text and "default" not in text and action.default not in silent:
            text += " (default: %(default)s)"
        return text


class Parser(argparse.ArgumentParser):
    """Without abbreviations; a mistake ends the program with one line and exit code 2."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        line = printable(" ".join(message.split()))
        self.exit(2, f"d2eval: {line} (`{self.prog} --help` says more)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"there is no {value!r}; {nearest(str(value), choices)}"
            )

    def options(self) -> list[str]:
        """Every option, as it is written."""
        return list(self._option_string_actions)


def given(option: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values that ``option`` is given, and the other arguments, which needn't be known yet."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument(option, dest="values", action="append", nargs="?", default=[])
    known, others = first.parse_known_args(arguments)
    return [value for value in known.values if value], others


def nearest(name: str, known: Sequence[str]) -> str:
    """Such as "did you mean v_bird?", or all that are known if none is near."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=_NEAR)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


def check_options(
    parser: Parser,
    arguments: Sequence[str],
    method: str | None = None,
    any_method: bool = False,
    matcher: str | None = None,
) -> None:
    """Ends the program if there is an option that ``parser`` doesn't have.

    Looked for before parsing: argparse complains of what is lacking first, and so says of ``--metod
    NAME`` that ``--method`` is missing. ``parser`` has the options of the command, and of the
    method and the matcher where these are named.
    """
    known = parser.options()
    unknown = []
    if "-h" in arguments or "--help" in arguments:
        return
    for argument in arguments:
        if argument == "--":
            break
        name = argument.partition("=")[0]
        if len(name) < 2 or not name.startswith("-") or " " in name or name in known:
            continue
        if not _NUMBER.fullmatch(name):
            unknown.append(name)
    # A mistyped --method leaves its options unknown, too: what was mistyped comes first.
    for name in unknown:
        # "--matcher" itself is near to each mistyped option of a matcher
        alike = [own for own in known if own != "--matcher" or not name.startswith(MATCHER_FLAG)]
        if near := difflib.get_close_matches(name, alike, n=1, cutoff=_NEAR):
            owners = owners_of(name) if any_method else []
            if not owners:
                parser.error(f"{name}: no such option; did you mean {near[0]}?")
    for name in unknown:
        if owners := owners_of(name) if any_method else []:
            of_matcher = name.startswith(MATCHER_FLAG)
            chosen, flag = (matcher, "--matcher") if of_matcher else (method, "--method")
            other = f"not of {chosen}" if chosen else f"so name it with {flag}"
            parser.error(f"{name} is an option of {' and '.join(owners)}, {other}")
        elsewhere = options_elsewhere(name) if any_method else {}
        near = difflib.get_close_matches(name, elsewhere, n=1, cutoff=_NEAR)
        hint = f"; did you mean {near[0]} of {' and '.join(elsewhere[near[0]])}?" if near else ""
        parser.error(f"{name}: no such option{hint}")


def owners_of(option: str) -> list[str]:
    """The methods, or matchers, that have ``option``."""
    return options_elsewhere(option).get(option, [])


def options_elsewhere(option: str) -> dict[str, list[str]]:
    """All options of methods, or of matchers if it may be one of theirs, and who has each.

    Those that can't be imported are left out.
    """
    from d2eval.contracts.matcher import Matcher, matcher_class
    from d2eval.contracts.method import Method, method_class
    from d2eval.contracts.registry import registered
    from d2eval.pipeline.external import ExternalConfig
    from d2eval.pipeline.precomputed import PrecomputedConfig

    of_matcher = option.startswith(MATCHER_FLAG)
    table, find = (Matcher.table, matcher_class) if of_matcher else (Method.table, method_class)
    others: dict[str, type] = {
        "precomputed:DIR": PrecomputedConfig,
        "external:COMMAND": ExternalConfig,
    }
    configs = {} if of_matcher else others
    for name in registered(table):
        try:
            configs[name] = find(name).Config
        except D2EvalError:
            continue
    start = MATCHER_FLAG if of_matcher else "--"
    owners: dict[str, list[str]] = {}
    for name, config in configs.items():
        for flag in option_flags(config, start):
            owners.setdefault(flag, []).append(name)
    return owners


def option_flags(config: Any, start: str = "--") -> dict[str, dataclasses.Field[Any]]:
    """How the command line calls the fields of a ``Config``; a bool has ``--no-...``, too."""
    fields = dataclasses.fields(config)
    return {f"{start}{field.name.replace('_', '-')}": field for field in fields}
