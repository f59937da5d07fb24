"""What methods are called: one name each, in every table and figure."""

from functools import cache

from d2eval.report.published import presentation

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


def method_name(method: str) -> str:
    """As the paper's tables call it; the registered name of a method that they don't have.

    Args:
        method: its registered name, followed by " + " and a matcher that isn't the protocol's.
    """
    name, plus, matcher = method.partition(" + ")
    return _known().get(name, name) + plus + matcher
