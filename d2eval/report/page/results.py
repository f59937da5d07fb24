"""``results.json``: what a page shows, in a form that many people's make one of."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.text.schema import schema_problem

FILE = "results.json"
FORMAT, SCHEMA = "d2eval-report", 1  # raise it when an entry comes to mean something else
_REMEDY = "get the file again, or have it written again by 'd2eval report'"

Report = Mapping[str, Any]


@cache
def results_schema() -> dict[str, Any]:
    """The JSON Schema of ``results.json``."""
    text = (files("d2eval.report.page") / "results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def read_results(path: Path) -> list[Report]:
    """The reports in a ``results.json``.

    Raises:
        D2EvalError: it can't be read, or is none.
    """
    content = read_json(path, _REMEDY)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        schema = content.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise D2EvalError(
                f"{path}: is of schema {schema}, and this d2eval reads up to {SCHEMA}; install a "
                "newer d2eval"
            )
    problem = schema_problem(content, results_schema()) or _untied(content["reports"])
    try:
        results_text(() if problem else content["reports"])
    except ValueError:  # a number or a letter that JSON doesn't have
        problem = "holds what is no number, or no text"
    if problem:
        raise D2EvalError(f"{path}: no results of d2eval report ({problem}); {_REMEDY}")
    reports: list[Report] = content["reports"]
    return reports


def results_text(reports: Iterable[Report]) -> str:
    """Reports as the text of a ``results.json``.

    Raises:
        ValueError: they hold what JSON doesn't have.
    """
    content = {"format": FORMAT, "schema": SCHEMA, "reports": list(reports)}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()
    return text + "\n"


def together(parts: Iterable[Report]) -> list[Report]:
    """Reports of several people, each under a name of its own; the same one only once."""
    found: list[Report] = []
    for report in parts:
        if report in found:
            continue
        taken = {own["name"] for own in found}
        names = (report["name"] if n == 1 else f"{report['name']} ({n})" for n in count(1))
        found.append({**report, "name": next(name for name in names if name not in taken)})
    return found


def _untied(reports: Sequence[Report]) -> str | None:
    """The first place in a list that the list doesn't have."""
    for number, report in enumerate(reports):
        for own in report["benchmarks"]:
            problem = _untied_benchmark(own)
            if problem:
                return f"/reports/{number}, {own['name'][:60]!a}: {problem}"
    return None


def _untied_benchmark(own: Mapping[str, Any]) -> str | None:
    runs, measures, items = len(own["runs"]), len(own["measures"]), own["items"]
    keys, kinds = len(items["names"]), len(items["measures"])
    shape = [[len(column) for column in run] for run in items["values"] if run is not None]
    checks = {
        "numbers of a run that isn't there": all(
            (row[0] or 0) < max(runs, row[0] is None) for row in own["numbers"]["rows"]
        ),
        "numbers of a measure that isn't there": all(
            row[5] < measures for row in own["numbers"]["rows"]
        ),
        "items and their clusters differ": len(items["clusters"]) == keys,
        "items are ranked by what isn't there": (items["ranked"] or 0) < max(kinds, 1),
        "a subset has an item that isn't there": all(
            place < keys for subset in items["subsets"].values() for place in subset
        ),
        "numbers of items don't fit runs, measures and items": len(items["values"]) == runs
        and all(own == [keys] * kinds for own in shape),
        "a reason of a run that isn't there": all(row[0] < runs for row in items["reasons"]),
        "a picture of what isn't there": all(
            row[0] < runs and row[1] < keys for row in items["pictures"]
        )
        and all(row[0] < runs for row in items["unpictured"]),
        "a comparison of what isn't there": all(
            max(row[0], row[1]) < runs and row[3] < kinds for row in own["comparisons"]["rows"]
        ),
    }
    return next((problem for problem, holds in checks.items() if not holds), None)
