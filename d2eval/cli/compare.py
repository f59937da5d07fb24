"""Says whether runs differ: paired differences with intervals, on the pairs or queries they share.

Each RUN is a run's folder or a method below --runs; all are compared with the first. HPatches and
other image pairs: a bootstrap over sequences; Aachen and InLoc: McNemar's test of the queries that
only one of two localizes. Where the data don't show a difference, it says so. Writes a CSV and
Markdown.
"""

import argparse

from d2eval.cli.common import add_folder_argument, add_runs_argument, not_negative
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import note, say, say_lines

EXAMPLES = """examples:
  python -m d2eval compare d2_ss d2_ms                       # wherever both were measured
  python -m d2eval compare d2_ms d2_ss rootsift --benchmark hpatches --runs shipped
  python -m d2eval compare d2_ms_direct d2_ms_sparse --benchmark inloc
  python -m d2eval compare d2_ms d2_ms_trained --benchmark aachen --seeds   # paired by seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "names",
        nargs="+",
        metavar="RUN",
        help="a run below --runs, by its folder's name or path, or a method",
    )
    parser.add_argument(
        "--benchmark",
        choices=list(registered(BENCHMARKS)),
        help="of the runs (default: each that has runs of all these names)",
    )
    parser.add_argument(
        "--seeds",
        action="store_true",
        help="take the runs of each RUN with other seeds, too: mean and spread, paired by seed",
    )
    parser.add_argument(
        "--largest", type=not_negative, default=5, metavar="N",
        help="how many of the sequences or queries that differ most are listed (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="of the bootstrap's draws (default: 0)"
    )
    add_runs_argument(parser)
    add_folder_argument(parser, "results/comparisons", "folder for the CSV and Markdown")


def run(args: argparse.Namespace) -> int:
    """Writes the comparisons and prints them."""
    from d2eval.comparison.choice import compare_runs
    from d2eval.comparison.table import comparison_table
    from d2eval.report.tables import write_table

    found, notes = compare_runs(
        args.names, args.benchmark, args.runs, seeds=args.seeds, seed=args.seed
    )
    for line in notes:
        note(line)
    for benchmark, comparisons in found.items():
        table = comparison_table(benchmark, comparisons, args.largest)
        paths = write_table(table, args.output)
        say_lines(table.markdown)
        for path in paths:
            say(f"wrote {path}")
    return 0
