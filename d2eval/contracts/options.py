"""Options as dataclass fields, and what everything that has options is built with."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    keyed: bool = True,
    metavar: str | None = None,
) -> Any:
    """A field of a ``Config`` that the command line offers as ``--field-name``.

    Args:
        default: its default; a bool gives ``--name`` and ``--no-name``.
        help: one line for ``--help``.
        choices: the values allowed, for text options.
        keyed: False for an option that does not decide the features by itself, such as a path to
            weights whose hash is in the key already.
        metavar: what ``--help`` calls its value.
    """
    metadata = {"help": help, "choices": choices, "keyed": keyed, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NoOptions:
    """The ``Config`` of a method without options."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a method runs, the same for all methods.

    Attributes:
        device: a torch device name, "cpu" or "cuda".
        seed: for methods that draw random numbers.
        memory_limit: bytes that the process may come to hold, for methods that can do with less;
            None is 80 % of what is free beside what it holds.
        cache: the cache folder, under which fetched weights lie in ``weights/<group>``.
        fresh: whether what is stored already is made again.
        method: whose features a matcher is built for, by name; "" where that isn't known.
    """

    device: str = "cpu"
    seed: int = 0
    memory_limit: int | None = None
    cache: Path = Path(".d2eval")
    fresh: bool = False
    method: str = ""
