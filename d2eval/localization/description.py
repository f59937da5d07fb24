"""What a benchmark of camera poses says of its report; the rest is the same for each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from d2eval.localization.groups import Group, Kind, LocalizedRun, Section
from d2eval.localization.site import SiteFormat, SiteResult
from d2eval.report.figures import Sources
from d2eval.runs.columns import Column
from d2eval.runs.manifest import Manifest
from d2eval.runs.results import Numbers

GroupT = TypeVar("GroupT", bound=Group)


@dataclass(frozen=True)
class Words:
    """What a benchmark's report says."""

    heading: str  # of its tables
    introduction: str  # below it
    row: str  # what its rows are called
    posed: str  # what the queries with a pose are called
    sample: str  # title of the figures of the embedded sample
    paper: Sequence[str]  # notes on the paper's table
    unscored: str  # note on runs without reference poses
    partial: str  # note on runs with a partial dataset


@dataclass(frozen=True)
class Cost:
    """What a row tells of its features."""

    metric: str  # in the tidy table
    measured: str  # its column in a run's summary
    columns: tuple[Column, Column]  # of the table: as published, and measured


@dataclass(frozen=True)
class CurveRule:
    """How recall is counted over the position error."""

    last_m: float  # where curves end
    strict: bool  # whether an error must be smaller than the threshold
    # whether the coarsest threshold's angle holds for all; otherwise each stretch has that of the
    # first threshold not below it
    one_angle: bool


@dataclass(frozen=True)
class PicturedRun:
    """A run and what it says of one query."""

    path: Path  # of the file that its pictures are drawn from
    title: str  # its label and the query's error


@dataclass(frozen=True)
class QueryPictures:
    """Pictures of single queries, which a run may leave."""

    file: str  # what they are drawn from
    hint: str  # for somebody whose run has none
    draw: Callable[[Sequence[PicturedRun], str, Sources], Figure]  # what runs found of a query


@dataclass(frozen=True)
class Published:
    """A file of published numbers."""

    file: str  # its name in ``results/published``
    group: Group  # what its rows are of; where its rows are of several, its last part is a column
    # of the paper's rows, by name in their order; None: the file names the methods
    kinds: Mapping[str, Kind] | None = None
    kind: Kind = field(default_factory=lambda: Kind(""))  # what such rows are beside the method


class Report(ABC, Generic[GroupT]):
    """A benchmark's report."""

    name: str  # of the benchmark
    group: type[GroupT]  # its kind of group
    site: SiteFormat[GroupT]  # which results its site returns
    words: Words  # of its report
    protocols: Mapping[str, str]  # what they are called, by stem of the benchmark file
    query_parts: Collection[str]  # what its queries may be of, by ``queries.csv``
    summary: tuple[Column, ...]  # columns of ``summary.csv``
    queries: tuple[Column, ...]  # columns of ``queries.csv``
    posed: str  # the column of both that says how many queries have a pose, or which
    cost: Cost  # what a row tells of its features
    # further columns of its table in Markdown, before those on where numbers are from
    extra: Sequence[Column] = ()
    flat: Sequence[str]  # names of the columns of its table's CSV, likewise
    rule: CurveRule  # of its curves
    pictures: QueryPictures  # of single queries
    published: Sequence[Published]  # what is; the paper's first
    always: Sequence[Section]  # sections that are there without any run

    @abstractmethod
    def kind_of(self, manifest: Manifest) -> Kind:
        """What makes the run's row.

        Raises:
            ValueError: an entry of the manifest is missing or broken.
        """

    @abstractmethod
    def name_of(self, kind: Kind) -> str:
        """How a row is called that stands beside no published one."""

    @abstractmethod
    def sections(self, run: LocalizedRun, group: GroupT, numbers: Numbers) -> Sequence[Section]:
        """Where a run's numbers stand."""

    @abstractmethod
    def open_section(self, group: GroupT) -> Section:
        """Where numbers stand that the site returned for no run that is there."""

    def addition(self, run: LocalizedRun) -> str:
        """What a row's name says after it, of an option that changes what its numbers mean."""
        return ""

    def line_of(self, kind: Kind) -> str | None:
        """The line style of a row; None for the method's."""
        return None

    def further(
        self, returned: Sequence[SiteResult[GroupT]]
    ) -> tuple[list[SiteResult[GroupT]], list[str]]:
        """What follows from the site's results, and notes on what doesn't."""
        return [], []

    def plot_run(self, run: LocalizedRun, output: Path) -> tuple[list[Path], list[str]]:
        """Draws what else there is of one run; paths, and notes on what is left out."""
        return [], []
