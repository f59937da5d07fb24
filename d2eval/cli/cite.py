"""Prints BibTeX entries: of what the runs of a benchmark used, or of methods and matchers.

Of a benchmark: its own papers, and those of every method and matcher that its table shows measured
(`d2eval tables`), which are all in RUNS.
"""

import argparse

from d2eval.cli.common import add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note, say_lines

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
    from d2eval.contracts.matcher import matcher_class
    from d2eval.contracts.method import method_class
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.evaluation.citing import classes_used

    if not (args.benchmarks or args.method or args.matcher):
        raise D2EvalError("cite: name a benchmark, --method or --matcher")
    classes: list[type] = [benchmark_class(name) for name in args.benchmarks]
    classes += [method_class(name) for name in args.method]
    classes += [matcher_class(name) for name in args.matcher]
    for benchmark in args.benchmarks:
        used, unknown = classes_used(benchmark, args.runs)
        classes += used
        for name in unknown:
            note(f"{name}: not known here, so not cited")
    classes = list(dict.fromkeys(classes))
    for cls in classes:
        if getattr(cls, "papers", ()) is None:
            note(f"{cls.__name__}: says nothing of papers")
    papers = {paper.key: paper.entry for cls in classes for paper in papers_of(cls)}
    for entry in papers.values():
        say_lines(f"{entry}\n")
    return 0
