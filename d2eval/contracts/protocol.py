"""Benchmark files: every number of a protocol, read from ``benchmarks/*.toml``.

A variant says which file it ``extends``, and holds only what differs: other values, further ones,
and ``without``, a list of tables and entries ("complete.posed") that it doesn't take over.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, TypeVar, cast

from d2eval.contracts.options import checked_options, is_required
from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.files.paths import expanded, listed
from d2eval.foundation.files.reading import is_deep, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


DOWNLOADS = "downloads"  # the file among them that is no protocol
# say what a file is, and decide nothing
WORDS = ("name", "source", "overlaps")
T = TypeVar("T")


@dataclass(frozen=True)
class ProtocolFile:
    """What a benchmark file says, over what it extends."""

    content: dict[str, Any]
    path: Path = Path()  # where it lies

    @property
    def constants(self) -> dict[str, Any]:
        """Everything that decides a run, by its name, such as "resize.side"."""
        numbers = {key: value for key, value in self.content.items() if key not in WORDS}
        return dict(_flat(numbers))

    def table(self, name: str, config: type[T]) -> T:
        """A table of it as a dataclass, whose fields are its entries.

        Raises:
            D2EvalError: an entry is missing, unknown or of another type, or a value isn't taken.
        """
        values = self.content.get(name)
        try:
            if not isinstance(values, dict):
                raise D2EvalError("is missing")
            needed = [f.name for f in fields(config) if is_required(f)]  # type: ignore[arg-type]
            if missing := [key for key in needed if key not in values]:
                raise D2EvalError(f"lacks {', '.join(missing)}")
            return cast(T, checked_options(config, values))
        except D2EvalError as error:
            raise D2EvalError(f"{self.path}: [{name}] {error}; mend it") from error

    def value(self, name: str, *kinds: type) -> Any:
        """An entry outside of tables, of one of these types.

        Raises:
            D2EvalError: it is missing, or of another type.
        """
        found = self.content.get(name)
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            known = " or ".join(kind.__name__ for kind in kinds)
            raise D2EvalError(f"{self.path}: {name} = {found!r} must be a {known}; mend it")
        return found

    @property
    def overlaps(self) -> tuple[str, ...]:
        """The data that it measures on, where weights may have seen it: `d2eval.contracts.leaks`.

        Raises:
            D2EvalError: they are no list of names.
        """
        return tuple(_names(self.path, "overlaps", self.content.get("overlaps", [])))

    @property
    def sha256(self) -> str:
        """SHA-256 of what decides a run: not of what it is called, nor how the file is written."""
        numbers = {key: value for key, value in self.content.items() if key not in WORDS}
        plain = json.loads(json.dumps(numbers, default=str), parse_int=float)  # 4 is 4.0
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def choice(self, name: str, *choices: str) -> str:
        """An entry that is one of several words.

        Raises:
            D2EvalError: it isn't.
        """
        value = str(self.value(name, str))
        if value not in choices:
            known = ", ".join(choices)
            raise D2EvalError(f"{self.path}: {name} = {value!r}; choose from {known}")
        return value


def load_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        D2EvalError: missing or not TOML.
    """
    return deepcopy(_parsed(path, read_text(path, "restore it")))


@lru_cache(maxsize=64)  # one command asks for some files a hundred times
def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise D2EvalError(f"{path}: not a TOML file (nested too deep); restore it") from error
    except ValueError as error:  # numbers of thousands of digits, too
        raise D2EvalError(f"{path}: not a TOML file ({reason_of(error)}); mend it") from error
    if is_deep(content):
        raise D2EvalError(f"{path}: not a TOML file (nested too deep); restore it")
    return content


def load_protocol(name: str, folder: Path | None = None) -> ProtocolFile:
    """Reads ``benchmarks/<name>.toml``, or a file of the user's, over the file that it extends.

    A name that ends in ``.toml`` is the path of a file; where it isn't absolute, it starts from
    ``folder``, for what a file extends its own.

    Raises:
        D2EvalError: a file is missing or not TOML, extends itself, or is without what isn't there.
    """
    return _load(name, folder or Path(), ())


def _load(name: str, folder: Path, extending: tuple[Path, ...]) -> ProtocolFile:
    own = name.endswith(".toml")
    path = folder / expanded(name) if own else bundled("benchmarks") / f"{name}.toml"
    if path in extending:
        raise D2EvalError(f"{path}: extends itself; mend it")
    content = load_toml(path)
    if "extends" in content:
        base = _load(str(content.pop("extends")), path.parent, (*extending, path)).content
        for entry in _names(path, "without", content.pop("without", [])):
            *tables, last = entry.split(".")
            try:
                del reduce(dict.__getitem__, tables, base)[last]
            except (KeyError, TypeError) as error:
                raise D2EvalError(
                    f"{path}: without {entry!r}, which the file that it extends doesn't have; "
                    "mend it"
                ) from error
        content = _over(base, content)
    return ProtocolFile(content, path)


def _names(path: Path, entry: str, found: Any) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(own, str) for own in found):
        raise D2EvalError(f"{path}: {entry} = {found!r} must be a list of names; mend it")
    return found


def protocol_names() -> list[str]:
    """Of all protocols that come with d2eval."""
    stems = [path.stem for path in listed(bundled("benchmarks")) if path.suffix == ".toml"]
    return [stem for stem in stems if stem != DOWNLOADS]


def _flat(tables: dict[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{start}{name}.")
        else:
            yield start + name, value


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, table by table."""
    tables = {
        name: _over(base[name], value)
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **tables}
