"""Regenerates a table of the paper, measured numbers beside published ones.

Works from result files alone: the published numbers, the runs that an evaluation has written, and
those that ship with d2eval ("shipped/..."). Each row says how complete its dataset was and which
weights it used. Aachen's table has a section for each epoch of the ground truth, protocol and set
of queries; InLoc's for each protocol and floor.
"""

import argparse

from d2eval.cli.common import add_folder_argument, add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import note, say, say_lines

EXAMPLES = """examples:
  python -m d2eval tables hpatches
  python -m d2eval tables hpatches --runs results/runs       # yours alone
  python -m d2eval tables hpatches --runs shipped            # d2eval's own alone
  python -m d2eval tables aachen
  python -m d2eval tables inloc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=list(registered(BENCHMARKS)), help="whose table")
    add_runs_argument(parser)
    add_folder_argument(parser, "results/tables", "folder for BENCHMARK.csv and BENCHMARK.md")


def run(args: argparse.Namespace) -> int:
    """Writes the table and prints it."""
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.report.tables import write_table

    table = benchmark_class(args.benchmark)().table(args.runs)
    for line in table.notes:
        note(line)
    paths = write_table(table, args.output)
    say_lines(table.markdown)
    for path in paths:
        say(f"wrote {path}")
    return 0
