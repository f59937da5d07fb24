"""Pictures of each run's worst and best pairs or queries, as far as the page has room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from d2eval.comparison.items import extreme_keys
from d2eval.evaluation.benchmark import Benchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.progress import progress
from d2eval.report.figures import Sources, picture_uri
from d2eval.runs.items import RunItems
from d2eval.runs.measured import RunPlace

_LINES = 80  # most matches that have a line
_NO_ROOM = "the page has no room for it"


@dataclass(frozen=True)
class Album:
    """Which pictures a page has, and what they are made from."""

    count: int  # how many of the worst, and of the best, each run has at most
    cache: Path  # where features and matches are stored
    data: Mapping[str, Path]  # folders of datasets by benchmark, where runs found them elsewhere
    first: Sequence[str] = ()  # labels of runs whose pictures come before all others'


@dataclass(frozen=True)
class Shown:
    """What a report shows of a benchmark, and what of it pictures are made from."""

    content: dict[str, Any]  # of the report; the table of items gets pictures
    benchmark: Benchmark
    places: Sequence[RunPlace]  # of runs
    items: Sequence[RunItems | None]  # of each; None: it has none


def add_pictures(parts: Sequence[Shown], album: Album, room: int) -> None:
    """Adds pictures that `d2eval view` would draw, and why runs have none, to tables of items.

    They take at most ``room`` bytes, shared among benchmarks; what one leaves the next ones have.

    Raises:
        D2EvalError: a run that is to come first isn't there.
    """
    known = {place.label for part in parts for place in part.places}
    for label in album.first:
        if label not in known:
            raise D2EvalError(f"no run is called {label}; there are {', '.join(sorted(known))}")
    for index, part in enumerate(parts):
        room -= _add(part, album, room // (len(parts) - index))


def _add(part: Shown, album: Album, room: int) -> int:
    """Adds those of a benchmark; returns their size."""
    table, name = part.content["items"], part.benchmark.name
    sources = Sources(album.cache, album.data.get(name), _LINES, brief=True)
    places = {called: place for place, called in enumerate(table["names"])}
    reasons: dict[int, str] = {}
    used, is_full = 0, False
    for run, item in progress(list(_wanted(part, album)), f"{name}: pictures"):
        if run in reasons:
            continue
        if is_full:
            reasons[run] = _NO_ROOM
            continue
        try:
            uri = picture_uri(part.benchmark.view([part.places[run]], item, sources))
        except D2EvalError as error:
            reasons[run] = str(error)
            continue
        if is_full := used + len(uri) > room:
            reasons[run] = _NO_ROOM
        else:
            used += len(uri)
            table["pictures"].append([run, places[item], uri])
    table["unpictured"] = [list(reason) for reason in sorted(reasons.items())]
    return used


def _wanted(part: Shown, album: Album) -> Iterator[tuple[int, str]]:
    """Places of runs and names of items: every run's worst first, then their best, and so on."""
    chosen: list[list[list[str]]] = []  # by run, worst and best
    for own in part.items:
        keys = [
            extreme_keys(own, album.count, worst=worst) if own else [] for worst in (True, False)
        ]
        chosen.append([[part.benchmark.item_name(key) for key in listed] for listed in keys])
    seen = set()
    for is_first, rank, side in product((True, False), range(album.count), (0, 1)):
        for run, sides in enumerate(chosen):
            if (part.places[run].label in album.first) != is_first:
                continue
            for item in sides[side][rank : rank + 1]:
                if (run, item) not in seen:
                    yield run, item
                seen.add((run, item))
