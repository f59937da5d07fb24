"""The protocols of InLoc: ``benchmarks/inloc*.toml`` as typed values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.poses import Threshold


@dataclass(frozen=True)
class Layout:
    """Where things lie below the dataset's folder."""

    queries: str  # folder of the queries
    cutouts: str  # folder with floors/scans/images, and the depth of each image beside it
    alignments: str  # folder with floors/transformations/files
    scans: str  # folder with floors/files
    references: str  # reference poses of the queries, if there are any
    intrinsics: str  # of the queries, if there are any; COLMAP's cameras, a line each
    retrieval: tuple[str, ...]  # patterns of retrieval lists; the first with a file is used
    query_names: str  # beside a matrix of scores, the names of its rows
    cutout_names: str  # beside a matrix of scores, the names of its columns


@dataclass(frozen=True)
class Intrinsics:
    """Focal length in millimetres on film of a certain width: of the image's long side."""

    focal_length_mm: float
    film_width_mm: float


@dataclass(frozen=True)
class RetrievalSettings:
    """How many cutouts of a query are used."""

    candidates: int  # of the retrieval list; these are matched
    posed: int  # best of them after re-ranking; these are used for poses


@dataclass(frozen=True)
class InlocBenchmark:
    """The protocol."""

    protocol: str  # stem of the benchmark file
    name: str  # what a reader calls it
    layout: Layout  # of the dataset
    intrinsics: Intrinsics  # of queries without a line of their own
    complete: dict[str, int]  # counts of a full set: queries, cutouts, scans
    floors: dict[str, int]  # scans of a full set, by floor
    cutouts_per_scan: int  # of a full set
    retrieval: RetrievalSettings  # how many cutouts are used
    matcher: MatcherChoice  # the protocol's own, of sparse features
    thresholds: tuple[Threshold, ...]  # of the published table
    further_thresholds: tuple[Threshold, ...]  # finer ones
    tables: Mapping[str, dict[str, Any]]  # of the file, by name; each strategy reads its own
    overlaps: tuple[str, ...]  # what it measures on, see `d2eval.contracts.leaks`
    sha256: str  # of the protocol's numbers

    def strategy(self, name: str) -> dict[str, Any]:
        """The settings of a strategy, a copy of its table.

        Raises:
            D2EvalError: the protocol doesn't have it.
        """
        if name not in self.tables:
            raise D2EvalError(
                f"benchmarks/{self.protocol}.toml: no table [{name}]; it has "
                f"{', '.join(sorted(self.tables))}"
            )
        return dict(self.tables[name])


def check_choices(settings: object, **choices: Sequence[str]) -> None:
    """Sees to it that each field named has one of its values.

    Raises:
        D2EvalError: it has another.
    """
    for name, known in choices.items():
        if getattr(settings, name) not in known:
            value = getattr(settings, name)
            raise D2EvalError(f"{name} {value!r} is not known; use {' or '.join(known)}")


def load_benchmark(protocol: str = "inloc") -> InlocBenchmark:
    """Reads ``benchmarks/<protocol>.toml``."""
    file = load_protocol(protocol)
    content = dict(file.content)
    layout = dict(content.pop("layout"))
    lists = {
        name: tuple(Threshold(**entry) for entry in content.pop(name))
        for name in ("thresholds", "further_thresholds")
    }
    return InlocBenchmark(
        protocol=protocol,
        name=content.pop("name"),
        layout=Layout(**{**layout, "retrieval": tuple(layout["retrieval"])}),
        intrinsics=Intrinsics(**content.pop("intrinsics")),
        complete=dict(content.pop("complete")),
        floors=dict(content.pop("floors")),
        cutouts_per_scan=content.pop("cutouts_per_scan"),
        retrieval=RetrievalSettings(**content.pop("retrieval")),
        matcher=MatcherChoice.of_table(content.pop("matcher"), f"benchmarks/{protocol}.toml"),
        tables=content,
        overlaps=file.overlaps,
        sha256=file.sha256,
        **lists,
    )
