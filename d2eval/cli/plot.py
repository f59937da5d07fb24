"""Draws the paper's curves, with measured ones on top of the published ones.

Works from result files alone. Runs on the embedded sample get a figure of their own without
published curves.
"""

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python -m d2eval plot mma
  python -m d2eval plot mma --runs results/runs --no-published
  python -m d2eval plot mma --sample
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "figure", choices=["mma"], help="mma: mean matching accuracy on HPatches over thresholds"
    )
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
        default=Path("results/plots"),
        help="folder for FIGURE.png and FIGURE.svg",
    )
    parser.add_argument("--no-published", action="store_true", help="leave out the paper's curves")
    parser.add_argument(
        "--sample", action="store_true", help="draw the runs on the embedded sample only"
    )


def run(args: argparse.Namespace) -> int:
    """Draws the figure."""
    from d2eval.report.curves import plot_mma

    paths, notes = plot_mma(
        args.runs, args.output, published=not args.no_published, sample_only=args.sample
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for path in paths:
        print(f"wrote {path}")
    return 0
