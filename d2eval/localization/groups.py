"""What may stand in one table or panel, and what of it belongs in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.poses import Threshold
from d2eval.runs.measured import COMPLETE, Run, named
from d2eval.runs.results import Numbers
from d2eval.runs.rows import REMEDY

QUERIES = "queries.csv"


def difference(percent: float, published: float) -> float:
    """Percentage points from the published number, which has one decimal."""
    return round(percent - published, 6)  # what lies below is float noise


@dataclass(frozen=True)
class Group:
    """Queries whose numbers compare: those of one protocol, and of one part of it.

    Each benchmark has its own; the fields after the protocol are also columns of its rows.
    """

    protocol: str

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """The names of the columns that say which part it is."""
        return tuple(field.name for field in fields(cls))[1:]

    @property
    def is_known(self) -> bool:
        """Whether a run's rows may be of it."""
        raise NotImplementedError

    def query_parts(self, scored: bool) -> Sequence[str]:
        """Which queries count to it, by its last part in ``queries.csv``.

        ``scored`` says that there are reference poses.
        """
        return [astuple(self)[-1]]

    @property
    def subset(self) -> str:
        """The part, in a word or two."""
        return " ".join(astuple(self)[1:])

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds of published numbers, from fine to coarse."""
        raise NotImplementedError

    @property
    def measured(self) -> tuple[Threshold, ...]:
        """The thresholds of a run's rows, in their order."""
        return self.thresholds


@dataclass(frozen=True)
class Kind:
    """What makes a row of a table: whose features, and how they are matched and poses found."""

    method: str  # registered name; of features merged with dense maps, theirs
    matcher: str = ""  # one that isn't the protocol's, or ""
    strategy: str = ""  # InLoc's "direct", "sparse", "dense", "merge" or "pooled"
    verification: str = ""  # InLoc's "none" or "dense_pv"

    @property
    def named(self) -> str:
        """The method, and the matcher where it is another one."""
        return named(self.method, self.matcher)


@dataclass(frozen=True)
class Section:
    """A table of its own."""

    kind: str  # of section, in the benchmark's words
    group: Any  # what its rows share
    title: str  # its heading
    rank: tuple[int, ...]  # where it stands
    thresholds: tuple[Threshold, ...]  # of its columns, from fine to coarse
    published: Any = None  # the group whose published rows stand in it; None for none
    is_paper: bool = False  # whether these are the paper's; they make a panel also alone
    compares: bool = False  # whether a difference from these says something
    submitted: bool = False  # whether what was measured here may also have been submitted
    # stem of the figure that shows it; None for one that repeats another's runs
    figure: str | None = None
    panel: str = ""  # title of its panel
    notes: tuple[str, ...] = ()  # below it
    measured_note: str = ""  # before them, where it has runs
    scored_note: str = ""  # below it, where it has measured percentages
    returned_note: str = ""  # below it, where it has the site's


@dataclass(frozen=True)
class Queries:
    """What a run says of its queries, by the part that they are of and their names."""

    # metres and degrees of those with references, infinite without a pose and where it is none of
    # the query's frame
    errors: Mapping[str, Mapping[str, tuple[float, float]]]
    reasons: Mapping[str, Mapping[str, str]]  # why one has no pose, in words
    lacks: str = ""  # why errors aren't known, of runs of earlier versions


@dataclass(frozen=True)
class LocalizedRun(Run):
    """One localization of all queries."""

    folder: Path  # where its files lie
    manifest: Mapping[str, Any] = field(repr=False)  # the whole of it
    protocol: str  # stem of the benchmark file
    kind: Kind  # says whose row it stands beside
    holdout: int | None  # how many database images were held out as queries; None for none
    queries: Queries = field(repr=False)  # what it says of each

    @property
    def errors(self) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        """Of its queries.

        Raises:
            D2EvalError: its file lacks them.
        """
        if self.queries.lacks:
            raise D2EvalError(f"{self.folder / QUERIES}: {self.queries.lacks}; {REMEDY}")
        return self.queries.errors


@dataclass(frozen=True)
class Line:
    """One line of a section: a run, or a published row, or both."""

    section: Section  # where it stands
    name: str  # of the row
    kind: Kind  # what makes the row
    published: Numbers | None = None  # the published numbers it stands beside
    run: LocalizedRun | None = None  # the measured run, if there is one
    measured: Numbers | None = None  # its numbers
    # what the site returned for that run, or for one not measured here
    returned: Numbers | None = None

    @property
    def label(self) -> str | None:
        """Of the run or submission."""
        own = self.measured or self.returned
        return own.run if own else None

    @property
    def queries(self) -> int | None:
        """How many were there to localize."""
        return self.measured.get("posed", "of") if self.measured else None

    def at(self, threshold: Threshold) -> dict[str, Any]:
        """What there is to say of a threshold, by column of the table."""
        sources = {"published": self.published, "measured": self.measured, "site": self.returned}
        found = {
            column: own.get("localized", threshold=threshold.position_m)
            for column, own in sources.items()
            if own
        }
        cells = {column: value for column, value in found.items() if value is not None}
        if self.measured and "measured" in cells:
            own = self.measured.at["localized", threshold.position_m]
            cells |= {"localized": own["count"], "percent_low": own["low"]}
            cells |= {"percent_high": own["high"]}
        if "published" in cells and self.section.compares:
            if "measured" in cells and self.run and self.run.dataset == COMPLETE:
                cells["difference"] = difference(cells["measured"], cells["published"])
            if "site" in cells:
                cells["site_difference"] = difference(cells["site"], cells["published"])
        return cells
