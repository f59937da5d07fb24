"""Several methods in one command: repeated, joined by commas, or all that can run now."""

import argparse
from collections.abc import Sequence

from d2eval.cli.parsing import given
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import default_cache, expanded
from d2eval.foundation.terminal.console import complain, note

ALL = "all"
# What ends a command with one line: a mistake of the user's, or of files and machine
MISTAKES = (D2EvalError, OSError, UnicodeEncodeError, MemoryError)


def explained(error: BaseException) -> str:
    """What to tell the user of one of `MISTAKES`."""
    if isinstance(error, OSError):  # a path that may not be looked at, that is too long, ...
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object!a}: a name that this machine's encoding ({error.encoding}) "
            "can't say; set PYTHONUTF8=1"
        )
    if isinstance(error, MemoryError):
        return (
            f"out of memory ({error or 'no size known'}); finished work is kept: give "
            "less at once, or more memory, and run the same command again"
        )
    return str(error)


def for_each_method(arguments: list[str]) -> list[list[str]]:
    """The arguments, once for each method where several are named.

    Raises:
        D2EvalError: their runs would get one name, or "all" are none.
    """
    values, others = given("--method", arguments)
    if not values:
        return [arguments]
    methods = [*dict.fromkeys(name for value in values for name in _named(value, others))]
    if len(methods) > 1 and given("--name", others)[0]:
        raise D2EvalError("--name names one run; leave it out where several methods are named")
    at = others.index("--") if "--" in others else len(others)
    return [[*others[:at], "--method", name, *others[at:]] for name in methods]


def _named(value: str, arguments: Sequence[str]) -> list[str]:
    """The methods that a value of ``--method`` names; paths and commands may hold commas."""
    from d2eval.pipeline.extraction import EXTERNAL, PRECOMPUTED

    if value.startswith((EXTERNAL, PRECOMPUTED)):
        return [value]
    names = [name for name in value.split(",") if name]
    return [own for name in names for own in (_all(arguments) if name == ALL else [name])]


def _all(arguments: Sequence[str]) -> list[str]:
    """Every registered method that lacks nothing; the others are told."""
    from d2eval.contracts.method import Runtime, method_class
    from d2eval.contracts.registry import registered

    caches = given("--cache", arguments)[0]
    runtime = Runtime(cache=expanded(caches[-1]) if caches else default_cache())
    ready: list[str] = []
    lacking: list[str] = []
    for name in registered():
        try:
            usable = not method_class(name).weights_state(runtime).startswith(("missing", "broken"))
        except D2EvalError:
            usable = False
        (ready if usable else lacking).append(name)
    if lacking:
        note(f"all: without {', '.join(lacking)}; `d2eval methods` says what they lack")
    if not ready:
        raise D2EvalError("all: no method can run; `d2eval methods` says what they lack")
    return ready


def run_each(parsed: Sequence[argparse.Namespace]) -> int:
    """Runs a command for each of several methods, or once; 2 if one failed.

    What fails for one method doesn't end the others, and is told at the end.
    """
    if len(parsed) == 1:
        return int(parsed[0].run(parsed[0]))
    code, failed = 0, {}
    for args in parsed:
        try:
            code = max(code, int(args.run(args)))
        except MISTAKES as error:
            failed[args.method] = explained(error)
            note(f"{args.method} failed, which is told at the end")
    if failed:
        complain(f"{len(failed)} of {len(parsed)} methods failed")
    for method, reason in failed.items():
        complain(f"{method}: {reason}")
    return 2 if failed else code
