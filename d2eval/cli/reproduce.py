"""Measures every row of the paper's tables that can be, then makes tables, figures and the page.

A row whose weights or data lack is left out, with the command that gets them. Finished work is
kept: the same command goes on where it was interrupted.
"""

import argparse
import shlex

from d2eval.cli.again import run_command
from d2eval.cli.common import add_cache_argument, add_folder_argument
from d2eval.cli.datasets import add_datasets_argument, datasets_of
from d2eval.cli.plot import MMA
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import complain, note, say

ALL = "all"
EXAMPLES = """examples:
  python -m d2eval reproduce hpatches --data hpatches=hpatches-sequences-release
  python -m d2eval reproduce all --data hpatches=HPATCHES aachen=AACHEN inloc=INLOC --device cuda
  python -m d2eval reproduce all --dry-run           # what would run, what lacks
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=[*registered(BENCHMARKS), ALL], help="whose table")
    add_datasets_argument(parser, "the datasets' folders, by benchmark")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would run, and what lacks"
    )
    parser.add_argument("--device", default="cpu", help="torch device, e.g. cpu, cuda, cuda:1")
    add_cache_argument(parser)
    add_folder_argument(
        parser, "results/reproduction", "folder for runs, tables, plots, report.html"
    )


def run(args: argparse.Namespace) -> int:
    """Measures what can be measured; 2 if some of it failed."""
    from d2eval.contracts.method import Runtime
    from d2eval.evaluation.reproduction import paper_rows
    from d2eval.foundation.errors import D2EvalError

    data = datasets_of(args)
    chosen = list(registered(BENCHMARKS)) if args.benchmark == ALL else [args.benchmark]
    runtime = Runtime(cache=args.cache)
    rows = [row for own in chosen for row in paper_rows(own, data.get(own), runtime)]
    for row in rows:
        line = f"{row.words[0]}: {row.name}: "
        if row.lacks:
            note(f"{line}lacks {row.lacks}")
        elif args.dry_run:
            weights = f" ({row.weights})" if row.weights else ""
            say(f"{line}d2eval {shlex.join(row.words)}{weights}")
    if not rows:
        raise D2EvalError(f"{args.benchmark}: has no rows of a paper")
    ready = [row for row in rows if not row.lacks]
    if args.dry_run:
        return 0
    if not ready:
        raise D2EvalError("nothing can be measured; see what lacks above")
    runs, places = str(args.output / "runs"), ["--cache", str(args.cache)]
    failed = []
    for row in ready:
        words = [*row.words, "--output", runs, "--device", args.device, *places]
        if run_command(words):
            failed.append(row)
    output, after = args.output, []
    for own in dict.fromkeys(row.words[0] for row in ready if row not in failed):
        after.append(["tables", own, "--output", str(output / "tables")])
        figure = "mma" if own == MMA else own
        after.append(["plot", figure, "--output", str(output / "plots")])
    if after:
        after.append(["report", "--output", str(output / "report.html")])
    for words in after:
        if run_command([*words, "--runs", runs]):
            complain(f"d2eval {shlex.join(words)} failed")
            return 2
    for row in failed:
        complain(f"{row.words[0]}: {row.name} failed; the same command goes on from there")
    return 2 if failed else 0
