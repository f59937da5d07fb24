"""Published numbers of benchmarks of image pairs, as data in ``results/published/<name>.csv``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.pairing import metric_of
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.runs.columns import REAL, Column
from d2eval.runs.measured import named
from d2eval.runs.published import REMEDY, published_file
from d2eval.runs.results import PUBLISHED
from d2eval.runs.rows import read_rows, reading

ABOUT = ("row", "measured_as", "matcher", "protocol", "constants", "source")


@dataclass(frozen=True)
class PublishedRow:
    """A row of a source, over all pairs.

    Attributes:
        row: what the source calls it.
        measured_as: the method's registered name; "" where d2eval has none.
        matcher: one that isn't the protocol's, or "".
        protocol: stem of the benchmark file beside whose rows it stands.
        constants: in what its own are others than the protocol's; "" in none.
        percent: by column of a run's summary; those are shares.
        source: where it was published.
    """

    row: str
    measured_as: str
    matcher: str
    protocol: str
    constants: str
    percent: Mapping[str, float]
    source: str

    @property
    def part(self) -> str:
        """What of a table it belongs to: no run's where its constants are others."""
        return f"{self.protocol} ({self.constants})" if self.constants else self.protocol

    def is_of(self, run: PairsRun, part: str) -> bool:
        """Whether a run of a part measures the same: of all features, and not on the sample."""
        same = self.measured_as and named(self.measured_as, self.matcher) == run.named
        return bool(same) and part == self.part and run.top_k is None and not run.is_sample

    def records(self) -> Iterator[dict[str, Any]]:
        """Its numbers as records of the tidy table, shares as a run's."""
        shared = {
            "source": PUBLISHED, "row": self.row, "method": self.measured_as,
            "matcher": self.matcher, "protocol": self.part, "subset": f"{self.part} {OVERALL}",
            "said": self.source,
        }  # fmt: skip
        for column, percent in self.percent.items():
            metric, threshold = metric_of(column)
            yield {**shared, "metric": metric, "threshold": threshold, "value": share(percent)}


def share(percent: float) -> float:
    """Percent as a share, without float noise below what was printed."""
    return round(percent / 100, 6)


def published_rows(name: str) -> list[PublishedRow]:
    """The rows of ``results/published/<name>.csv``.

    Raises:
        D2EvalError: the file is missing or broken.
    """
    path = published_file(f"{name}.csv")
    with reading(path, REMEDY):
        rows = read_rows(path, map(Column, ABOUT))
        numbers = [Column(c, kind=REAL, most=100.0) for c in rows[0] if c not in ABOUT]
        return [
            PublishedRow(
                percent={c.name: float(c.value(row)) for c in numbers if row[c.name]},
                **{name: row[name] for name in ABOUT},
            )
            for row in rows
        ]
