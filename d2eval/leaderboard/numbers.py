"""Published, measured and returned numbers of the same thing, side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from d2eval.report.names import method_name
from d2eval.runs.items import Measure
from d2eval.runs.measured import named
from d2eval.runs.results import PUBLISHED

Record = Mapping[str, Any]

COLUMNS = (
    "run", "row", "method", "protocol", "subset", "measure", "published", "measured", "site",
    "difference", "low", "high", "count", "of",
)  # fmt: skip
_KIND = ("strategy", "verification", "protocol")  # what tells a method's published rows apart
_LESS = ("m", "deg", "s", "MiB", "MB")  # units of which less is better
_SUFFIXES = {"_mib": "MiB", "_deg": "deg"}
_COSTS = ("s", "MiB", "MB")


class Measures:
    """The measures of a benchmark, each with its place in the list."""

    def __init__(self, known: Iterable[Measure]) -> None:
        """Takes what items' measures say of themselves."""
        self._known = {(m.name, m.threshold, m.angle): m for m in known}
        self._found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def index(self, record: Record) -> int:
        """The place of what a number is of."""
        key = (record["metric"], record.get("threshold"), record.get("angle"))
        if key not in self._found:
            unit = _unit(record)
            own = self._known.get(key)
            self._found[key] = {
                "metric": key[0], "threshold": key[1], "angle": key[2], "unit": unit,
                "title": own.text if own else _title(key[0], key[1], unit),
                "lower": unit in _LESS if own is None else own.lower,
                "cost": unit in _COSTS,
            }  # fmt: skip
        return list(self._found).index(key)

    @property
    def listed(self) -> list[dict[str, Any]]:
        """All that were asked for."""
        return list(self._found.values())


def side_by_side(
    records: Sequence[Record],
    labels: Sequence[str],
    measures: Measures,
    stands_beside: Callable[[str], bool],
) -> list[list[Any]]:
    """Rows of `COLUMNS`: a published, a measured and a returned number where they are of the same.

    Args:
        records: of the tidy table.
        labels: of measured runs; a row's ``run`` is a place among them, None of a row of no run.
        measures: a row's ``measure`` is a place among them.
        stands_beside: whether published numbers may stand beside those of the run of a label.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    runs = {label: index for index, label in enumerate(labels)}
    kinds: dict[tuple[str, ...], list[str]] = {}  # published row's -> runs beside it
    for record in records:
        if record["source"] != PUBLISHED:
            label = record["run"]
            own = kinds.setdefault(_kind(record), [])
            if label not in own and (label not in runs or stands_beside(label)):
                own.append(label)
    for record in records:
        value = record.get("value")
        if value is None:
            continue
        place = (record["subset"], measures.index(record))
        beside = [record["run"]]
        if record["source"] == PUBLISHED and not record["run"]:
            beside = kinds.get(_kind(record), []) or [""]
        for label in beside:
            name = label or record["row"]
            row = rows.setdefault(
                (label, "" if label else _name_of(record), _kind(record), *place),
                {
                    "run": runs.get(label),
                    "row": name if label not in runs else "",
                    "method": record["method"] and named(record["method"], record["matcher"]),
                    "protocol": record["protocol"], "subset": place[0], "measure": place[1],
                },
            )  # fmt: skip
            row[record["source"]] = value
            if record["source"] != PUBLISHED:
                row |= {k: record[k] for k in ("low", "high", "count", "of") if record.get(k)
                        is not None}  # fmt: skip
    for row in rows.values():
        if row.get("published") is not None and row.get("measured") is not None:
            row["difference"] = row["measured"] - row["published"]
    return [[row.get(name) for name in COLUMNS] for row in rows.values()]


def _kind(record: Record) -> tuple[str, ...]:
    return (record["method"], record["matcher"], *(record[name] for name in _KIND))


def _name_of(record: Record) -> str:
    return str(record["row"] or method_name(record["method"]))


def _unit(record: Record) -> str:
    """The unit, which some metrics have in their name."""
    name = record["metric"]
    if name.startswith("seconds"):
        return "s"
    if suffix := next((end for end in _SUFFIXES if name.endswith(end)), None):
        return _SUFFIXES[suffix]
    return record.get("unit") or ""


def _title(metric: str, threshold: float | None, unit: str) -> str:
    words = metric
    for suffix in _SUFFIXES:
        words = words.removesuffix(suffix)
    words = words.replace("_", " ")
    at = "" if threshold is None else f" at {threshold:g}"
    return f"{words}{at}" + (f" [{unit}]" if unit else "")
