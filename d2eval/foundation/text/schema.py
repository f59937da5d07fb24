"""Whether content from outside has the form that a JSON Schema describes.

Of the schema language only what d2eval's own schemas use: any other keyword is an error of theirs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KEYWORDS = {
    "$schema", "title", "description", "$defs", "$ref", "type", "const", "enum", "pattern",
    "minimum", "properties", "required", "additionalProperties", "items", "prefixItems",
    "minItems",
}  # fmt: skip
_MOST = 1e300


def schema_problem(content: Any, schema: Mapping[str, Any]) -> str | None:
    """The first thing in ``content`` that the schema forbids, such as "/runs/0: lacks label"."""
    return next(_problems(content, schema, schema.get("$defs", {}), ""), None)


def _problems(
    value: Any, schema: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> Iterator[str]:
    if "$ref" in schema:
        schema = known[schema["$ref"].removeprefix("#/$defs/")]
    if unknown := schema.keys() - _KEYWORDS:
        raise AssertionError(f"{where}: {unknown}")
    wrong = _wrong(value, schema)
    if wrong:
        yield f"{where or '/'}: {wrong}"
    elif isinstance(value, dict):
        yield from _of_object(value, schema, known, where)
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        for index, own in enumerate(value):
            rule = first[index] if index < len(first) else schema.get("items", {})
            if rule is False:
                yield f"{where}: has more than {len(first)} entries"
                return
            yield from _problems(own, rule, known, f"{where}/{index}")


def _of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> Iterator[str]:
    own = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where or '/'}: lacks {name}"
    for name, inner in value.items():
        rule = own.get(name, schema.get("additionalProperties", {}))
        if rule is False:
            yield f"{where or '/'}: has {name[:60]!r}, which is not known"
        else:
            yield from _problems(inner, rule, known, f"{where}/{name[:60]}")


def _wrong(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a value itself."""
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted or []
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"is no {' or '.join(kinds)}"
    if "const" in schema and value != schema["const"]:
        return f"is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"is none of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return f"{value[:60]!r} has not the form {schema['pattern']}"
    if _is(value, "number") and value < schema.get("minimum", -_MOST):
        return f"is less than {schema['minimum']}"
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        return f"has fewer than {schema['minItems']} entries"
    return None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int | float) and kind in ("integer", "number"):
        return isinstance(value, _TYPES[kind]) and abs(value) < _MOST
    return isinstance(value, _TYPES[kind])
