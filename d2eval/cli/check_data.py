"""Says what a dataset folder holds and lacks, and whether its files are sound.

For hpatches, every image is decoded. For aachen, every file is read and compared with the others,
and of the images the headers. For inloc, every list is, and of images, depth and scans the headers.

Exit code 0: what is there is sound, also when it is a part of the dataset. 2: something is missing
or broken, and each such thing has its line.
"""

import argparse

from d2eval.cli.common import AACHEN_PROTOCOLS
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
    parser.add_argument("dataset", choices=list(CHECKS), help="which benchmark's layout")
    parser.add_argument("path", type=expanded, metavar="PATH", help="the dataset's folder")
    parser.add_argument(
        "--sequences",
        default="*",
        metavar="PATTERN",
        help="hpatches: only these, e.g. 'v_*' or 'i_leuven,v_bird'",
    )
    parser.add_argument(
        "--protocol",
        default=AACHEN_PROTOCOLS[0],
        choices=AACHEN_PROTOCOLS,
        help="aachen: whose files are looked for (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the report of the dataset's own check."""
    lines, problems = CHECKS[args.dataset](args)
    say(*lines, *(f"problem: {problem}" for problem in problems))
    if not problems:
        say(f"sound: {SOUND[args.dataset]}")
    return 2 if problems else 0


def _hpatches(args: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    from d2eval.hpatches.benchmark import load_benchmark
    from d2eval.hpatches.check import check

    benchmark = load_benchmark()
    found = check(args.path, benchmark, args.sequences)
    splits = ", ".join(f"{count} {split}" for split, count in found.sequences.items())
    lines = [
        f"HPatches in {args.path}: {found.completeness}",
        f"sequences: {sum(found.sequences.values())} ({splits}), {found.images} images, "
        f"{found.pairs} pairs",
    ]
    lacking = [
        f"{count} of {benchmark.complete[split]} {split}"
        for split, count in found.lacking.items()
        if count
    ]
    shown = {
        "lacking": lacking,
        "excluded by the protocol": found.excluded,
        "not sequences, ignored": found.ignored,
        "extra in sequences, ignored": found.extra,
    }
    lines += [f"{what}: {', '.join(names)}" for what, names in shown.items() if names]
    return lines, found.problems


def _aachen(args: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    from d2eval.aachen.benchmark import load_benchmark
    from d2eval.aachen.data.check import check, describe

    benchmark = load_benchmark(args.protocol)
    found = check(args.path, benchmark)
    head = f"{benchmark.name} in {args.path}: {found.completeness}"
    return [head, *describe(found, benchmark)], found.problems


def _inloc(args: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    from d2eval.inloc.benchmark import load_benchmark
    from d2eval.inloc.data.check import check, describe

    benchmark = load_benchmark()
    found = check(args.path, benchmark)
    head = f"{benchmark.name} in {args.path}: {found.completeness}"
    return [head, *describe(found, benchmark)], found.problems


CHECKS = {"hpatches": _hpatches, "aachen": _aachen, "inloc": _inloc}
SOUND = {
    "hpatches": "every file was read",
    "aachen": "the files fit each other, and the images have the sizes of their intrinsics",
    "inloc": "the files fit each other, and the depth has the sizes of the images",
}
