"""Regenerates a table of the paper, measured numbers beside published ones.

Works from result files alone: the published numbers, the runs that an evaluation has written, and
those that ship with d2eval ("shipped/..."). Each row says how complete its dataset was and which
weights it used. Aachen's table has a section for each epoch of the ground truth, protocol and set
of queries; InLoc's for each protocol and floor.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.cli.common import add_runs_argument
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say, say_lines

if TYPE_CHECKING:
    from d2eval.report.tables import Table
    from d2eval.runs.measured import RunRoots

EXAMPLES = """examples:
  python -m d2eval tables hpatches
  python -m d2eval tables hpatches --runs results/runs       # yours alone
  python -m d2eval tables hpatches --runs shipped            # d2eval's own alone
  python -m d2eval tables aachen
  python -m d2eval tables inloc
"""


def _hpatches(runs: "RunRoots") -> "Table":
    from d2eval.hpatches.report.table import hpatches_table

    return hpatches_table(runs)


def _aachen(runs: "RunRoots") -> "Table":
    from d2eval.aachen.report.table import aachen_table

    return aachen_table(runs)


def _inloc(runs: "RunRoots") -> "Table":
    from d2eval.inloc.report.table import inloc_table

    return inloc_table(runs)


TABLES = {"hpatches": _hpatches, "aachen": _aachen, "inloc": _inloc}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=list(TABLES), help="whose table")
    add_runs_argument(parser)
    parser.add_argument(
        "--output",
        type=expanded,
        metavar="DIR",
        default=Path("results/tables"),
        help="folder for BENCHMARK.csv and BENCHMARK.md",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the table and prints it."""
    from d2eval.report.tables import write_table

    table = TABLES[args.benchmark](args.runs)
    for line in table.notes:
        note(line)
    paths = write_table(table, args.output)
    say_lines(table.markdown)
    for path in paths:
        say(f"wrote {path}")
    return 0
