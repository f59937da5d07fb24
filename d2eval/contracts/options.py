"""Options as dataclass fields, and what everything that has options is built with."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    keyed: bool = True,
    named: bool = True,
    metavar: str | None = None,
) -> Any:
    """A field of a ``Config`` that the command line offers as ``--field-name``.

    Args:
        default: its default; a bool gives ``--name`` and ``--no-name``.
        help: one line for ``--help``.
        choices: the values allowed, for text options.
        keyed: False for an option that does not decide the features by itself, such as a path to
            weights whose hash is in the key already.
        named: False for one that runs are not called by, wherever it isn't the default.
        metavar: what ``--help`` calls its value.
    """
    metadata = {
        "help": help, "choices": choices, "keyed": keyed, "named": named, "metavar": metavar,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def checked_options(config: Any, values: Mapping[str, Any]) -> Any:
    """A ``config`` with ``values``, each of its field's type and choices; text may be a path.

    Raises:
        D2EvalError: there is no such option, or it doesn't take the value.
    """
    types = typing.get_type_hints(config)
    choices = {field.name: field.metadata.get("choices") for field in dataclasses.fields(config)}
    found = {}
    for name, value in values.items():
        if name not in choices:
            near = difflib.get_close_matches(name, choices, n=1)
            known = f"known: {', '.join(choices)}" if choices else "it has none"
            hint = f"did you mean {near[0]}?" if near else known
            raise D2EvalError(f"no option {name!r}; {hint}")
        found[name] = _checked(name, value, types[name])
        allowed = choices[name]
        if allowed and value is not None and value not in allowed:
            raise D2EvalError(f"{name} = {value!r}; choose from {', '.join(allowed)}")
    return config(**found)


def is_required(field: "dataclasses.Field[Any]") -> bool:
    """Whether a field of a dataclass has no default."""
    none = dataclasses.MISSING
    return field.default is none and field.default_factory is none


def _checked(name: str, value: Any, kind: Any) -> Any:
    kinds = typing.get_args(kind) or (kind,)
    if Path in kinds and isinstance(value, str):
        return expanded(value)
    allowed = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
        named = " or ".join(getattr(own, "__name__", str(own)) for own in kinds)
        raise D2EvalError(f"{name} = {value!r} must be a {named}")
    return value


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
        threads: of the process, for libraries that must be told each time; None: as they like.
        devices: all that were named, of which each worker has one; empty: there is one.
    """

    device: str = "cpu"
    seed: int = 0
    memory_limit: int | None = None
    cache: Path = Path(".d2eval")
    fresh: bool = False
    method: str = ""
    threads: int | None = None
    devices: tuple[str, ...] = ()
