"""Draws what runs found of single pairs or queries, from stored rows, features and matches.

A pair of images: both beside each other, each match in the colour of its error. A query of Aachen:
its matches with its best database images. A query of InLoc: it beside the views rendered from its
best poses (of runs with --dense-pv), else its matches with its best cutouts. Nothing is computed
again: where features or matches are no longer stored, it says which command makes them. Several
runs stand in one picture, below each other.
"""

import argparse

from d2eval.cli.common import add_cache_argument, add_folder_argument, add_runs_argument, positive
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

EXAMPLES = """examples:
  python -m d2eval view hpatches --run d2_ms --pair v_bird/1-5
  python -m d2eval view hpatches --run d2_ms --worst 3 --format pdf
  python -m d2eval view hpatches --differing d2_ms rootsift --largest 2
  python -m d2eval view aachen --run d2_ms --query IMG_20161227_192316.jpg
  python -m d2eval view inloc --run dense_pv --worst 1
"""
KINDS = ("png", "svg", "pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=list(registered(BENCHMARKS)), help="whose runs")
    runs = parser.add_mutually_exclusive_group(required=True)
    runs.add_argument(
        "--run", dest="names", action="append", metavar="RUN",
        help="a run below --runs, by its folder's name or path, or a method;"
        " repeated, runs stand below each other",
    )  # fmt: skip
    runs.add_argument(
        "--differing", nargs=2, metavar=("A", "B"),
        help="two runs; without names, of the pairs or queries in which they differ most",
    )  # fmt: skip
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--pair", "--query", dest="items", action="append", metavar="NAME",
        help="such as v_bird/1-5, or an image's name; may be repeated",
    )  # fmt: skip
    for name in ("worst", "best"):
        chosen.add_argument(
            f"--{name}", type=positive, metavar="N",
            help=f"the N {name} of the first run: by MMA at 3 px, or by the position error",
        )  # fmt: skip
    parser.add_argument(
        "--largest", type=positive, default=5, metavar="N",
        help="how many pairs or queries --differing takes (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--lines", type=positive, default=200, metavar="N",
        help="most matches that have a line; all have dots",
    )  # fmt: skip
    parser.add_argument(
        "--format", type=_formats, default=("png",), metavar="F,F",
        help=f"which of {', '.join(KINDS)} to write (default: png)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=expanded, metavar="DIR",
        help="the dataset's folder (default: where the run found it)",
    )  # fmt: skip
    add_runs_argument(parser)
    add_cache_argument(parser)
    add_folder_argument(parser, "results/views", "folder for BENCHMARK/RUN/NAME.png")


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    if not names or not {*names} <= {*KINDS}:
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(KINDS)}, not {text!r}")
    return names


def run(args: argparse.Namespace) -> int:
    """Draws the pictures."""
    from d2eval.comparison.choice import choose, finished_runs
    from d2eval.comparison.items import differing_items, extreme_items, named_items
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.text.labels import make_label
    from d2eval.report.figures import Sources, write_figure

    benchmark = benchmark_class(args.benchmark)()
    known = finished_runs(args.runs, benchmark.name)
    runs = [choose(name, known).place for name in args.names or args.differing]
    if args.items:
        items = named_items(benchmark, runs[0], args.items)
    elif args.worst or args.best:
        count = args.worst or args.best
        items = extreme_items(benchmark, runs[0], count, worst=bool(args.worst))
    elif args.differing:
        items = differing_items(benchmark, runs[0], runs[1], args.largest)
    else:
        raise D2EvalError("name a --pair or --query, or say --worst N or --best N")
    folder = args.output / benchmark.name / make_label("-".join(run.label for run in runs))
    sources = Sources(args.cache, args.data, args.lines)
    for item in items:
        for path in write_figure(benchmark.view(runs, item, sources), folder, item, args.format):
            say(f"wrote {path}")
    return 0
