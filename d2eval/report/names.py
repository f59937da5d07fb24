"""What methods are called: one name each, in every table and figure."""

import re
from functools import cache

from d2eval.contracts.leaks import leak_word
from d2eval.contracts.weights import NOT_STATED
from d2eval.foundation.text.display import printable
from d2eval.runs.measured import Run
from d2eval.runs.published import presentation

_DIRECT = "Direct PE - "  # the rows of InLoc's table that are named by a method alone


@cache
def _known() -> dict[str, str]:
    rows = presentation("hpatches")["rows"]
    names = {row["method"]: row.get("label", row["legend"]) for row in rows}
    names |= {method: label for label, method in presentation("aachen")["rows"].items()}
    for row in presentation("inloc")["rows"]:
        if row["label"].startswith(_DIRECT):
            names.setdefault(row["method"], row["label"].removeprefix(_DIRECT))
    return names


def published_methods(benchmark: str) -> set[str]:
    """The methods of the rows of a benchmark's table."""
    rows = presentation(benchmark)["rows"]
    return {*rows.values()} if isinstance(rows, dict) else {row["method"] for row in rows}


def method_name(method: str) -> str:
    """As the paper's tables call it; the registered name of a method that they don't have.

    After the registered name may follow " + " and a matcher that isn't the protocol's.
    """
    name, plus, matcher = method.partition(" + ")
    return _known().get(name, name) + plus + matcher


def legend_entry(run: Run, top_k: int | None = None) -> str:
    """What a figure calls a run, such as "d2_ms, 7 of 108, stand-in".

    Its label says what it is of; where that doesn't hold the method's name, this follows. ``top_k``
    features of an image were kept; None for all.
    """
    parts = [part.replace(":", ".").split(" and ") for part in (run.method, run.matcher) if part]
    name = run.label
    if not all(any(word in run.label for word in part) for part in parts):
        name += f" ({method_name(run.named)})"
    said = [printable(name)]
    if top_k is not None and str(top_k) not in run.label:
        said.append(f"top {top_k}")
    if run.is_partial:
        found = re.match(r"partial \((\d+ of \d+)", run.dataset)
        said.append(found[1] if found else "partial")
    said += filter(None, [leak_word(run.leaks)])
    if run.stand_in:
        said.append("stand-in")
    if run.weights == NOT_STATED.name:
        said.append("weights not stated")
    return ", ".join(said)
