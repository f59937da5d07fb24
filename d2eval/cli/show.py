"""Draws a method's keypoints on an image: radius by scale, colour by score.

Beside them stands the method's map of detection scores, if it has one (for D2-Net, soft detection).
"""

import argparse
from pathlib import Path

from d2eval.cli.common import method_options, named_method, positive
from d2eval.cli.runtime import add_runtime_arguments, runtime_of
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

TAKES_METHOD = True
METHOD_FIRST = True
DEFAULT_OUTPUT = Path("results/plots/keypoints")
EXAMPLES = """examples:
  python -m d2eval show d2_ms photo.jpg
  python -m d2eval show d2_ss photo.jpg --top-k 500 --output keypoints.png
  python -m d2eval show rootsift photo.jpg --num-features 2000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "method", metavar="METHOD", help="a name that 'd2eval methods' lists, or module:Class"
    )
    parser.add_argument("image", type=expanded, metavar="IMAGE", help="image file")
    parser.add_argument(
        "--output", type=expanded, metavar="FILE",
        help="a .png or .svg file (default: <method>_<folder>_<image>.png in "
        f"{DEFAULT_OUTPUT})",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=positive, default=1000, metavar="N",
        help="draw the keypoints of highest score only; more are hard to tell apart",
    )  # fmt: skip
    add_runtime_arguments(parser, None)


def run(args: argparse.Namespace) -> int:
    """Extracts and draws."""
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.images.decoding import read_image
    from d2eval.pipeline.extraction import MethodSource, features_of_images, open_source
    from d2eval.report.figures import write_figure
    from d2eval.report.keypoints import draw

    output = args.output or _default_output(args.method, args.image)
    kind = output.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise D2EvalError(f"--output {output}: must end with .png or .svg")
    image = read_image(args.image)
    name = named_method(args)
    source = open_source(name, method_options(args), runtime_of(args))
    if not isinstance(source, MethodSource):
        raise AssertionError(name)
    say(source.headline())
    ((_, unit),) = features_of_images(source, [(args.image, args.image.name)], 0)
    title = f"{source.label} on {args.image.absolute().parent.name}/{args.image.name}"
    figure = draw(image, unit.features, args.top_k, source.method.score_map(image), title)
    (path,) = write_figure(figure, output.parent, output.stem, [kind])
    say(f"{len(unit.features)} keypoints; wrote {path}")
    return 0


def _default_output(method: str, image: Path) -> Path:
    from d2eval.foundation.text.labels import make_label
    from d2eval.pipeline.extraction import default_label

    folder = image.absolute().parent.name
    return DEFAULT_OUTPUT / (make_label(f"{default_label(method)}_{folder}_{image.stem}") + ".png")
