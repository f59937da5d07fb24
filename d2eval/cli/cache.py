"""Says what the cache folder holds, by kind and method, and removes what no run names.

Features and matches of methods, options, weights or code that none of the runs in RUNS was made
with are of no more use to them. Without --yes it only says what would go. Weights, samples and what
doesn't say whose it is stay, and so does what changed within the last hour or is being written.
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from d2eval.cli.common import add_cache_argument
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval cache
  python -m d2eval cache --remove-unused results/runs
  python -m d2eval cache --remove-unused results/runs other/runs --yes
"""
_MEGA = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    add_cache_argument(parser)
    parser.add_argument(
        "--remove-unused", type=expanded, nargs="+", metavar="RUNS",
        help="say what of the cache no run in these folders names",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="remove it")


def run(args: argparse.Namespace) -> int:
    """Prints sizes; with --remove-unused, what is no more of use."""
    from d2eval.pipeline.cached import parts_of, remove, sizes, unused

    if args.yes and not args.remove_unused:
        raise D2EvalError("--yes goes with --remove-unused RUNS")
    parts = parts_of(args.cache)
    if not args.remove_unused:
        _print_sizes(sizes(parts))
        return 0
    with contextlib.ExitStack() as held:
        quiet, busy = unused(parts, _keys_of_runs(args.remove_unused, held))
        if busy:
            note(f"{len(busy)} folders that no run names are in use, and stay")
        _print_sizes(sizes(quiet))
        if args.yes:
            remove(quiet)
        say("removed" if args.yes else "nothing was removed; --yes removes these")
    return 0


def _keys_of_runs(folders: Sequence[Path], held: contextlib.ExitStack) -> set[str]:
    """What the runs below folders name; none of them is written before ``held`` ends."""
    from d2eval.foundation.files.atomic import LOCK, exclusive, is_lock
    from d2eval.pipeline.cached import keys_of
    from d2eval.runs.manifest import FILE, read_manifest

    keys: set[str] = set()
    locks = {own.parent.resolve() / LOCK for folder in folders for own in folder.rglob(LOCK)}
    for lock in sorted(filter(is_lock, locks)):  # other programs have such files, too
        held.enter_context(exclusive(lock.parent))
    for folder in folders:
        manifests = sorted(folder.rglob(FILE))
        if not manifests:
            raise D2EvalError(f"{folder}: holds no run ({FILE}); give a folder of runs")
        for path in manifests:
            try:
                keys |= keys_of(read_manifest(path.parent))
            except ValueError as error:
                raise D2EvalError(f"{path}: {error}; remove the run, or run it again") from error
    return keys


def _print_sizes(sizes: dict[tuple[str, str], int]) -> None:
    widths = [max((len(own[k]) for own in sizes), default=0) for k in (0, 1)]
    for (kind, of), size in sizes.items():
        say(f"{kind:{widths[0]}}  {of:{widths[1]}}  {size / _MEGA:10.1f} MB")
    say(f"{'all':{widths[0]}}  {'':{widths[1]}}  {sum(sizes.values()) / _MEGA:10.1f} MB")
