"""How the rows of a benchmark of image pairs compare, and how sure their means are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.summary import COSTS
from d2eval.foundation.text.words import real
from d2eval.metrics.bootstrap import Clustered, Statistic
from d2eval.runs.columns import Column
from d2eval.runs.items import Key, Measure, Series
from d2eval.runs.measured import SUMMARY
from d2eval.runs.rows import REMEDY, read_rows, reading

PAIRS = "pairs.csv"
_AT = re.compile(r"(.+)_([0-9]+(?:\.[0-9]+)?)(?:px|deg)")
_ABOUT = (*COSTS, "dataset", "weights")  # what follows the numbers of a row

Intervals = Mapping[str, Mapping[str, tuple[float, float]]]  # split -> column of summary -> ends


@dataclass(frozen=True)
class Compared:
    """A number of the summary, and the rows' that it is of.

    With {} in the names of columns and title it stands for one at each threshold that a run's
    summary has: a protocol of the user's may have others than d2eval's.
    """

    summary: str  # column of ``summary.csv``, such as "mma_3px"
    column: str  # of ``pairs.csv``
    title: str = ""  # what a comparison calls it; "" for the column's name
    statistic: Statistic = field(default_factory=Statistic)  # of the rows' numbers
    is_area: bool = False  # whether rows have errors, and it is their AUC up to the threshold
    lower: bool = False  # whether less is better
    shown: bool = True  # whether a comparison has it in Markdown; its CSV has all

    @property
    def measure(self) -> Measure:
        """It, as comparisons know it."""
        name, threshold = metric_of(self.summary)
        return Measure(
            name, threshold, title=self.title or self.column.replace("_", " "),
            statistic=self.statistic, lower=self.lower, shown=self.shown,
        )  # fmt: skip

    def at_thresholds(self, header: Iterable[str]) -> "list[Compared]":
        """It at each threshold of the columns of a summary."""
        start, has_threshold, end = self.summary.partition("{}")
        if not has_threshold:
            return [self]
        columns = [name for name in header if name.startswith(start) and name.endswith(end)]
        texts = [name.removeprefix(start).removesuffix(end) for name in columns]
        return [
            replace(
                self, summary=name, column=self.column.format(text), title=self.title.format(text),
                statistic=Statistic(real(text)) if self.is_area else self.statistic,
            )
            for name, text in zip(columns, texts, strict=True)
        ]  # fmt: skip


@dataclass(frozen=True)
class Pairing:
    """Which pairs belong together, and what of them is compared.

    Attributes:
        cluster: column of the pair's that names what it is of, such as "sequence"; whole ones are
            drawn where it is asked how sure a mean is. "": each pair is by itself.
        compared: the numbers, as far as a run has them; None: the mean of each, and more is better.
        ranked: column by which sequences, or pairs, are said to differ most; "": the first number.
    """

    cluster: str = ""
    compared: Sequence[Compared] | None = None
    ranked: str = ""

    def read(self, folder: Path) -> "PairNumbers":
        """The rows of a run.

        Raises:
            D2EvalError: ``pairs.csv`` is missing or broken.
        """
        with reading(folder / SUMMARY, REMEDY):
            columns_known = [name for row in read_rows(folder / SUMMARY, ())[:1] for name in row]
            known = [c for own in self.compared or () for c in own.at_thresholds(columns_known)]
        path = folder / PAIRS
        with reading(path, REMEDY):
            rows = read_rows(path, map(Column, filter(None, (self.cluster, "split"))))
            header = list(rows[0]) if rows else ["split"]
            keys = header[: header.index("split")]
            items = [tuple(row[name] for name in keys) for row in rows]
            if len(set(items)) < len(items):
                raise ValueError("a pair stands twice")
            numbers = [c for c in header[len(keys) + 1 :] if c not in _ABOUT]
            numbers = [c for c in numbers if any(row[c] for row in rows)]
            compared = [own for own in known if own.column in numbers]
            if not self.compared:
                compared = [Compared(f"mean_{c}", c) for c in numbers]
            columns = {own.column: [_number(row, own.column) for row in rows] for own in compared}
        return PairNumbers(
            self.cluster or "pair",
            items,
            [
                row[self.cluster] if self.cluster else " ".join(item)
                for row, item in zip(rows, items, strict=True)
            ],
            [row["split"] for row in rows],
            columns,
            compared,
            self.ranked,
        )


@dataclass(frozen=True)
class PairNumbers:
    """The rows of a run's pairs."""

    cluster: str  # what a cluster is called
    items: Sequence[Key]  # which pair each row is of
    clusters: Sequence[str]  # of each row, by name
    splits: Sequence[str]  # likewise
    columns: Mapping[str, Sequence[float]]  # numbers, by column
    compared: Sequence[Compared]  # what is said of them
    ranked: str  # column by which clusters differ

    @property
    def subsets(self) -> list[str]:
        """All pairs, and the splits where there are several."""
        splits = list(dict.fromkeys(self.splits))
        return [OVERALL, *(splits if len(splits) > 1 else [])]

    def series(self) -> list[Series]:
        """The numbers of each subset."""
        return [self._series(subset, own) for subset in self.subsets for own in self.compared]

    def ranking(self) -> Series:
        """The numbers by which clusters differ."""
        named = [own for own in self.compared if own.column == self.ranked]
        return self._series(OVERALL, (named or [*self.compared])[0])

    def _series(self, subset: str, own: Compared) -> Series:
        numbers = zip(self.items, self.columns[own.column], self.splits, strict=True)
        values = {item: value for item, value, split in numbers if subset in (OVERALL, split)}
        return Series(subset, own.measure, values)

    def intervals(self) -> Intervals:
        """The 95 % intervals of the summary's numbers, where clusters are enough."""
        found: dict[str, dict[str, tuple[float, float]]] = {}
        names = np.array(self.clusters)
        for subset in [OVERALL, *dict.fromkeys(self.splits)] if self.items else []:
            chosen = np.array([subset in (OVERALL, split) for split in self.splits])
            clustered = Clustered.of(names[chosen].tolist())
            for own in self.compared:
                values = np.array(self.columns[own.column])[chosen]
                interval = clustered.interval(values, own.statistic)
                if not np.isnan(interval).any():
                    found.setdefault(subset, {})[own.summary] = interval
        return found


def _number(row: Mapping[str, str], column: str) -> float:
    """The number in a column; NaN for an empty cell."""
    try:
        return real(row[column] or "nan")
    except ValueError:
        raise ValueError(f"{column} is {row[column]!r}, not a number") from None


def metric_of(column: str) -> tuple[str, float | None]:
    """The metric and threshold of a summary's column, such as ("mma", 3.0) of "mma_3px"."""
    if match := _AT.fullmatch(column):
        return match[1], float(match[2])
    return column, None
