"""Measures a method's extraction, or the matcher, on this machine.

Writes speed.csv and speed.md, beside what was measured there before: seconds, features per second,
operations per second beside the machine's measured matrix-product peak, the share of the time
outside the network, peak memory.
"""

import argparse

from d2eval.cli.common import (
    add_folder_argument,
    image_size,
    joined_numbers,
    method_choice,
    method_options,
    named_method,
    positive,
)
from d2eval.cli.matchers import add_matcher_argument, matcher_choice
from d2eval.cli.runtime import add_method_arguments, runtime_of
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say, say_lines

TAKES_METHOD = True
EXAMPLES = """examples:
  python -m d2eval speed --method d2_ss
  python -m d2eval speed --method d2_ms --size 800x640 --size 1600x1200 --repeats 3
  python -m d2eval speed --method d2_ss --matching 20000x20000x512 --matcher dual_softmax
"""


def _descriptors(text: str) -> tuple[int, ...]:
    return joined_numbers(text, 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    add_method_arguments(parser)
    parser.add_argument(
        "--size", type=image_size, action="append", metavar="WxH",
        help="an image size; may be repeated (default: 800x640)",
    )  # fmt: skip
    parser.add_argument(
        "--matching", type=_descriptors, action="append", metavar="N1xN2xD",
        help="measure the matcher on random descriptors too; may be repeated",
    )  # fmt: skip
    add_matcher_argument(parser, "mnn")
    parser.add_argument(
        "--image", type=expanded, help="photo to resize (default: one of the sample)"
    )
    parser.add_argument("--repeats", type=positive, default=3, help="the median of these counts")
    add_folder_argument(parser, "results/speed", "folder for speed.csv and speed.md")


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes."""
    from dataclasses import asdict, replace

    import cv2
    import numpy as np

    from d2eval.contracts.matcher import MatcherChoice
    from d2eval.evaluation.naming import matcher_parts, method_parts, run_name
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.files.atomic import exclusive
    from d2eval.foundation.images.decoding import read_image
    from d2eval.foundation.terminal.progress import Progress
    from d2eval.pipeline.speed import matching_speed, method_speed
    from d2eval.report.speed import speed_table, with_earlier
    from d2eval.report.tables import write_table
    from d2eval.sample.photos import load_photo

    named_method(args)
    default = MatcherChoice("mnn")
    matcher = matcher_choice(args) or default
    if args.matcher and not args.matching:
        raise D2EvalError("--matcher is measured at --matching N1xN2xD; give both or none")
    written = args.output / "speed.csv"
    with_earlier(written, [])  # what can't be read is told before anything is measured
    photo = read_image(args.image) if args.image else load_photo("astronaut").decode()
    runtime = runtime_of(args)
    options = method_options(args)
    label = run_name(None, method_parts(method_choice(args))).label
    rows = []
    for size in args.size or [(800, 640)]:
        image = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        with Progress(f"measuring {args.method} at {size[0]}x{size[1]}"):
            speed = method_speed(args.method, options, runtime, image, args.repeats)
        rows.append(replace(speed, what=label))
    for numbers in args.matching or []:
        with Progress(f"measuring the matcher at {'x'.join(map(str, numbers))}"):
            speed = matching_speed(numbers, matcher, runtime, args.repeats)
        words = ["matching", *matcher_parts(matcher, default)]
        rows.append(replace(speed, what="-".join(words)))
    measured = [asdict(row) for row in rows]
    say_lines(speed_table(measured).markdown)
    with exclusive(args.output):
        table = speed_table(with_earlier(written, measured))
        paths = write_table(table, args.output)
    for path in paths:
        say(f"wrote {path}")
    return 0
