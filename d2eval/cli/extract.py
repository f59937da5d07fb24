"""Writes a method's features as files that outside tools read.

npz, mat: DIR/<path of the image below the root><extension>, as the D2-Net authors' extractor.
          Keypoints count from where the method's own files do: from the centre of the top-left
          pixel, or, as COLMAP's SIFT, from its corner (the file then has pixel_center = 0.5).
h5:       DIR/<label>.h5, as hloc reads it: always from the centre, since hloc adds the half pixel
          that COLMAP needs itself.
--method precomputed:DIR scores all of them, with the numbers of the method itself.
Extractions are kept in the cache: the same command goes on where it stopped, and another format or
an evaluation does not repeat them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.cli.common import label_argument, method_choice
from d2eval.cli.runtime import (
    add_fresh_argument,
    add_method_arguments,
    add_scheduler_argument,
    runtime_of,
)
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

if TYPE_CHECKING:
    from d2eval.contracts.features import Features
    from d2eval.pipeline.extraction import FeatureSource

TAKES_METHOD = True
EXAMPLES = """examples:
  python -m d2eval extract --method d2_ss hpatches-sequences-release --output features/d2
  python -m d2eval hpatches --method precomputed:features/d2 --data hpatches-sequences-release
  python -m d2eval extract --method d2_ms a.jpg b.jpg --extension .d2-net --output features/mine
  python -m d2eval extract --method d2_ss @images.txt --root images --format h5 --output hloc
  python -m d2eval extract --method d2_ss images --output features/d2 --scheduler local:4
  python -m d2eval extract --method precomputed:features/d2 images --format mat --output mats
  python -m d2eval aachen --method precomputed:hloc/d2_ss.h5 --data AACHEN
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="image files, folders to search for images, or @FILE with one of these on each line",
    )
    add_fresh_argument(parser)
    add_method_arguments(parser)
    add_scheduler_argument(parser)
    parser.add_argument("--format", choices=("npz", "mat", "h5"), default="npz", help="the layout")
    parser.add_argument(
        "--output", type=expanded, required=True, metavar="DIR", help="written here"
    )
    parser.add_argument(
        "--root",
        type=expanded,
        metavar="DIR",
        help="images are named by their path below it (default: the folder that IMAGES have in "
        "common)",
    )
    # precomputed:DIR has an option --extension too, for what it reads. It takes that name over, and
    # the longer one remains for what is written.
    parser.conflict_handler = "resolve"
    parser.add_argument(
        "--output-extension",
        "--extension",
        metavar=".EXT",
        help="of npz and mat files, after the image's file name (default: .<label>)",
    )
    parser.add_argument(
        "--name",
        type=label_argument,
        metavar="LABEL",
        help="label of the features (default: the method's name)",
    )


def run(args: argparse.Namespace) -> int:
    """Extracts and writes, then says how many and where."""
    from d2eval.foundation.errors import D2EvalError
    from d2eval.pipeline.export import check_extension, find_images, write_feature_files, write_hdf5
    from d2eval.pipeline.job import FeaturesJob, extract_on_workers
    from d2eval.scheduling.choice import open_workers

    if args.format == "h5" and args.output_extension:
        raise D2EvalError("--extension names npz and mat files; --name names the h5 file")
    images = find_images(args.images, args.root)
    choice, runtime = method_choice(args), runtime_of(args)
    source = choice.open(runtime, args.name)
    extension = check_extension(args.output_extension or source.label)
    say(source.headline())
    with open_workers(args.scheduler, args.threads) as workers:
        if workers is not None:
            job = FeaturesJob(choice, runtime, args.workers)
            extract_on_workers(workers, job, source, images.values())
    items = _features(source, images, args.workers)
    if args.format == "h5":
        where = args.output / f"{source.label}.h5"
        total = write_hdf5(items, where)
    else:
        where = args.output / f"*{extension}"
        total = write_feature_files(items, args.output, extension, args.format)
    say(
        f"{total} features of {len(images)} images ({source.extracted} extracted now): {where} "
        f"({args.format})"
    )
    return 0


def _features(
    source: "FeatureSource", images: dict[str, Path], workers: int
) -> "Iterator[tuple[str, Features]]":
    from d2eval.foundation.terminal.progress import progress
    from d2eval.pipeline.extraction import features_of_images

    items = [(path, name) for name, path in images.items()]
    found = features_of_images(source, items, workers)
    what = f"{source.label}: features"
    for name, (_, unit) in progress(zip(images, found, strict=True), what, len(images)):
        yield name, unit.features
