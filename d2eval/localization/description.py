"""What a benchmark of camera poses says of its report; the rest is the same for each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from d2eval.localization.groups import Group, Kind, LocalizedRun, Section
from d2eval.localization.site import SiteFormat, SiteResult
from d2eval.runs.columns import Column
from d2eval.runs.manifest import Manifest
from d2eval.runs.results import Numbers

GroupT = TypeVar("GroupT", bound=Group)


@dataclass(frozen=True)
class Words:
    """What a benchmark's report says.

    Attributes:
        heading: of its tables.
        introduction: below it.
        row: what its rows are called.
        posed: what the queries with a pose are called.
        sample: title of the figures of the embedded sample.
        paper: notes on the paper's table.
        unscored: note on runs without reference poses.
        partial: note on runs with a partial dataset.
    """

    heading: str
    introduction: str
    row: str
    posed: str
    sample: str
    paper: Sequence[str]
    unscored: str
    partial: str


@dataclass(frozen=True)
class Cost:
    """What a row tells of its features.

    Attributes:
        metric: in the tidy table.
        measured: its column in a run's summary.
        columns: of the table: as published, and measured.
    """

    metric: str
    measured: str
    columns: tuple[Column, Column]


@dataclass(frozen=True)
class CurveRule:
    """How recall is counted over the position error.

    Attributes:
        last_m: where curves end.
        strict: whether an error must be smaller than the threshold.
        one_angle: whether the coarsest threshold's angle holds for all; otherwise each stretch has
            that of the first threshold not below it.
    """

    last_m: float
    strict: bool
    one_angle: bool


@dataclass(frozen=True)
class QueryPictures:
    """Pictures of single queries, which a run may leave.

    Attributes:
        file: what they are drawn from.
        folder: what they show, and where they go in that of the run's figures.
        hint: for somebody whose query isn't there.
        names: the queries of a file.
        plot: draws some of them into a folder.
    """

    file: str
    folder: str
    hint: str
    names: Callable[[Path], list[str]]
    plot: Callable[[Path, Sequence[str], Path], Iterator[Path]]


@dataclass(frozen=True)
class Published:
    """A file of published numbers.

    Attributes:
        file: its name in ``results/published``.
        group: what its rows are of; where its rows are of several, its last part is a column.
        kinds: of the paper's rows, by name in their order; None: the file names the methods.
        kind: what such rows are beside the method.
    """

    file: str
    group: Group
    kinds: Mapping[str, Kind] | None = None
    kind: Kind = field(default_factory=lambda: Kind(""))


class Report(ABC, Generic[GroupT]):
    """A benchmark's report.

    Attributes:
        name: of the benchmark.
        group: its kind of group.
        site: which results its site returns.
        words: of its report.
        protocols: what they are called, by stem of the benchmark file.
        query_parts: what its queries may be of, by ``queries.csv``.
        summary: columns of ``summary.csv``.
        queries: columns of ``queries.csv``.
        posed: the column of both that says how many queries have a pose, or which.
        cost: what a row tells of its features.
        extra: further columns of its table in Markdown, before those on where numbers are from.
        flat: names of the columns of its table's CSV, likewise.
        rule: of its curves.
        pictures: of single queries.
        published: what is; the paper's first.
        always: sections that are there without any run.
    """

    name: str
    group: type[GroupT]
    site: SiteFormat[GroupT]
    words: Words
    protocols: Mapping[str, str]
    query_parts: Collection[str]
    summary: tuple[Column, ...]
    queries: tuple[Column, ...]
    posed: str
    cost: Cost
    extra: Sequence[Column] = ()
    flat: Sequence[str]
    rule: CurveRule
    pictures: QueryPictures
    published: Sequence[Published]
    always: Sequence[Section]

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
