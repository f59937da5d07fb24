"""Which pairs or queries a user asks for: by name, or the best, the worst, the differing."""

import difflib
import math
from collections.abc import Sequence

from d2eval.evaluation.benchmark import Benchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.runs.items import Key, RunItems
from d2eval.runs.measured import RunPlace


def named_items(benchmark: Benchmark, run: RunPlace, wanted: Sequence[str]) -> list[str]:
    """The items called so, or whose name ends so after a slash.

    Raises:
        D2EvalError: there is none.
    """
    names = benchmark.item_names(run.path, run.label)
    found: list[str] = []
    for text in wanted:
        own = [name for name in names if name == text or name.endswith(f"/{text}")]
        if not own:
            near = difflib.get_close_matches(text, names, n=2) or names[:2]
            said = f"there are {len(names)}, such as {' or '.join(near)}"
            raise D2EvalError(f"{text}: {run.label} has no such pair or query; {said}")
        found += own
    return list(dict.fromkeys(found))


def extreme_items(benchmark: Benchmark, run: RunPlace, count: int, *, worst: bool) -> list[str]:
    """The ``count`` worst or best items, by the number that ranks them; a tie goes by name.

    Raises:
        D2EvalError: nothing ranks them.
    """
    items = _ranked(benchmark, run)
    return [benchmark.item_name(key) for key in extreme_keys(items, count, worst=worst)]


def extreme_keys(items: RunItems, count: int, *, worst: bool) -> list[Key]:
    """The keys of the ``count`` worst or best, as `extreme_items`; of those that are ranked."""
    values = items.ranked.values
    downwards = items.ranked.measure.each_lower == worst  # whether the largest come first
    known = [key for key, value in values.items() if not math.isnan(value)]
    known.sort(key=lambda key: (-values[key] if downwards else values[key], key))
    return known[:count]


def differing_items(
    benchmark: Benchmark, first: RunPlace, second: RunPlace, count: int
) -> list[str]:
    """The ``count`` items of which two runs' numbers differ most.

    Raises:
        D2EvalError: they share none, or nothing ranks them.
    """
    one, other = (_ranked(benchmark, run).ranked.values for run in (first, second))

    def apart(key: Key) -> float:
        return 0.0 if one[key] == other[key] else abs(one[key] - other[key])

    shared = [key for key in one if key in other and not math.isnan(apart(key))]
    if not shared:
        raise D2EvalError(f"{first.label} and {second.label} share no pair or query with numbers")
    shared.sort(key=lambda key: (-apart(key), key))
    return [benchmark.item_name(key) for key in shared[:count]]


def _ranked(benchmark: Benchmark, run: RunPlace) -> RunItems:
    items = benchmark.items_of(run.path, run.label)
    if not items.ranked.values:
        raise D2EvalError(f"{run.label}: nothing ranks its pairs or queries; name some")
    return items
