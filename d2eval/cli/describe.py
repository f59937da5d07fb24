"""Describes a method or benchmark: its options, and the architecture of its network.

Prints a table of the layers (size, receptive field, parameters, operations), of the pyramid and of
what is done with the maps, and writes it with a drawing: architecture_<method>.{csv,md,png,svg}.
Weights are not needed.
"""

import argparse
from typing import TYPE_CHECKING, Any

from d2eval.cli.common import add_folder_argument, image_size, method_options, named_method
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.foundation.terminal.console import say, say_lines

if TYPE_CHECKING:
    from d2eval.contracts.architecture import Architecture
    from d2eval.report.tables import Table

TAKES_METHOD = True
METHOD_FIRST = True
METHOD_SIZE = 640, 480  # of an image, where none is said
EXAMPLES = """examples:
  python -m d2eval describe d2_ms
  python -m d2eval describe d2_ss --size 1600x1200 --output figures
  python -m d2eval describe rootsift
  python -m d2eval describe cifar10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "method", metavar="METHOD",
        help="a name that 'd2eval methods' lists, module:Class, or a benchmark with a network",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=image_size, metavar="WxH",
        help="size of the image, for sizes of maps and operations (default: 640x480, or what the "
        "benchmark's images have)",
    )  # fmt: skip
    add_folder_argument(parser, "results/plots", "folder for table and drawing")


def run(args: argparse.Namespace) -> int:
    """Prints and writes."""
    if args.method in registered(BENCHMARKS):
        architecture = _of_benchmark(args)
        _write(args, architecture, _tabulate(args, f"{args.method}: the network", architecture))
        return 0
    from d2eval.contracts.method import method_class
    from d2eval.report.architecture_table import options_grid

    cls = method_class(named_method(args))
    options = method_options(args)
    config = cls.Config(**options)
    title = f"{args.method}: {cls.description}"
    of_method = cls.architecture(config, args.size or METHOD_SIZE)
    if of_method is None:
        say(f"# {title}", "")
    else:
        _check_size(of_method)
        table = _tabulate(args, title, of_method)
    say(f"Descriptors: {cls.descriptor_dim} dimensions.")
    if options:
        say("", "## Options", "")
        say_lines(options_grid(_option_rows(config)))
    if of_method is None:
        say("", "It has no network that it describes, so there is no table and no drawing of it.")
    else:
        _write(args, of_method, table)
    return 0


def _of_benchmark(args: argparse.Namespace) -> "Architecture":
    """The network of a benchmark, on the images that it has.

    Raises:
        D2EvalError: it has none, or another size is asked for.
    """
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.foundation.errors import D2EvalError

    architecture = benchmark_class(args.method)().architecture()
    if architecture is None:
        raise D2EvalError(
            f"describe: {args.method} is a benchmark without a network; name a method"
        )
    if args.size not in (None, architecture.input_size):
        raise D2EvalError(
            f"--size: the network of {args.method} takes images of "
            f"{'x'.join(map(str, architecture.input_size))}; leave it out"
        )
    return architecture


def _tabulate(args: argparse.Namespace, title: str, architecture: "Architecture") -> "Table":
    """Prints the tables."""
    from d2eval.foundation.text.labels import make_label
    from d2eval.pipeline.extraction import default_label
    from d2eval.report.architecture_table import architecture_table

    stem = make_label(f"architecture_{default_label(args.method)}")
    table = architecture_table(stem, title, architecture)
    say_lines(table.markdown)
    return table


def _write(args: argparse.Namespace, architecture: "Architecture", table: "Table") -> None:
    """Writes table and drawing."""
    from d2eval.report.architecture import draw
    from d2eval.report.figures import write_figure
    from d2eval.report.tables import write_table

    drawn = draw(architecture)
    say("")
    for path in (*write_table(table, args.output), *write_figure(drawn, args.output, table.name)):
        say(f"wrote {path}")


def _check_size(architecture: "Architecture") -> None:
    from d2eval.contracts.architecture import trace
    from d2eval.foundation.errors import D2EvalError

    for level in architecture.levels:
        if not all(trace(architecture.layers, level.size)[-1].size):
            size = "x".join(map(str, architecture.image_size))
            raise D2EvalError(
                f"--size {size}: too small, the network has no output at scale {level.scale:g}; "
                "give a larger one"
            )


def _option_rows(config: Any) -> list[dict[str, Any]]:
    import dataclasses

    return [
        {
            "flag": f"--{field.name.replace('_', '-')}",
            "value": getattr(config, field.name),
            "help": field.metadata.get("help", ""),
        }
        for field in dataclasses.fields(config)
    ]
