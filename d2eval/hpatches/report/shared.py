"""Counts of a run on part of HPatches beside the published ones of the same sequences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2eval.contracts.protocol import load_protocol
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.hpatches.report.published import Counts, PaperRow
from d2eval.runs.columns import WHOLE, Column
from d2eval.runs.results import MEASURED, PUBLISHED
from d2eval.runs.rows import REMEDY, read_rows, reading

_COUNTS = tuple(Column(name, kind=WHOLE) for name in ("features_1", "features_k", "matches"))


@dataclass(frozen=True)
class Shared:
    """Mean counts on the sequences that a partial run and the published results both have."""

    run: PairsRun
    paper: PaperRow  # beside which it stands
    sequences: Sequence[str]
    # split -> mean features of an image and matches of a pair; none where no sequence is shared
    published: Mapping[str, Mapping[str, float]]
    measured: Mapping[str, Mapping[str, float]]

    def records(self) -> list[dict[str, Any]]:
        """The means as records of the tidy table; the dataset names the sequences."""
        names = f"{len(self.sequences)} shared sequences ({', '.join(self.sequences)})"
        whose = {"run": self.run.label, "method": self.paper.method, "dataset": names}
        published = {"source": PUBLISHED, "row": self.paper.name, **whose}
        measured = {"source": MEASURED, "weights": self.run.weights, **whose}
        return [
            {**side, "subset": f"shared_{split}", "metric": metric, "value": value}
            for side, means in ((published, self.published), (measured, self.measured))
            for split, own in means.items()
            for metric, value in own.items()
        ]


def shared_counts(paper: PaperRow, run: PairsRun) -> Shared:
    """What a run on part of the sequences has in common with the published results.

    Raises:
        D2EvalError: its rows are missing or broken.
    """
    measured = _measured_counts(run)
    shared = sorted(measured.keys() & paper.counts.keys())
    sides = (
        mean_counts({name: counts[name] for name in shared}) for counts in (paper.counts, measured)
    )
    return Shared(run, paper, shared, *sides)


def mean_counts(counts: Counts) -> dict[str, dict[str, float]]:
    """Split (overall, i, v) -> mean features of an image and matches of a pair."""
    means = {}
    images = load_protocol("hpatches").content["images_per_sequence"]
    for split, start in (("overall", ""), ("i", "i_"), ("v", "v_")):
        own = [counts[name] for name in counts if name.startswith(start)]
        if own:
            features, matches = map(sum, zip(*own, strict=True))
            means[split] = {
                "mean_features": features / (images * len(own)),
                "mean_matches": matches / ((images - 1) * len(own)),
            }
    return means


def _measured_counts(run: PairsRun) -> Counts:
    counts: dict[str, tuple[int, int]] = {}
    path = run.folder / "pairs.csv"
    with reading(path, REMEDY):
        for row in read_rows(path, (Column("sequence"), *_COUNTS)):
            first, other, matches = (int(column.value(row)) for column in _COUNTS)
            features, before = counts.get(row["sequence"], (first, 0))
            counts[row["sequence"]] = (features + other, before + matches)
    return counts
