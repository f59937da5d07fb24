"""Downloads the weights of a group into <cache>/weights/GROUP.

The SHA-256 of the first download is recorded there and verified from then on, and so is where it
came from: what only a mirror gave is called unverified until the authors' address gives the same. A
download that was interrupted goes on from where it stopped when the same command runs again.

Examples:
  python -m d2eval fetch d2net
  python -m d2eval fetch d2net d2_tf.pth --cache /data/d2eval
  python -m d2eval fetch d2net --base-url https://mirror.example.org/d2-net/
"""

import argparse
import functools
from pathlib import Path
from urllib.parse import quote

from d2eval.cli.common import add_cache_argument
from d2eval.contracts.weightgroups import WeightsGroup, weights_groups
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.downloads.download import fetch_file
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``d2eval fetch``."""
    known = "; ".join(f"{name}: {group.description}" for name, group in weights_groups().items())
    parser.add_argument("group", metavar="GROUP", help=f"which weights; {known}")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="only these files of the group (default: all)"
    )
    add_cache_argument(parser)
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="download from a mirror (default: where the authors publish them)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="download again what is already there; still verified against the record",
    )
    parser.add_argument(
        "--largest-mib",
        type=int,
        metavar="MIB",
        help="the most that a file may have (default: the group's own, see methods/downloads.toml)",
    )


def _chosen(name: str, wanted: list[str]) -> tuple[WeightsGroup, list[str]]:
    """The group and those of its files that are wanted, all by default."""
    groups = weights_groups()
    if name not in groups:
        raise D2EvalError(f"unknown group {name!r}; known: {', '.join(groups)}")
    known = groups[name].files
    for file in wanted:
        if file not in known:
            raise D2EvalError(f"{name} has no file {file!r}; it has {', '.join(known)}")
    return groups[name], wanted or list(known)


def run(args: argparse.Namespace) -> int:
    """Downloads and prints a line for each file."""
    group, names = _chosen(args.group, args.files)
    base_url = (args.base_url or group.base_url).rstrip("/")
    for name in names:
        fetched = fetch_file(
            f"{base_url}/{quote(name)}",
            group.folder(args.cache),
            name,
            functools.partial(load_state_dict, suffix=Path(name).suffix),
            force=args.force,
            largest=(args.largest_mib or group.largest_mib) * 2**20,
            published=group.sha256.get(name),
        )
        doubt = group.doubt(args.cache, name, fetched.sha256)
        state = fetched.state if doubt is None else f"{fetched.state}; {doubt}"
        say(f"{name}: {fetched.size:,} bytes, sha256 {fetched.sha256}, {state}")
    return 0
