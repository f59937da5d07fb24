"""Results that a benchmark's site returned for a submission: ``site.csv`` of a run's folder."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.text.display import csv_text
from d2eval.localization.columns import THRESHOLD
from d2eval.localization.groups import Group
from d2eval.metrics.poses import Threshold
from d2eval.runs.columns import Column, names, number
from d2eval.runs.results import SITE
from d2eval.runs.rows import read_rows, reading

FILE = "site.csv"
GroupT = TypeVar("GroupT", bound=Group)


@dataclass(frozen=True)
class SiteResult(Generic[GroupT]):
    """What the site returned for one submission, in one group."""

    method: str  # the method's registered name, or another one's
    label: str  # the run's, that is, its folder's name
    group: GroupT  # what the numbers are of
    percent: Mapping[Threshold, float]  # of localized queries, by threshold
    source: str  # where the numbers are from, in the user's words
    date: str  # when they were imported, ISO 8601

    def records(self) -> list[dict[str, Any]]:
        """Its numbers as records of the tidy table."""
        method, _, matcher = self.method.partition(" + ")
        shared = {
            "source": SITE, "run": self.label, "method": method, "matcher": matcher,
            "protocol": self.group.protocol, "subset": self.group.subset,
            "said": ", ".join(filter(None, (self.date, self.source))),
        }  # fmt: skip
        return [{**shared, **localized(limit, value)} for limit, value in self.percent.items()]


@dataclass(frozen=True)
class SiteFormat(Generic[GroupT]):
    """How a benchmark's results are written."""

    group: type[GroupT]  # the benchmark's kind of group
    # a group from its protocol and parts; raises ValueError if the site reports no such one
    make_group: Callable[..., GroupT]
    # how many of a group's coarsest thresholds the site may leave out
    unreported: Callable[[GroupT], int]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of ``site.csv``."""
        start = ("method", "label", "protocol", *self.group.parts())
        end = ("percent", "source", "date")
        return (*map(Column, start), *THRESHOLD, *map(Column, end))

    def percents(self, values: Sequence[str], group: GroupT) -> dict[Threshold, float]:
        """The percentages as the site shows them, by threshold.

        Values are a number each, or several joined by slashes ("44.9 / 66.3 / 88.8").

        Raises:
            ValueError: their count is not the group's, one is no percentage, or they fall.
        """
        words = " ".join(values).replace("/", " ").split()
        found = [percent(word) for word in words]
        most = len(group.thresholds)
        least = most - self.unreported(group)
        if not least <= len(found) <= most:
            count = str(least) if least == most else f"{least} or {most}"
            what = f"{self.group.parts()[0]} {astuple(group)[1]}"
            raise ValueError(f"{len(found)} values; {what} takes {count}")
        if any(coarse < fine for fine, coarse in pairwise(found)):
            raise ValueError(
                f"{' '.join(words)} fall, but a coarser threshold never localizes fewer queries"
            )
        return dict(zip(group.thresholds, found, strict=False))

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
                group = self.make_group(row["protocol"], *(row[p] for p in self.group.parts()))
                found.setdefault(group, []).append(row)
            return [self._result(group, rows) for group, rows in found.items()]

    def _result(self, group: GroupT, rows: Sequence[Mapping[str, str]]) -> SiteResult[GroupT]:
        values = self.percents([row["percent"] for row in rows], group)
        if [Threshold(*(number(row, c.name) for c in THRESHOLD)) for row in rows] != list(values):
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
        header, records = names(self.columns), []
        for result in results:
            for threshold, value in result.percent.items():
                numbers = (threshold.position_m, threshold.rotation_deg, value)
                cells = (
                    *(result.method, result.label, *astuple(result.group)),
                    *(f"{number:g}" for number in numbers),
                    *(result.source, result.date),
                )
                records.append(dict(zip(header, cells, strict=True)))
        return csv_text(header, records)


def localized(threshold: Threshold, value: float, **more: Any) -> dict[str, Any]:
    """What the tidy table says of a share of localized queries, in percent."""
    where = {"threshold": threshold.position_m, "angle": threshold.rotation_deg}
    return {"metric": "localized", **where, "value": value, "unit": "%", **more}


def percent(text: str) -> float:
    """A percentage.

    Raises:
        ValueError: not a number in 0..100.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 100.0:
        raise ValueError(f"{text!r} is not a percentage in 0..100")
    return value


def is_site_only(folder: Path) -> bool:
    """Whether nothing but the site's results is there: the submission was not made here."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {FILE}
