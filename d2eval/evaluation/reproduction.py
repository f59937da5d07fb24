"""The paper's rows as commands, and whether a run that was repeated has the same rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.contracts.method import Runtime, method_class
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.text.words import real
from d2eval.runs.folder import differences
from d2eval.runs.manifest import work_of
from d2eval.runs.rows import REMEDY, read_rows, reading

ROWS = ("summary.csv", "pairs.csv", "queries.csv", "candidates.csv")
_COSTS = ("seconds", "peak_memory", "real_s", "user_s", "sys_s")  # what their columns begin with
_UNUSABLE = ("missing", "broken")  # what the state of weights begins with


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's table, and the command that measures it."""

    name: str  # as the paper calls it
    weights: str  # which would be used; "" where none are chosen
    words: Sequence[str]  # after ``d2eval``; without places
    lacks: str  # what keeps it from being measured, and what gets it; "" for nothing


def paper_rows(benchmark: str, data: Path | None, runtime: Runtime) -> list[PaperRow]:
    """The rows of a benchmark's table in the paper.

    Raises:
        D2EvalError: there is no such benchmark.
    """
    found = []
    place = ["--data", str(data) if data else "DIR"]
    for name, words in benchmark_class(benchmark)().paper_rows().items():
        state, lacks = "", "" if data else f"its data: say --data {benchmark}=DIR"
        if "--method" in words:
            state = method_class(words[words.index("--method") + 1]).weights_state(runtime)
            if state.startswith(_UNUSABLE):
                lacks = "; ".join(filter(None, (lacks, state)))
        found.append(PaperRow(name, state, [benchmark, *words, *place], lacks))
    return found


def row_differences(old: Path, new: Path) -> list[str]:
    """In what the rows of two runs' folders differ, costs left out; nothing if they are the same.

    Raises:
        D2EvalError: a file is broken.
    """
    said = []
    for name in ROWS:
        if not (old / name).is_file() and not (new / name).is_file():
            continue
        with reading(old / name, REMEDY):
            before = read_rows(old / name, ())
        with reading(new / name, REMEDY):
            after = read_rows(new / name, ())
        if len(before) != len(after):
            said.append(f"{name}: {len(before)} rows before, {len(after)} now")
            continue
        columns = dict.fromkeys(column for row in (*before[:1], *after[:1]) for column in row)
        for column in columns:
            if not column.startswith(_COSTS):
                cells = [(a.get(column), b.get(column)) for a, b in zip(before, after, strict=True)]
                said += _column_difference(f"{name}: {column}", cells)
    return said


def _column_difference(what: str, cells: Sequence[tuple[str | None, str | None]]) -> list[str]:
    differing = [(a, b) for a, b in cells if a != b]
    if not differing:
        return []
    line = f"{what} differs in {len(differing)} of {len(cells)} rows"
    try:
        most = max(abs(real(a or "nan") - real(b or "nan")) for a, b in differing)
    except ValueError:  # it is text
        most = math.nan
    if math.isfinite(most):
        return [f"{line}, by up to {most:.3g}"]
    return [f"{line}, such as {differing[0][0]!r} before and {differing[0][1]!r} now"]


def manifest_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What may explain that rows differ: other work, other versions, another device."""
    said = [text] if (text := differences(old, work_of(new))) else []
    before, after = ({**own.get("versions", {})} for own in (old, new))
    before["device"], after["device"] = old.get("device"), new.get("device")
    before["d2eval"], after["d2eval"] = old.get("d2eval"), new.get("d2eval")
    said += [
        f"{name} {before.get(name)} before, {after.get(name)} now"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return said
