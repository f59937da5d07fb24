"""The command line: ``d2eval COMMAND`` or ``python -m d2eval COMMAND``.

Each command is a module with ``add_arguments(parser)`` and ``run(args) -> int``, and so is each
benchmark, see `d2eval.cli.evaluate`. Only the command that is asked for is imported, and it imports
what is heavy when it runs. One whose options depend on its first argument has
``add_chosen(parser, argument)``. A command that takes
``--method`` sets ``TAKES_METHOD``: the options of the method named are added to its own, and with
several methods (see `d2eval.cli.several`) it runs once for each. With ``METHOD_FIRST`` the method
is the first argument instead. ``PRINTS_ONLY``: its output is all that it gives, no files.
"""

import argparse
import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from d2eval.cli.caches import claim_caches, claim_threads
from d2eval.cli.parsing import Parser, check_options, given
from d2eval.cli.several import MISTAKES, explained, for_each_method, run_each
from d2eval.cli.streams import steady_streams
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.foundation.files.paths import default_cache
from d2eval.foundation.terminal.console import complain
from d2eval.foundation.version import program_version

# name -> (module, line for the overview); each benchmark is a command, too
COMMANDS = {
    "reproduce": ("d2eval.cli.reproduce", "measure the rows of the paper's tables, draw and print"),
    "rerun": ("d2eval.cli.rerun", "repeat a run and say whether its rows are the same"),
    "extract": ("d2eval.cli.extract", "write a method's features for outside tools"),
    "tables": ("d2eval.cli.tables", "regenerate the paper's tables, measured beside published"),
    "compare": ("d2eval.cli.compare", "say whether runs differ, with intervals and tests"),
    "export": ("d2eval.cli.export", "write a run to one file for somebody else"),
    "import": ("d2eval.cli.import_run", "take in a run that somebody else exported"),
    "view": ("d2eval.cli.view", "draw the matches of a pair, or what became of a query"),
    "plot": ("d2eval.cli.plot", "draw the paper's curves, measured over published"),
    "report": ("d2eval.cli.report", "write one page of results to share, which opens from disk"),
    "import-result": (
        "d2eval.cli.import_result",
        "add what the Aachen benchmark's site returned for a submission",
    ),
    "speed": ("d2eval.cli.speed", "measure seconds, memory and operations per second"),
    "methods": ("d2eval.cli.methods", "list methods and matchers, or say all of some"),
    "cite": ("d2eval.cli.cite", "print BibTeX of what a table, or a method, used"),
    "protocols": ("d2eval.cli.protocols", "list protocols, or say in what two differ"),
    "describe": ("d2eval.cli.describe", "table and drawing of a method's network"),
    "show": ("d2eval.cli.show", "draw a method's keypoints on an image"),
    "prepare": ("d2eval.cli.prepare", "prepare a dataset for training"),
    "train": ("d2eval.cli.train", "train D2-Net's weights"),
    "fetch": ("d2eval.cli.fetch", "download weights"),
    "cache": ("d2eval.cli.cache", "say how large the cache is, and remove what no run names"),
    "check-data": ("d2eval.cli.check_data", "say what a dataset folder holds and lacks"),
}

EXAMPLES = """examples:
  python -m d2eval hpatches --method d2_ms                    # on the embedded sample
  python -m d2eval hpatches --method d2_ss --data hpatches-sequences-release
  python -m d2eval tables hpatches
  python -m d2eval compare d2_ms d2_ss
  python -m d2eval plot mma
  python -m d2eval report
  python -m d2eval import-result aachen --method d2_ms --values 44.9 66.3 88.8 --epoch 2019
  python -m d2eval COMMAND --help
"""


def _for_each_method(command: str | None, arguments: list[str]) -> list[list[str]]:
    takes_method = command is not None and getattr(_module(command), "TAKES_METHOD", False)
    return for_each_method(arguments) if takes_method else [arguments]


def _first_method(command: str, following: Sequence[str]) -> str | None:
    """The argument right after ``command``; what its options are can't be known before."""
    if not following or following[0] in ("-h", "--help"):
        return None
    if following[0].startswith("-"):
        raise D2EvalError(f"{command}: name the method first: d2eval {command} METHOD ...")
    return following[0]


def _parser(command: str | None, arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="d2eval",
        description="Evaluates local image features on HPatches, Aachen Day-Night and InLoc "
        "exactly as the D2-Net paper (CVPR 2019) did.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"d2eval {program_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    lines = {name: f"run the benchmark {name}" for name in _benchmarks()}
    for name, line in {**lines, **{name: line for name, (_, line) in COMMANDS.items()}}.items():
        if name != command:
            commands.add_parser(name, help=line, add_help=False)  # is only named
            continue
        loaded = _module(name)
        sub = commands.add_parser(name, help=line, description=loaded.__doc__)
        loaded.add_arguments(sub)
        own = arguments[arguments.index(name) + 1 :]
        if hasattr(loaded, "add_chosen") and own:
            loaded.add_chosen(sub, own[0])
        first = getattr(loaded, "METHOD_FIRST", False)
        method = _first_method(name, own) if first else next(iter(given("--method", own)[0]), None)
        takes_method = getattr(loaded, "TAKES_METHOD", False)
        if method and takes_method and not (first and method in registered(BENCHMARKS)):
            from d2eval.cli.common import add_config_arguments

            add_config_arguments(sub, method)
        matcher = None
        if "--matcher" in sub.options():
            from d2eval.cli.matchers import add_matcher_options

            matcher = next(reversed(given("--matcher", own)[0]), None)
            if matcher:
                add_matcher_options(sub, matcher)
        check_options(sub, own, method, takes_method, matcher)
        sub.set_defaults(run=loaded.run)
    check_options(parser, list(itertools.takewhile(lambda a: a.startswith("-"), arguments)))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 when done, 2 for a user's mistake or a broken file (one line on standard error), 130
        after Ctrl-C. What was finished stays; the same command goes on from there.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in arguments if not a.startswith("-")), None)
    with steady_streams() as output:
        code = _run(command, arguments)
        output.flush()
        if output.failure:
            complain(
                f"standard output can't be written ({output.failure}); what goes to files is there"
            )
            # Only where the output is all that was asked for has the command failed.
            if command is None or _prints_only(command):
                code = code or 2
    return code


def _benchmarks() -> list[str]:
    """The registered benchmarks that no other command is called like."""
    return [name for name in registered(BENCHMARKS) if name not in COMMANDS]


def _prints_only(command: str) -> bool:
    return command in COMMANDS and getattr(_module(command), "PRINTS_ONLY", False)


@cache
def _module(command: str) -> Any:
    if command in COMMANDS:
        return importlib.import_module(COMMANDS[command][0])
    from d2eval.cli.evaluate import Command

    return Command(command)


def _run(command: str | None, arguments: Sequence[str]) -> int:
    try:
        LIMITS.read(os.environ)
        claim_caches(arguments)
        claim_threads(arguments)
        command = command if command in (*COMMANDS, *_benchmarks()) else None
        several = _for_each_method(command, list(arguments))
        parsed = [_parser(command, each).parse_args(each) for each in several]
        for args in parsed:
            if getattr(args, "cache", args) is None:
                args.cache = default_cache()
        return run_each(parsed)  # all are understood before the first runs
    except SystemExit as ended:  # argparse's, after help or a mistake
        return int(ended.code or 0)
    except MISTAKES as error:
        complain(explained(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept, the same command goes on from there")
        return 130
