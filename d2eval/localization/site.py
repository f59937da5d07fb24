"""Results that a benchmark's site returned for a submission: ``site.csv`` of a run's folder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.text.display import csv_text
from d2eval.localization.localized import threshold_of
from d2eval.metrics.poses import Threshold
from d2eval.runs.rows import read_rows, reading

FILE = "site.csv"
GroupT = TypeVar("GroupT")


@dataclass(frozen=True)
class SiteResult(Generic[GroupT]):
    """What the site returned for one submission, in one group.

    Attributes:
        method: the method's registered name, or another one's.
        label: the run's, that is, its folder's name.
        group: what the numbers are of.
        percent: of localized queries, by threshold.
        source: where the numbers are from, in the user's words.
        date: when they were imported, ISO 8601.
    """

    method: str
    label: str
    group: GroupT
    percent: Mapping[Threshold, float]
    source: str
    date: str


@dataclass(frozen=True)
class SiteFormat(Generic[GroupT]):
    """How a benchmark's results are written.

    Attributes:
        keys: the columns that name a group, in the order of the fields of its dataclass.
        make_group: a group from the text in these columns; raises ValueError if there is none.
        percents: the percentages of a group, by threshold; raises ValueError.
    """

    keys: tuple[str, ...]
    make_group: Callable[..., GroupT]
    percents: Callable[[Sequence[str], GroupT], dict[Threshold, float]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header of ``site.csv``."""
        numbers = ("position_m", "rotation_deg", "percent")
        return ("method", "label", *self.keys, *numbers, "source", "date")

    def read(self, path: Path) -> list[SiteResult[GroupT]]:
        """Reads ``site.csv``; no file means no results.

        Raises:
            D2EvalError: it is broken.
        """
        if not path.exists():
            return []
        with reading(path, "import the site's numbers again, after moving the file away"):
            found: dict[GroupT, list[dict[str, str]]] = {}
            for row in read_rows(path, self.columns):
                group = self.make_group(*(row[key] for key in self.keys))
                found.setdefault(group, []).append(row)
            return [self._result(group, rows) for group, rows in found.items()]

    def _result(self, group: GroupT, rows: Sequence[Mapping[str, str]]) -> SiteResult[GroupT]:
        values = self.percents([row["percent"] for row in rows], group)
        if [threshold_of(row) for row in rows] != list(values):
            raise ValueError(f"the thresholds of {group} are not the benchmark file's")
        first = rows[0]
        for key in ("method", "label", "source", "date"):
            if any(row[key] != first[key] for row in rows):
                raise ValueError(f"the rows of {group} differ in {key}")
        return SiteResult(
            first["method"], first["label"], group, values, first["source"], first["date"]
        )

    def add(self, path: Path, result: SiteResult[GroupT]) -> bool:
        """Writes ``result`` beside what ``site.csv`` holds of other groups.

        Returns:
            Whether it replaced an earlier result of its group.

        Raises:
            D2EvalError: the file is broken, can't be written, or is of another method.
        """
        earlier = self.read(path)
        others = {old.method for old in earlier} - {result.method}
        if others:
            raise D2EvalError(
                f"{path}: is of method {others.pop()!r}, not {result.method!r}; choose another "
                "--label"
            )
        kept = [old for old in earlier if old.group != result.group]
        write_text(path, self.text([*kept, result]))
        return len(kept) < len(earlier)

    def text(self, results: Iterable[SiteResult[GroupT]]) -> str:
        """The content of ``site.csv``."""
        records = []
        for result in results:
            group: Any = result.group
            for threshold, value in result.percent.items():
                numbers = (threshold.position_m, threshold.rotation_deg, value)
                cells = (
                    *(result.method, result.label, *astuple(group)),
                    *(f"{number:g}" for number in numbers),
                    *(result.source, result.date),
                )
                records.append(dict(zip(self.columns, cells, strict=True)))
        return csv_text(self.columns, records)


def is_site_only(folder: Path) -> bool:
    """Whether nothing but the site's results is there: the submission was not made here."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {FILE}
