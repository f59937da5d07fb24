"""Which cutouts a query is compared with: hloc's pair lists and InLoc's matrix of scores."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_lines
from d2eval.foundation.formats.matfiles import read_numbers, read_strings
from d2eval.foundation.text.words import some
from d2eval.inloc.protocol import Layout


@dataclass(frozen=True)
class Retrieved:
    """A cutout that was retrieved for a query."""

    cutout: str  # its name, "DUC1/000/DUC_cutout_000_0_-30.jpg"
    score: float  # larger is better; within 0..1 for NetVLAD, so that verified matches outweigh it


Retrieval = Mapping[str, tuple[Retrieved, ...]]


def _check_names(
    path: Path, named: Iterable[str], known: Collection[str], what: str, folder: str
) -> None:
    unknown = [name for name in dict.fromkeys(named) if name not in known]
    if unknown:
        raise D2EvalError(
            f"{path}: names {len(unknown)} unknown images, no {what} in {folder}: "
            f"{some(unknown)}; add them, or take the list of this set"
        )


def read_pair_list(
    path: Path, queries: Collection[str], cutouts: Collection[str], layout: Layout, notes: list[str]
) -> Retrieval:
    """Reads lines ``query cutout``, best first for each query, as hloc writes them.

    Such a list has no scores; a cutout's is 1 / rank, which keeps the order. Names may have the
    layout's folders before them, as in hloc's. Where a cutout stands twice for a query, ``notes``
    gets a line, and its first rank counts.

    Raises:
        D2EvalError: a file that can't be read, a line that isn't two names, or an unknown name.
    """
    found: dict[str, dict[str, None]] = {}
    repeated = 0
    for number, line in read_lines(path):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise D2EvalError(f"{path}: line {number}: not `query cutout`; mend the line")
        query = words[0].removeprefix(f"{layout.queries}/")
        cutout = words[1].removeprefix(f"{layout.cutouts}/")
        repeated += cutout in found.setdefault(query, {})
        found[query][cutout] = None
    if not found:
        raise D2EvalError(f"{path}: no pair; add lines `query cutout`")
    _check_names(path, found, queries, "query", layout.queries)
    named = (name for names in found.values() for name in names)
    _check_names(path, named, cutouts, "cutout", layout.cutouts)
    if repeated:
        notes.append(f"{path}: {repeated} lines repeat a pair; the first ones count")
    return {
        query: tuple(Retrieved(name, 1 / rank) for rank, name in enumerate(names, 1))
        for query, names in found.items()
    }


def read_score_matrix(
    path: Path, queries: Collection[str], cutouts: Collection[str], layout: Layout, top: int
) -> Retrieval:
    """The ``top`` cutouts of every query from a matrix of scores, ties by name.

    The MATLAB file has ``score``, queries by cutouts; the names of both lie beside it.

    Raises:
        D2EvalError: a file that can't be read, a matrix that doesn't fit the names or isn't
            finite, or an unknown name.
    """
    scores = read_numbers(path, "score").astype(np.float64)
    names = {}
    for kind, file, known, folder in (
        ("query", layout.query_names, queries, layout.queries),
        ("cutout", layout.cutout_names, cutouts, layout.cutouts),
    ):
        listed = read_strings(path.with_name(file), Path(file).stem)
        names[kind] = [name.removeprefix(f"{folder}/") for name in listed]
        if len(set(names[kind])) < len(listed):
            raise D2EvalError(f"{path.with_name(file)}: a name stands twice; replace the file")
        _check_names(path.with_name(file), names[kind], known, kind, folder)
    shape = (len(names["query"]), len(names["cutout"]))
    if scores.shape != shape:
        raise D2EvalError(
            f"{path}: score is {'x'.join(map(str, scores.shape))}, but there are {shape[0]} names "
            f"of queries and {shape[1]} of cutouts; replace it"
        )
    if not np.isfinite(scores).all():
        raise D2EvalError(f"{path}: score has values that aren't finite; replace it")
    order = np.array(names["cutout"])
    return {
        query: tuple(
            Retrieved(str(order[k]), float(row[k])) for k in np.lexsort((order, -row))[:top]
        )
        for query, row in zip(names["query"], scores, strict=True)
    }


def read_retrieval(
    path: Path,
    queries: Collection[str],
    cutouts: Collection[str],
    layout: Layout,
    top: int,
    notes: list[str],
) -> Retrieval:
    """The ``top`` cutouts of every query, from a matrix (.mat) or else a pair list.

    What the user should be told is added to ``notes``.

    Raises:
        D2EvalError: as `read_score_matrix` and `read_pair_list`.
    """
    if path.suffix == ".mat":
        return read_score_matrix(path, queries, cutouts, layout, top)
    lists = read_pair_list(path, queries, cutouts, layout, notes)
    return {query: retrieved[:top] for query, retrieved in lists.items()}
