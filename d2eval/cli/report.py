"""Writes one page of results that opens from disk, and beside it results.json.

Tables that sort and filter, curves, two runs pair by pair, sequences and pairs, cost against
accuracy, failures, and each number's manifest, protocol and command; no network. The worst and best
pairs and queries of each run have the picture that 'd2eval view' draws, where images and features
are at hand, as far as the page has room; the others say why they have none. With --from the page
shows what other people's results.json hold, each under its name, and your own runs only if --runs
is given, too.
"""

import argparse
from pathlib import Path

from d2eval.cli.common import add_cache_argument, add_runs_argument, not_negative, positive_real
from d2eval.cli.datasets import add_datasets_argument, datasets_of
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval report                                    # all runs that are there
  python -m d2eval report --runs results/runs --name "our group" --output ours/report.html
  python -m d2eval report --runs results/runs --data hpatches=HPATCHES aachen=AACHEN
  python -m d2eval report --pictures 5 --pictures-first d2_ms d2_ms_trained
  python -m d2eval report --from ours/results.json theirs/results.json --output all/report.html
"""
MEGA = 1e6
FRAME = 80_000  # bytes of a page without results, and more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.epilog = EXAMPLES
    add_runs_argument(parser)
    parser.add_argument(
        "--from", nargs="+", action="extend", type=expanded, default=[], metavar="FILE",
        dest="files", help="results.json of other reports, to make one page of",
    )  # fmt: skip
    parser.add_argument(
        "--name", default="measured here", help="whose runs these are (default: measured here)"
    )
    parser.add_argument(
        "--pictures", type=not_negative, default=2, metavar="N",
        help="how many of the worst, and of the best, pairs and queries of each run have a picture "
        "(default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--pictures-first", nargs="+", action="extend", default=[], metavar="RUN",
        help="runs that have theirs where there is no room for all",
    )  # fmt: skip
    parser.add_argument(
        "--largest-mb", type=positive_real, default=3.0, metavar="MB",
        help="pictures may fill the page up to this size (default: 3)",
    )  # fmt: skip
    add_datasets_argument(parser, "the datasets' folders, where runs found them elsewhere")
    add_cache_argument(parser)
    parser.add_argument(
        "--output", type=expanded, default=Path("results/report/report.html"), metavar="FILE.html",
        help="the page; results.json is written beside it (default: results/report/report.html)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Writes the page and the results."""
    from d2eval.foundation.files.atomic import write_text
    from d2eval.leaderboard.collect import collect
    from d2eval.leaderboard.pictures import Album
    from d2eval.report.page.html import page_html
    from d2eval.report.page.results import FILE, read_results, results_text, together

    if args.output.suffix.lower() not in (".html", ".htm"):
        raise D2EvalError(f"--output {args.output}: must end with .html")
    beside = args.output.parent / FILE
    for path in args.files:
        if path.resolve() == beside.resolve():
            raise D2EvalError(f"--from {path}: would be written over; choose another --output")
    reports = [report for path in args.files for report in read_results(path)]
    if args.runs or not args.files:
        album = Album(args.pictures, args.cache, datasets_of(args), args.pictures_first)
        largest = round(args.largest_mb * MEGA) - FRAME - len(results_text(reports))
        reports.append(collect(args.name, args.runs, note, album, largest))
    reports = together(reports)
    page = page_html(reports)
    write_text(beside, results_text(reports))
    write_text(args.output, page)
    size = len(page.encode())
    if size > args.largest_mb * MEGA:
        note(f"{args.output}: {size / MEGA:.1f} MB; with fewer --runs it would open faster")
    say(f"wrote {args.output} ({size / MEGA:.1f} MB)")
    say(f"wrote {beside}")
    return 0
