"""Why a query has no pose."""

from collections.abc import Sequence


def shortage(steps: Sequence[tuple[str, int, int]]) -> str:
    """Why a query has no pose, such as "too few verified matches: 5 of 812 matches, 30 are needed".

    Args:
        steps: from its features on, what was left, how many, and how many are needed.
    """
    for index, (what, count, needed) in enumerate(steps):
        if count < needed:
            before = f" of {steps[index - 1][1]} {steps[index - 1][0]}" if index else ""
            return f"too few {what}: {count}{before}, {needed} are needed"
    return "no pose: what was found agrees with none"
