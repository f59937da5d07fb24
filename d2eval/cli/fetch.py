"""Downloads the weights of a group into <cache>/weights/GROUP.

The SHA-256 of the first download is recorded there and verified from then on. A download that was
interrupted goes on from where it stopped when the same command runs again.

Examples:
  python -m d2eval fetch d2net
  python -m d2eval fetch d2net d2_tf.pth --cache /data/d2eval
  python -m d2eval fetch d2net --base-url https://mirror.example.org/d2-net/
"""

import argparse
import functools
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from d2eval.cli.common import add_cache_argument
from d2eval.console import say
from d2eval.download import fetch_file
from d2eval.errors import D2EvalError
from d2eval.protocol import load_toml
from d2eval.weights import load_state_dict


def _groups() -> dict[str, Any]:
    return load_toml(Path(str(files("methods") / "downloads.toml")))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``d2eval fetch``."""
    known = "; ".join(f"{name}: {group['description']}" for name, group in _groups().items())
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


def _chosen(group: str, names: list[str]) -> tuple[str, list[str]]:
    """The address of ``group`` and those of its files that ``names`` asks for, all by default."""
    groups = _groups()
    if group not in groups:
        raise D2EvalError(f"unknown group {group!r}; known: {', '.join(groups)}")
    known = groups[group]["files"]
    for name in names:
        if name not in known:
            raise D2EvalError(f"{group} has no file {name!r}; it has {', '.join(known)}")
    return groups[group]["base_url"], names or known


def run(args: argparse.Namespace) -> int:
    """Downloads and prints a line for each file."""
    base_url, names = _chosen(args.group, args.files)
    folder = args.cache / "weights" / args.group
    for name in names:
        fetched = fetch_file(
            f"{(args.base_url or base_url).rstrip('/')}/{quote(name)}",
            folder,
            name,
            functools.partial(load_state_dict, suffix=Path(name).suffix),
            force=args.force,
        )
        say(f"{name}: {fetched.size:,} bytes, sha256 {fetched.sha256}, {fetched.state}")
    return 0
