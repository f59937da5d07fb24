"""What runs measured of each item, an image pair or a query: what their comparison is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from d2eval.metrics.bootstrap import Statistic
from d2eval.runs.measured import Run

Key = tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """A number of each item, and what is said of many."""

    name: str  # of it, as in the tidy table, such as "mma"
    threshold: float | None = None  # that it holds at, if any: in pixels, or in metres
    angle: float | None = None  # in degrees, beside metres
    title: str = ""  # how Markdown calls it, such as "MMA@3px"
    statistic: Statistic = field(default_factory=Statistic)  # of many items
    scale: float = 1.0  # factor from an item's number to the one that is shown: 100 for percent
    hits: bool = False  # whether an item's number is 1 or 0, so that two runs' shares are compared
    lower: bool = False  # whether less is better
    shown: bool = True  # whether Markdown has it; a CSV has all

    @property
    def text(self) -> str:
        """The title, or the name in its place."""
        return self.title or self.name.replace("_", " ")

    @property
    def each(self) -> str:
        """What it is of one item: of an area under recall over error, an error."""
        return self.text if self.statistic.auc_at is None else f"error of {self.text}"

    @property
    def each_lower(self) -> bool:
        """Whether less is better of one item."""
        return self.lower or self.statistic.auc_at is not None


@dataclass(frozen=True)
class Series:
    """The numbers of a subset's items."""

    subset: str  # of the benchmark
    measure: Measure  # what they are
    values: Mapping[Key, float]  # by item


@dataclass(frozen=True)
class RunItems:
    """What one run measured of each item."""

    run: Run  # whose they are
    manifest: Mapping[str, Any]  # of the run
    item: str  # what an item is called, such as "pair"
    # what items that belong together are called, such as "sequence"; where each is by itself, as
    # the item
    cluster: str
    clusters: Mapping[Key, str]  # the name of each item's
    series: Sequence[Series]  # all subsets and measures
    ranked: Series  # what tells which clusters differ most
    alike: Mapping[str, str]  # what runs that compare have in common, in words -> of this run
    further_seeds: tuple[int, ...] = ()  # of other runs that are taken as one with it
    # why an item has no number, as far as the run says it
    reasons: Mapping[Key, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of what was drawn; several where runs are taken as one."""
        return (int(self.manifest.get("seed") or 0), *self.further_seeds)


def over_seeds(runs: Sequence[RunItems]) -> RunItems:
    """Runs that differ in their seed alone as one, whose items are those of each seed.

    The seed becomes the last part of an item's key, so that items pair by seed.
    """
    if len(runs) == 1:
        return runs[0]

    def joined(parts: Sequence[Series]) -> Series:
        values = {
            (*key, str(own.seeds[0])): value
            for own, part in zip(runs, parts, strict=True)
            for key, value in part.values.items()
        }
        return replace(parts[0], values=values)

    first = runs[0]
    clusters = {
        (*key, str(own.seeds[0])): name for own in runs for key, name in own.clusters.items()
    }
    series = [joined(parts) for parts in zip(*(own.series for own in runs), strict=True)]
    ranked = joined([own.ranked for own in runs])
    further = tuple(own.seeds[0] for own in runs[1:])
    return replace(first, clusters=clusters, series=series, ranked=ranked, further_seeds=further)
