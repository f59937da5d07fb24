"""Says what a dataset folder holds and lacks, and whether its files are sound.

For hpatches, every image is decoded. For aachen, every file is read and compared with the others,
and of the images the headers. For inloc, every list is, and of images, depth and scans the headers.

Exit code 0: what is there is sound, also when it is a part of the dataset. 2: something is missing
or broken, and each such thing has its line.
"""

import argparse

from d2eval.cli.common import add_options, options_of
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

PRINTS_ONLY = True
EXAMPLES = """examples:
  python -m d2eval check-data hpatches hpatches-sequences-release
  python -m d2eval check-data hpatches hpatches-sequences-release --sequences 'v_*'
  python -m d2eval check-data aachen Aachen-Day-Night
  python -m d2eval check-data aachen Aachen-Day-Night --protocol aachen_v1_1
  python -m d2eval check-data inloc InLoc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument("dataset", choices=list(registered(BENCHMARKS)), help="whose layout")
    parser.add_argument("path", type=expanded, metavar="PATH", help="the dataset's folder")


def add_chosen(parser: argparse.ArgumentParser, dataset: str) -> None:
    """Adds the options of the benchmark that is named."""
    if dataset in registered(BENCHMARKS):
        from d2eval.evaluation.benchmark import benchmark_class

        config = benchmark_class(dataset).Options
        add_options(parser, config, f"benchmark {dataset!r}", f"options of {dataset}")


def run(args: argparse.Namespace) -> int:
    """Prints the report of the dataset's own check."""
    from d2eval.evaluation.benchmark import benchmark_class

    cls = benchmark_class(args.dataset)
    found = cls(options_of(cls.Options, args)).check(args.path)
    say(*found.lines, *(f"problem: {problem}" for problem in found.problems))
    if not found.problems:
        say(f"sound: {found.sound}")
    return 2 if found.problems else 0
