"""Draws the paper's curves, with measured ones on top of the published ones, and pictures.

Works from result files alone. Runs on the embedded sample get a figure of their own without
published curves. 'aachen' draws recall over the position error, and each run seen from above;
'inloc' draws recall. `d2eval view` draws single pairs and queries.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from d2eval.cli.common import add_folder_argument, add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import note, say

COST = "cost"
MMA = "hpatches"  # whose figure is the one of mean matching accuracy
EXAMPLES = """examples:
  python -m d2eval plot mma
  python -m d2eval plot mma --runs results/runs --no-published     # your runs alone
  python -m d2eval plot mma --sample
  python -m d2eval plot aachen
  python -m d2eval plot aachen --run d2_ms
  python -m d2eval plot inloc
  python -m d2eval plot cost
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "figure",
        choices=["mma", *(name for name in registered(BENCHMARKS) if name != MMA), COST],
        help="mma: mean matching accuracy on HPatches over thresholds; aachen, inloc: recall over "
        "the position error, and pictures of the runs; cost: seconds, memory and descriptors "
        "against accuracy, of each benchmark",
    )
    add_runs_argument(parser)
    add_folder_argument(
        parser,
        "results/plots",
        "folder for mma.png and mma.svg; aachen's go to DIR/aachen, inloc's to DIR/inloc",
    )
    parser.add_argument("--no-published", action="store_true", help="leave out the paper's curves")
    parser.add_argument(
        "--sample", action="store_true", help="draw the runs on the embedded sample only"
    )
    parser.add_argument(
        "--run", dest="label", metavar="LABEL", help="aachen, inloc: draw this run only"
    )


def run(args: argparse.Namespace) -> int:
    """Draws the figure."""
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.foundation.errors import D2EvalError
    from d2eval.report.figures import Choice

    if args.figure == COST:
        from d2eval.leaderboard.cost_figure import plot_costs

        if args.label or args.sample:
            raise D2EvalError("--run and --sample go with other figures; leave them out")
        return _said(*plot_costs(args.runs, args.output))
    benchmark = benchmark_class(MMA if args.figure == "mma" else args.figure)()
    choice = Choice(args.label, not args.no_published, args.sample)
    return _said(*benchmark.figures(args.runs, args.output, choice))


def _said(paths: Sequence[Path], notes: Sequence[str]) -> int:
    for line in notes:
        note(line)
    for path in paths:
        say(f"wrote {path}")
    return 0
