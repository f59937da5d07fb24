"""Regenerates a table of the paper, measured numbers beside published ones.

Works from result files alone: results/published and the runs that an evaluation has written. Each
row says how complete its dataset was and which weights it used.
"""

import argparse
import sys
from pathlib import Path

from d2eval.report.hpatches_table import hpatches_table
from d2eval.report.tables import write_table

TABLES = {"hpatches": hpatches_table}
EXAMPLES = """examples:
  python -m d2eval tables hpatches
  python -m d2eval tables hpatches --runs results/runs --output results/tables
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=list(TABLES), help="whose table")
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="folder of measured runs (default: results/runs, if it is there)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("results/tables"),
        help="folder for BENCHMARK.csv and BENCHMARK.md",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the table and prints it."""
    table = TABLES[args.benchmark](args.runs)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    paths = write_table(table, args.output)
    print(table.markdown)
    for path in paths:
        print(f"wrote {path}")
    return 0
