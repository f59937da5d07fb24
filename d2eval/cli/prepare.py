"""Prepares a dataset for training, scene by scene.

Scenes that are done are kept, so the same command goes on where it was cut off.
"""

import argparse

from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

EXAMPLES = """examples:
  python -m d2eval prepare megadepth MEGADEPTH --output SCENES
  python -m d2eval prepare megadepth MEGADEPTH --output SCENES --scenes 0000 0016
  python -m d2eval train --data megadepth:SCENES --output RUN --device cuda

what MEGADEPTH holds, for each scene:
  Undistorted_SfM/<scene>/images and sparse-txt or sparse   by COLMAP's image_undistorter with
                                                            --max_image_size the largest side of the
                                                            scene's depth maps
  MegaDepth_v1/<scene>/dense0/depths                        depth maps (.h5) as distributed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    from d2eval.contracts.registry import PREPARERS, registered

    parser.epilog = EXAMPLES
    parser.add_argument("dataset", metavar="DATASET", help=", ".join(registered(PREPARERS)))
    parser.add_argument("data", type=expanded, metavar="FOLDER", help="the dataset's folder")
    parser.add_argument(
        "--output", required=True, type=expanded, metavar="SCENES",
        help="folder for what is prepared, a file for each scene",
    )  # fmt: skip
    parser.add_argument(
        "--scenes", nargs="+", default=[], metavar="NAME",
        help="only these scenes (default: all that are there)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prepares."""
    from d2eval.contracts.preparation import preparer_class

    preparer = preparer_class(args.dataset)()
    say(*preparer.prepare(args.data, args.output, args.scenes))
    return 0
