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

    They take at most ``room`` bytes.

    Raises:
        D2EvalError: a run that is to come first isn't there.
    """
    known = {place.label for part in parts for place in part.places}
    for label in album.first:
        if label not in known:
            raise D2EvalError(f"no run is called {label}; there are {', '.join(sorted(known))}")
    reasons: dict[tuple[int, int], str] = {}  # by part and run
    is_full = False
    for index, run, item in progress(list(_wanted(parts, album)), "pictures"):
        part = parts[index]
        if (index, run) in reasons:
            continue
        if is_full:
            reasons[index, run] = _NO_ROOM
            continue
        sources = Sources(album.cache, album.data.get(part.benchmark.name), _LINES, brief=True)
        try:
            uri = picture_uri(part.benchmark.view([part.places[run]], item, sources))
        except D2EvalError as error:
            reasons[index, run] = str(error)
            continue
        room -= len(uri)
        if is_full := room < 0:
            reasons[index, run] = _NO_ROOM
        else:
            table = part.content["items"]
            table["pictures"].append([run, table["names"].index(item), uri])
    for index, part in enumerate(parts):
        part.content["items"]["unpictured"] = [
            [run, why] for (own, run), why in sorted(reasons.items()) if own == index
        ]


def _wanted(parts: Sequence[Shown], album: Album) -> Iterator[tuple[int, int, str]]:
    """Places of parts and runs, and names of items, in the order in which they get pictures.

    Every run's worst first, then their best, and so on; benchmarks take turns.
    """
    chosen: dict[tuple[int, int], tuple[bool, list[list[str]]]] = {}  # whether it is first; names
    for index, part in enumerate(parts):
        for run, (place, own) in enumerate(zip(part.places, part.items, strict=True)):
            keys = [extreme_keys(own, album.count, worst=w) if own else [] for w in (True, False)]
            names = [[part.benchmark.item_name(key) for key in listed] for listed in keys]
            chosen[run, index] = place.label in album.first, names
    seen = set()
    for is_first, rank, side in product((True, False), range(album.count), (0, 1)):
        for (run, index), (comes_first, names) in sorted(chosen.items()):
            for item in names[side][rank : rank + 1] if comes_first == is_first else ():
                if (index, run, item) not in seen:
                    yield index, run, item
                seen.add((index, run, item))
