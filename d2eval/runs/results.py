"""The numbers of runs as one tidy table, whatever they are of and wherever they are from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from d2eval.runs.columns import REAL, WHOLE, Column, names
from d2eval.runs.measured import RunRoots

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED, MEASURED, SITE = "published", "measured", "site"
_SUBSET = (
    Column("benchmark"),
    Column("source"),  # PUBLISHED, MEASURED or SITE
    Column("run"),  # label of the run or submission; "" of a published row
    Column("row"),  # name of the row, as published; "" of a run
    Column("method"),
    Column("matcher"),  # one that isn't the protocol's; "" otherwise
    Column("strategy"),  # InLoc: how poses are found, and who judges them
    Column("verification"),
    Column("protocol"),
    Column("subset"),  # what of the benchmark: a split, a floor, an epoch and split
    Column("dataset"),  # complete, partial (...) or sample; "" of numbers not measured here
    Column("weights"),
    Column("said"),  # where a published or returned number is from, in words
)
COLUMNS = (
    *_SUBSET,
    Column("metric"),
    Column("threshold", kind=REAL),  # pixels of HPatches, metres of a position
    Column("angle", kind=REAL),  # degrees of a rotation
    Column("value", kind=REAL),
    Column("count", kind=WHOLE),  # of what `value` is a share of, and of how many
    Column("of", kind=WHOLE),
    Column("low", kind=REAL),  # ends of the 95 % interval of `value`
    Column("high", kind=REAL),
    Column("unit"),
    Column("printed"),  # a published number that is no plain one, verbatim
)
_TYPES = {REAL: "float64", WHOLE: "Int64"}


@dataclass(frozen=True)
class Numbers:
    """The numbers of one row in one subset, from one source: a part of the tidy table.

    Attributes:
        source: `PUBLISHED`, `MEASURED` or `SITE`.
        run: label of a run or submission; "" of a published row.
        row: name of a published row.
        method: registered name.
        matcher: one that isn't the protocol's, or "".
        strategy: of InLoc's rows.
        verification: likewise.
        protocol: stem of the benchmark file.
        subset: of the benchmark.
        dataset: of a measured run.
        weights: likewise.
        said: where numbers are from that weren't measured here.
        at: the other columns, by metric and threshold (None where it has none).
    """

    source: str
    run: str
    row: str
    method: str
    matcher: str
    strategy: str
    verification: str
    protocol: str
    subset: str
    dataset: str
    weights: str
    said: str
    at: Mapping[tuple[str, float | None], Mapping[str, Any]] = field(repr=False)

    def get(self, metric: str, column: str = "value", threshold: float | None = None) -> Any:
        """What there is of a metric; None where there is nothing."""
        return self.at.get((metric, threshold), {}).get(column)

    def curve(self, metric: str) -> dict[float, float]:
        """The values of a metric by threshold."""
        return {t: row["value"] for (name, t), row in self.at.items() if name == metric and t}


def results_frame(records: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Records of `COLUMNS` as a table; what a record lacks is "" or missing."""
    import pandas as pd  # takes as long to import as everything else

    frame = pd.DataFrame(list(records), columns=names(COLUMNS))
    text = [column.name for column in COLUMNS if column.kind not in _TYPES]
    frame[text] = frame[text].astype(object).fillna("")
    return frame.astype({c.name: _TYPES[c.kind] for c in COLUMNS if c.kind in _TYPES})


def numbers_of(frame: "pd.DataFrame") -> list[Numbers]:
    """The rows of a tidy table in their order, each with all its numbers of a subset."""
    import pandas as pd

    found: dict[tuple[str, ...], dict[tuple[str, float | None], dict[str, Any]]] = {}
    whose = names(_SUBSET[1:])
    for record in frame.to_dict("records"):
        known = {str(n): v for n, v in record.items() if not pd.isna(v)}
        own = found.setdefault(tuple(known[name] for name in whose), {})
        own[known["metric"], known.get("threshold")] = known
    return [
        Numbers(at=at, **dict[str, Any](zip(whose, key, strict=True))) for key, at in found.items()
    ]


def load_results(roots: RunRoots = None, benchmark: str | None = None) -> "pd.DataFrame":
    """The numbers of all runs below ``roots``, of published rows and of the benchmarks' sites.

    Args:
        roots: folder of runs, or several; None: ``results/runs`` and the runs that ship.
        benchmark: "hpatches", "aachen" or "inloc"; None: all that have runs there.

    Returns:
        A row for each number, with `COLUMNS`.

    Raises:
        D2EvalError: a file of a run is broken, or there is no folder of ``benchmark``.
    """
    import pandas as pd

    from d2eval.runs.measured import has_runs

    known = ("hpatches", "aachen", "inloc")
    chosen = [benchmark] if benchmark else [name for name in known if has_runs(roots, name)]
    parts = [
        import_module(f"d2eval.{name}.report.runs").load_runs(roots).numbers for name in chosen
    ]
    return pd.concat(parts, ignore_index=True) if parts else results_frame([])
