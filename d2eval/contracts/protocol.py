"""Benchmark files: every number of a protocol, read from ``benchmarks/*.toml``.

A variant says which file it ``extends``, and holds only what differs: other values, further ones,
and ``without``, a list of tables and entries ("complete.posed") that it doesn't take over.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.files.reading import is_deep, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class ProtocolFile:
    """What a benchmark file says, over what it extends."""

    content: dict[str, Any]

    @property
    def sha256(self) -> str:
        """SHA-256 of what decides a run: not of the name, nor of how the file is written."""
        numbers = {key: value for key, value in self.content.items() if key != "name"}
        plain = json.loads(json.dumps(numbers, default=str), parse_int=float)  # 4 is 4.0
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def load_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        D2EvalError: missing or not TOML.
    """
    text = read_text(path, "restore it")
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise D2EvalError(f"{path}: not a TOML file (nested too deep); restore it") from error
    except ValueError as error:  # numbers of thousands of digits, too
        raise D2EvalError(f"{path}: not a TOML file ({reason_of(error)}); mend it") from error
    if is_deep(content):
        raise D2EvalError(f"{path}: not a TOML file (nested too deep); restore it")
    return content


def load_protocol(name: str) -> ProtocolFile:
    """Reads ``benchmarks/<name>.toml``, over the file that it extends.

    Raises:
        D2EvalError: a file is missing or not TOML, or the variant is without what isn't there.
    """
    path = bundled("benchmarks") / f"{name}.toml"
    content = load_toml(path)
    if "extends" in content:
        base = load_protocol(content.pop("extends")).content
        for entry in content.pop("without", []):
            *tables, last = entry.split(".")
            try:
                del reduce(dict.__getitem__, tables, base)[last]
            except (KeyError, TypeError) as error:
                raise D2EvalError(
                    f"{path}: without {entry!r}, which the file that it extends doesn't have; "
                    "mend it"
                ) from error
        content = _over(base, content)
    return ProtocolFile(content)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, table by table."""
    tables = {
        name: _over(base[name], value)
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **tables}
