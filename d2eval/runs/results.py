"""The numbers of runs as one tidy table, whatever they are of and wherever they are from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from d2eval.runs.columns import REAL, WHOLE, Column, names

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED, MEASURED, SITE = "published", "measured", "site"


@dataclass(frozen=True)
class Numbers:
    """The numbers of one row in one subset, from one source: a part of the tidy table."""

    source: str  # `PUBLISHED`, `MEASURED` or `SITE`
    run: str  # label of a run or submission; "" of a published row
    row: str  # name of a published row
    method: str  # registered name
    matcher: str  # one that isn't the protocol's, or ""
    strategy: str  # of InLoc's rows
    verification: str  # likewise
    protocol: str  # stem of the benchmark file
    subset: str  # of the benchmark
    dataset: str  # of a measured run
    weights: str  # likewise
    leak: str  # of a measured run: what of the benchmark's data weights were trained on
    said: str  # where numbers are from that weren't measured here
    # the other columns, by metric and threshold (None where it has none)
    at: Mapping[tuple[str, float | None], Mapping[str, Any]] = field(repr=False)

    def get(self, metric: str, column: str = "value", threshold: float | None = None) -> Any:
        """What there is of a metric; None where there is nothing."""
        return self.at.get((metric, threshold), {}).get(column)

    def curve(self, metric: str) -> dict[float, float]:
        """The values of a metric by threshold."""
        return {t: row["value"] for (name, t), row in self.at.items() if name == metric and t}


_WHOSE = [field.name for field in fields(Numbers) if field.name != "at"]
COLUMNS = (
    Column("benchmark"),
    *map(Column, _WHOSE),
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


def results_frame(benchmark: str, records: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Records of `COLUMNS` as a table; what a record lacks is "" or missing."""
    import pandas as pd  # takes as long to import as everything else

    frame = pd.DataFrame(list(records), columns=names(COLUMNS))
    frame["benchmark"] = benchmark
    text = [column.name for column in COLUMNS if column.kind not in _TYPES]
    frame[text] = frame[text].astype(object).fillna("")
    return frame.astype({c.name: _TYPES[c.kind] for c in COLUMNS if c.kind in _TYPES})


def numbers_of(records: Iterable[Mapping[str, Any]]) -> list[Numbers]:
    """Records of the tidy table by row and subset, in their order."""
    found: dict[tuple[str, ...], dict[tuple[str, float | None], Mapping[str, Any]]] = {}
    for record in records:
        known = {name: value for name, value in record.items() if value is not None}
        own = found.setdefault(tuple(known.get(name, "") for name in _WHOSE), {})
        own[known["metric"], known.get("threshold")] = known
    return [
        Numbers(at=at, **dict[str, Any](zip(_WHOSE, key, strict=True))) for key, at in found.items()
    ]


def records_of(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of the tidy table, None for what is missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
