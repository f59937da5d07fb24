"""Takes in a run that 'd2eval export' wrote, to stand in tables and comparisons beside one's own.

It goes to OUTPUT/BENCHMARK/RUN/; --by puts a name before, so that runs of several people stand in
one table. A file that is damaged, changed or no archive of a run leaves nothing.
"""

import argparse

from d2eval.cli.common import add_folder_argument, label_argument
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval import d2_ms.zip
  python -m d2eval import theirs.zip --by ann       # its rows are called ann-d2_ms
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("file", type=expanded, metavar="FILE", help="an archive")
    parser.add_argument(
        "--by", type=label_argument, metavar="NAME", help="whose it is; begins the run's name"
    )
    add_folder_argument(parser, "results/runs", "the folder of runs")


def run(args: argparse.Namespace) -> int:
    """Checks and writes the run."""
    from d2eval.evaluation.importing import import_run

    folder, notes = import_run(args.file, args.output, args.by)
    for line in notes:
        note(line)
    say(f"wrote {folder}")
    return 0
