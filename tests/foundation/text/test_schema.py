"""The part of JSON Schema that d2eval's own schemas use."""

import pytest

from d2eval.foundation.text.schema import schema_problem

SCHEMA = {
    "type": "object",
    "required": ["a"],
    "additionalProperties": False,
    "properties": {
        "a": {"type": ["integer", "null"], "minimum": 0},
        "b": {"type": "array", "minItems": 1, "prefixItems": [{"enum": [None, 1]}], "items": False},
        "c": {"$ref": "#/$defs/name"},
        "d": {"type": "array", "items": {"type": "number"}},
    },
    "$defs": {"name": {"type": "string", "pattern": "^x"}},
}


@pytest.mark.parametrize("content", [{"a": 0}, {"a": None, "b": [1]}, {"a": 1, "c": "xy"},
                                     {"a": 1, "d": [1, 2.5]}])  # fmt: skip
def test_what_fits(content):
    assert schema_problem(content, SCHEMA) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "/: is no object"),
        ({}, "/: lacks a"),
        ({"a": 1, "e": 2}, "/: has 'e', which is not known"),
        ({"a": -1}, "/a: is less than 0"),
        ({"a": True}, "/a: is no integer or null"),
        ({"a": 1.5}, "/a: is no integer or null"),
        ({"a": 1, "b": []}, "/b: has fewer than 1 entries"),
        ({"a": 1, "b": [2]}, "/b/0: is none of None, 1"),
        ({"a": 1, "b": [1, 1]}, "/b: has more than 1 entries"),
        ({"a": 1, "c": "y"}, "/c: 'y' has not the form ^x"),
        ({"a": 1, "d": [1, float("inf")]}, "/d/1: is no number"),
    ],
)
def test_the_first_thing_that_does_not_fit(content, said):
    assert schema_problem(content, SCHEMA) == said
