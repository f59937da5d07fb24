"""What is shown of finished runs of image pairs: tables, curves, and their numbers one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from d2eval.evaluation.benchmark import Benchmark
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    import pandas as pd

    from d2eval.evaluation.pairing import Pairing
    from d2eval.evaluation.pairs_published import PublishedRow
    from d2eval.evaluation.pairs_runs import PairsRun
    from d2eval.report.figures import Choice
    from d2eval.report.tables import Table
    from d2eval.runs.items import RunItems
    from d2eval.runs.measured import RunRoots


@dataclass(frozen=True)
class Curves:
    """What of the summary is drawn over a threshold.

    Attributes:
        column: of the summary, with {} for the threshold, such as "mean_mma_{}px".
        thresholds: that are drawn.
        ylabel: what it is.
        xlabel: what the threshold is.
    """

    column: str
    thresholds: Sequence[float]
    ylabel: str
    xlabel: str = "threshold [px]"


class PairsShown(Benchmark):
    """The part of a benchmark of image pairs that reads what its runs have written.

    Attributes:
        curves: what of the summary its figure draws; None: it has no figure.
    """

    curves: ClassVar[Curves | None] = None

    def pairing(self) -> Pairing:
        """Which pairs belong together, and what of them is compared; by default, all numbers."""
        from d2eval.evaluation.pairing import Pairing

        return Pairing()

    def part(self, run: PairsRun) -> str:
        """What of the table and figure a run belongs to, such as a protocol, in a word; "": all."""
        return ""

    def published(self) -> Sequence[PublishedRow]:
        """The rows of sources that stand beside runs."""
        return ()

    def report(self, folder: Path | None) -> list[Path]:
        """Table and figure of one run."""
        from d2eval.evaluation.pairs_report import plot_curves, summary_table
        from d2eval.evaluation.pairs_runs import load_run
        from d2eval.report.tables import write_table

        if folder is None:
            return []
        runs = [load_run(folder, self.name, pairing=self.pairing())]
        beside = [own for own in self.published() if own.is_of(runs[0], self.part(runs[0]))]
        write_table(summary_table(self.name, runs, part=self.part, published=beside), folder)
        return plot_curves(self.name, runs, self.curves, folder) if self.curves else []

    def table(self, runs: RunRoots) -> Table:
        """A line for each run and split."""
        from d2eval.evaluation.pairs_report import summary_table
        from d2eval.evaluation.pairs_runs import load_runs

        found, notes = load_runs(runs, self.name, pairing=self.pairing())
        return summary_table(self.name, found, notes, self.part, self.published())

    def results(self, runs: RunRoots) -> pd.DataFrame:
        """Each number of each run's summary."""
        from d2eval.evaluation.pairs_runs import load_runs
        from d2eval.runs.results import results_frame

        found, _ = load_runs(runs, self.name, pairing=self.pairing())
        records = [record for own in self.published() for record in own.records()]
        for run in found:
            part = self.part(run)
            records += [
                {**own, "protocol": part, "subset": f"{part} {own['subset']}".strip()}
                for own in run.records()
            ]
        return results_frame(self.name, records)

    def items_of(self, folder: Path, label: str) -> RunItems:
        """Each pair's numbers."""
        from d2eval.evaluation.pairs_runs import load_items, load_run

        run = load_run(folder, self.name, label=label)
        found, part = load_items(run, self.name, self.pairing()), self.part(run)
        alike = {**found.alike, "protocol": part} if part else found.alike
        series = [replace(own, subset=f"{part} {own.subset}".strip()) for own in found.series]
        return replace(found, series=series, alike=alike)

    def figures(self, runs: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
        """The curves of all runs."""
        from d2eval.evaluation.pairs_report import plot_curves
        from d2eval.evaluation.pairs_runs import load_runs

        if self.curves is None:
            raise D2EvalError(f"{self.name} has no such figure")
        found, notes = load_runs(runs, self.name)
        if choice.run is not None:
            found = [run for run in found if run.label == choice.run]
        if choice.sample_only:
            found = [run for run in found if run.is_sample]
        parts = sorted({self.part(run) for run in found}) or [""]
        paths = [
            path
            for part in parts
            for path in plot_curves(
                "_".join(filter(None, (self.name, part))),
                [run for run in found if self.part(run) == part], self.curves, output,
            )
        ]  # fmt: skip
        return paths, notes
