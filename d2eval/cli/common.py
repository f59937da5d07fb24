"""Options that several commands share, and where the cache folder comes from."""

import argparse
import dataclasses
import secrets
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2eval.cli.parsing import option_flags
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.text.labels import label_problem

if TYPE_CHECKING:
    from d2eval.pipeline.extraction import MethodChoice


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--cache``; where it isn't given, `default_cache` is filled in later."""
    parser.add_argument(
        "--cache",
        type=expanded,
        metavar="DIR",
        help="features, matches, weights and the rendered sample are kept here "
        "(default: D2EVAL_CACHE, else the user's cache folder)",
    )


def positive(text: str) -> int:
    """An argument that must be 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def positive_real(text: str) -> float:
    """An argument that must be above 0 and no more than a million."""
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def not_negative(text: str) -> int:
    """An argument that must be 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def seed(text: str) -> int:
    """A seed: a number of 0 or more, or a drawn one."""
    return secrets.randbelow(2**31) if text == "random" else not_negative(text)


def memory_size(text: str) -> int:
    """Bytes of a size such as 512MB or 4GB (powers of 1024)."""
    units = {"KB": 2**10, "MB": 2**20, "GB": 2**30}
    try:
        size = int(float(text[:-2]) * units[text[-2:].upper()])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError("must be a size such as 512MB or 4GB")
    return size


def joined_numbers(text: str, count: int) -> tuple[int, ...]:
    """``count`` numbers of 1 or more, joined by x as in 640x480."""
    try:
        numbers = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) != count or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"must be {count} numbers joined by x, not {text!r}")
    return numbers


def image_size(text: str) -> tuple[int, ...]:
    """(width, height) of text such as 640x480."""
    return joined_numbers(text, 2)


def add_runs_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--runs``."""
    parser.add_argument(
        "--runs",
        type=_runs_folder,
        action="append",
        metavar="DIR|shipped",
        help="folder of measured runs, or those that ship with d2eval; may be repeated (default: "
        "both, your own in results/runs if they are there)",
    )


def _runs_folder(text: str) -> Path:
    from d2eval.runs.measured import SHIPPED, SHIPPED_RUNS

    return SHIPPED_RUNS if text == SHIPPED else expanded(text)


def label_argument(text: str) -> str:
    """An argument that names a run or a file."""
    problem = label_problem(text)
    if problem:
        raise argparse.ArgumentTypeError(f"{text!a} names a folder or file, but {problem}")
    return text


def add_folder_argument(parser: argparse.ArgumentParser, default: str, what: str) -> None:
    """Adds ``--output``, the folder of ``what``."""
    parser.add_argument("--output", type=expanded, default=Path(default), metavar="DIR", help=what)


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--output`` and ``--name``."""
    add_folder_argument(parser, "results/runs", "where runs are written")
    parser.add_argument(
        "--name",
        type=label_argument,
        metavar="LABEL",
        help="how rows and folder call this run (default: the method, options that aren't the "
        "default, and the data, as in d2_ms-top2000-sample)",
    )


def add_config_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds an option for each field of the ``Config`` of the method ``name``."""
    from d2eval.pipeline.extraction import config_class

    add_options(parser, config_class(name), f"method {name!r}", f"options of {name}")


def add_options(
    parser: argparse.ArgumentParser, config: type, owner: str, title: str, start: str = "--"
) -> None:
    """Adds an option for each field of ``config``, a dataclass of `d2eval.option` fields.

    ``owner`` is who has them, for errors; their names begin with ``start``.

    Raises:
        D2EvalError: a field is called like an option of the command.
    """
    group = parser.add_argument_group(title)
    types = typing.get_type_hints(config)
    for flag, field in option_flags(config, start).items():
        help_text = field.metadata.get("help", "")
        arguments: dict[str, Any] = {
            "type": _of_text(types[field.name]),
            "choices": field.metadata.get("choices"),
            "metavar": field.metadata.get("metavar"),
        }
        if types[field.name] is bool:
            arguments = {"action": argparse.BooleanOptionalAction}
        try:
            group.add_argument(flag, default=field.default, help=help_text, **arguments)
        except argparse.ArgumentError as error:
            raise D2EvalError(
                f"{owner}: its option {flag} is one of this command's own; rename the field"
            ) from error


def _of_text(kind: Any) -> Any:
    """What makes a value of a field's type from an argument; of "int | None" what makes an int."""
    plain = next((own for own in typing.get_args(kind) if own is not type(None)), kind)
    return expanded if plain is Path else plain


def named_method(args: argparse.Namespace) -> str:
    """``args.method``, which must be one that is called here, image by image.

    Raises:
        D2EvalError: it stands for features from files, or for another program.
    """
    from d2eval.pipeline.extraction import EXTERNAL, PRECOMPUTED

    for start, what in ((PRECOMPUTED, "files"), (EXTERNAL, "another program")):
        if args.method.startswith(start):
            raise D2EvalError(f"{args.command}: {args.method} stands for {what}; name a method")
    return str(args.method)


def method_choice(args: argparse.Namespace) -> "MethodChoice":
    """``args.method`` with its options."""
    from d2eval.pipeline.extraction import MethodChoice

    return MethodChoice(args.method, method_options(args))


def method_options(args: argparse.Namespace) -> dict[str, Any]:
    """The values for the ``Config`` of ``args.method`` among ``args``."""
    from d2eval.pipeline.extraction import config_class

    return {f.name: getattr(args, f.name) for f in dataclasses.fields(config_class(args.method))}


def options_of(config: type, args: argparse.Namespace) -> Any:
    """A ``config`` with its values among ``args``.

    Raises:
        D2EvalError: a value that it doesn't take.
    """
    return config(**{field.name: getattr(args, field.name) for field in dataclasses.fields(config)})
