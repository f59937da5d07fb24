"""Writes a run to one file for somebody else: rows, manifest, protocol, poses; no images.

The file names the SHA-256 of everything in it. 'd2eval import' takes it in, and its tables are the
same to the byte. The manifest says what the command was, and so names folders of this machine.
"""

import argparse
from pathlib import Path

from d2eval.cli.common import add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval export d2_ms --benchmark hpatches -o d2_ms.zip
  python -m d2eval export shipped/d2_ms_direct -o direct.zip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "name", metavar="RUN", help="a run below --runs, by its folder's name or path, or a method"
    )
    parser.add_argument("-o", "--output", type=expanded, metavar="FILE", help="default: RUN.zip")
    parser.add_argument(
        "--benchmark",
        choices=list(registered(BENCHMARKS)),
        help="of the run (default: the one that has a run of this name)",
    )
    add_runs_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the archive."""
    from d2eval.comparison.choice import choose_anywhere
    from d2eval.runs.archive import PROTOCOL, pack

    place = choose_anywhere(args.name, args.benchmark, args.runs).place
    path = args.output or Path(f"{place.path.name}.zip")
    names = pack(place.path, place.path.name, path)
    if PROTOCOL not in names:
        note(f"{place.path}: its protocol has other numbers than this d2eval's, and is left out")
    say(f"wrote {path}: {', '.join(names)}")
    return 0
