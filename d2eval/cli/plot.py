"""Draws the paper's curves, with measured ones on top of the published ones, and pictures.

Works from result files alone. Runs on the embedded sample get a figure of their own without
published curves. 'aachen' draws recall over the position error, each run seen from above, and with
--query the matches of a query with its best database images (these need the image files). 'inloc'
draws recall, and with --query a query beside the views from its best poses.
"""

import argparse
from pathlib import Path

from d2eval.cli.common import add_runs_argument
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval plot mma
  python -m d2eval plot mma --runs results/runs --no-published     # your runs alone
  python -m d2eval plot mma --sample
  python -m d2eval plot aachen
  python -m d2eval plot aachen --run d2_ms --query all
  python -m d2eval plot aachen --query IMG_20161227_192316.jpg
  python -m d2eval plot inloc
  python -m d2eval plot inloc --run dense_pv --query IMG_0731.JPG
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "figure",
        choices=list(FIGURES),
        help="mma: mean matching accuracy on HPatches over thresholds; aachen, inloc: recall over "
        "the position error, and pictures of the runs",
    )
    add_runs_argument(parser)
    parser.add_argument(
        "--output",
        type=expanded,
        metavar="DIR",
        default=Path("results/plots"),
        help="folder for mma.png and mma.svg; aachen's go to DIR/aachen, inloc's to DIR/inloc",
    )
    parser.add_argument("--no-published", action="store_true", help="leave out the paper's curves")
    parser.add_argument(
        "--sample", action="store_true", help="draw the runs on the embedded sample only"
    )
    parser.add_argument(
        "--run", dest="label", metavar="LABEL", help="aachen, inloc: draw this run only"
    )
    parser.add_argument(
        "--query",
        metavar="NAME",
        help="aachen, inloc: also draw the matches or views of this query image, or of all",
    )


def run(args: argparse.Namespace) -> int:
    """Draws the figure."""
    paths, notes = FIGURES[args.figure](args)
    for line in notes:
        note(line)
    for path in paths:
        say(f"wrote {path}")
    return 0


def _mma(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    from d2eval.hpatches.report.curves import plot_mma

    if args.label or args.query:
        raise D2EvalError(
            "--run and --query go with `d2eval plot aachen` and `plot inloc`; leave them out"
        )
    return plot_mma(
        args.runs, args.output, published=not args.no_published, sample_only=args.sample
    )


def _aachen(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    from d2eval.aachen.report.pictures import plot_aachen
    from d2eval.report.figures import Choice

    choice = Choice(args.label, args.query, not args.no_published, args.sample)
    return plot_aachen(args.runs, args.output / "aachen", choice)


def _inloc(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    from d2eval.inloc.report.pictures import plot_inloc
    from d2eval.report.figures import Choice

    choice = Choice(args.label, args.query, not args.no_published, args.sample)
    return plot_inloc(args.runs, args.output / "inloc", choice)


FIGURES = {"mma": _mma, "aachen": _aachen, "inloc": _inloc}
