"""A benchmark of camera poses: what it shows of its runs follows from its report's description."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2eval.evaluation.benchmark import Benchmark

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from d2eval.localization.description import Report
    from d2eval.localization.groups import Kind
    from d2eval.localization.site import SiteFormat
    from d2eval.report.figures import Choice, Sources
    from d2eval.report.tables import Table
    from d2eval.runs.items import RunItems
    from d2eval.runs.measured import RunPlace, RunRoots


class LocalizationBenchmark(Benchmark):
    """A benchmark of camera poses, whose queries only a site can score."""

    @abstractmethod
    def description(self) -> Report[Any]:
        """What its report says; imported when it is asked for."""

    @abstractmethod
    def row_options(self, kind: Kind) -> Sequence[str]:
        """The options of the command that measures rows of a kind."""

    def paper_rows(self) -> Mapping[str, Sequence[str]]:
        """The D2-Net paper's."""
        kinds = self.description().published[0].kinds or {}
        return {name: self.row_options(kind) for name, kind in kinds.items()}

    def report(self, folder: Path | None) -> list[Path]:
        """The paper's table, recall, and what else there is to see of the run."""
        from d2eval.localization.pictures import write_report

        return write_report(self.description(), folder)

    def results(self, runs: RunRoots) -> pd.DataFrame:
        """Published, measured and returned ones."""
        from d2eval.localization.runs import load_runs

        return load_runs(self.description(), runs).numbers

    def items_of(self, folder: Path, label: str) -> RunItems:
        """Whether each query is localized, at each threshold."""
        from d2eval.localization.items import load_items

        return load_items(self.description(), folder, label)

    def item_names(self, folder: Path, label: str) -> list[str]:
        """All queries, with a reference pose or without."""
        from d2eval.localization.pictures import query_names

        return query_names(self.description(), folder)

    def view(self, runs: Sequence[RunPlace], item: str, sources: Sources) -> Figure:
        """What the runs left of a query."""
        from d2eval.localization.pictures import draw_query

        return draw_query(self.description(), runs, item, sources)

    def site(self) -> SiteFormat[Any]:
        """What visuallocalization.net returns."""
        return self.description().site

    def table(self, runs: RunRoots) -> Table:
        """The paper's table."""
        from d2eval.localization.runs import load_runs
        from d2eval.localization.table import table_of_runs

        return table_of_runs(self.description(), load_runs(self.description(), runs))

    def figures(self, runs: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
        """Recall, and pictures of each run."""
        from d2eval.localization.pictures import plot_all

        return plot_all(self.description(), runs, output / self.name, choice)
