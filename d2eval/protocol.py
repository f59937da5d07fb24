"""Benchmark files: every number of a protocol, read from ``benchmarks/*.toml``.

A variant says which file it ``extends`` and holds what differs alone.
"""

import hashlib
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from d2eval.errors import D2EvalError, reason_of
from d2eval.files import is_deep, read_bytes, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class ProtocolFile:
    """A benchmark file as read: its path, SHA-256 (of all that it extends too) and content."""

    path: Path
    sha256: str
    content: dict[str, Any]


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
    """Reads ``benchmarks/<name>.toml``, over the file that it extends."""
    path = Path(str(files("benchmarks") / f"{name}.toml"))
    content = load_toml(path)
    digest = hashlib.sha256(read_bytes(path))
    if "extends" in content:
        base = load_protocol(content.pop("extends"))
        content = _over(base.content, content)
        digest.update(base.sha256.encode())
    return ProtocolFile(path, digest.hexdigest(), content)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, table by table."""
    tables = {
        name: _over(base[name], value)
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **tables}
