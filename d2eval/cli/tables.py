"""Regenerates a table of the paper, measured numbers beside published ones.

A number stands beside its 95 % interval where that is known. --columns, --methods and --sort show a
part of it; LaTeX has the best number of a column bold and the second underlined.

Works from result files alone: the published numbers, the runs that an evaluation has written, and
those that ship with d2eval ("shipped/..."). Each row says how complete its dataset was and which
weights it used. Aachen's table has a section for each epoch of the ground truth, protocol and set
of queries; InLoc's for each protocol and floor.
"""

import argparse

from d2eval.cli.common import add_folder_argument, add_runs_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import note, say, say_lines

EXAMPLES = """examples:
  python -m d2eval tables hpatches
  python -m d2eval tables hpatches --runs results/runs       # yours alone
  python -m d2eval tables hpatches --runs shipped            # d2eval's own alone
  python -m d2eval tables aachen
  python -m d2eval tables inloc
  python -m d2eval tables hpatches --format latex --columns mma_published,mma_measured
  python -m d2eval tables hpatches --columns matching_score,repeatability,h_auc --sort h_auc:2
  python -m d2eval tables aachen --methods d2_ms,d2_ss,'SuperPoint' --sort measured:3
"""
FORMATS = {"csv": "csv", "md": "md", "latex": "tex"}  # -> their files' endings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=list(registered(BENCHMARKS)), help="whose table")
    add_runs_argument(parser)
    add_folder_argument(parser, "results/tables", "folder for BENCHMARK.csv, .md and .tex")
    parser.add_argument(
        "--format",
        type=_formats,
        default=("csv", "md"),
        metavar="F,F",
        help=f"which of {', '.join(FORMATS)} to write (default: csv,md)",
    )
    parser.add_argument(
        "--columns",
        type=_names,
        default=(),
        metavar="C,C",
        help="of Markdown and LaTeX, in this order; '?' lists them (the CSV keeps all)",
    )
    parser.add_argument(
        "--methods", type=_names, default=(), metavar="M,M",
        help="only rows of these methods, names or runs",
    )  # fmt: skip
    parser.add_argument(
        "--sort",
        default="",
        metavar="COLUMN[:N]",
        help="by a column, within each section, largest first; by the Nth number of its cells",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _formats(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not names or not {*names} <= FORMATS.keys():
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(FORMATS)}, not {text!r}")
    return names


def run(args: argparse.Namespace) -> int:
    """Writes the table and prints it."""
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.report.latex import latex_tables
    from d2eval.report.selection import Selection, select
    from d2eval.report.tables import write_texts

    whole = benchmark_class(args.benchmark)().table(args.runs)
    table = select(whole, Selection(args.columns, args.methods, args.sort))
    for line in table.notes:
        note(line)
    texts = {"csv": table.csv, "md": table.markdown}
    if table.content and "latex" in args.format:
        texts["tex"] = latex_tables(table.name, table.content)
    wanted = [FORMATS[name] for name in args.format]
    paths = write_texts(table.name, {own: texts[own] for own in wanted}, args.output)
    say_lines(table.markdown)
    for path in paths:
        say(f"wrote {path}")
    return 0
