"""The contract of a benchmark: what it measures on which data, and how its numbers are shown.

A benchmark is found by its name in ``methods/registry.toml`` or through the entry points
``d2eval.benchmarks``, and gets from this class its command, its sample, its check, its rows, table
and figure. One that measures something of image pairs is a `d2eval.PairsBenchmark`, which needs
much less.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.contracts.options import NoOptions, Runtime
from d2eval.contracts.registry import BENCHMARKS, find_class
from d2eval.foundation.errors import D2EvalError
from d2eval.scheduling.executor import HERE, Executor

if TYPE_CHECKING:  # what is heavy is imported when a benchmark runs, not for its help
    import pandas as pd
    from matplotlib.figure import Figure

    from d2eval.contracts.architecture import Architecture
    from d2eval.contracts.matcher import MatcherChoice
    from d2eval.pipeline.extraction import MethodChoice
    from d2eval.report.figures import Choice, Sources
    from d2eval.report.tables import Table
    from d2eval.runs.folder import Row, RunName
    from d2eval.runs.items import Key, RunItems
    from d2eval.runs.measured import RunPlace, RunRoots
    from d2eval.scheduling.plan import Planned
    from d2eval.scheduling.work import Parts


@dataclass(frozen=True)
class Request:
    """What is to be measured, beside the benchmark's own options.

    Attributes:
        method: whose features; None where the benchmark needs none, or takes none.
        matcher: of them; None: the protocol's.
        runtime: device, seed, cache.
        output: the folder of runs; this one's lies in ``output/<benchmark>/<label>/``.
        workers: threads that read and write while features are extracted.
        name: of the run; None: one that says what it is of.
        sample: whether it is on the benchmark's own sample.
        tell: is given lines for the user.
        executor: has the units of stages made by workers before the run goes through them.
    """

    method: MethodChoice | None
    matcher: MatcherChoice | None = None
    runtime: Runtime = field(default_factory=Runtime)
    output: Path = Path("results/runs")
    workers: int = 1
    name: str | None = None
    sample: bool = False
    tell: Callable[..., None] = lambda *_: None
    executor: Executor = HERE


@dataclass(frozen=True)
class Evaluated:
    """Where a run lies and what it found.

    Attributes:
        folder: of the run: rows, summary and manifest.
        rows: of its pairs or queries.
        summary: the rows of ``summary.csv``.
        lines: say to the user what came out.
        notes: for the user, on what isn't as it should be.
    """

    folder: Path
    rows: Sequence[Row]
    summary: Sequence[Row]
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Checked:
    """What a dataset's folder holds.

    Attributes:
        lines: what is there, and what a complete dataset has beyond it.
        problems: a line for each thing that is missing or broken.
        sound: what is certain where there is no problem.
    """

    lines: Sequence[str]
    problems: Sequence[str]
    sound: str


class Benchmark(ABC):
    """An evaluation: subclass it and register the class by name.

    The first line of its docstring is what the overview of commands says of it.

    Attributes:
        name: of its folder of runs and its tables; the one under which it is registered.
        Options: a frozen dataclass of `d2eval.option` fields, which become flags of its command
            and keywords of `d2eval.evaluate`.
        needs_method: whether it can do nothing without local features.
        takes_method: whether it has to do with local features at all; without, its command has
            neither a method nor a matcher.
        takes_images: whether it takes matchers of images, `d2eval.ImageMatcher`, as methods.
        matcher_default: what matches where no matcher is named, in words.
        examples: command lines for its help.
        papers: keys of entries in ``citations.bib`` (`d2eval.contracts.citations`).
        site_parts: what the site that scores submissions tells apart, such as "floor" -> its
            default (None: it must be said) and a text for the help; empty: there is no site.
    """

    name: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    needs_method: ClassVar[bool] = True
    takes_method: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False
    matcher_default: ClassVar[str] = "the protocol's, mnn"
    examples: ClassVar[str] = ""
    papers: ClassVar[tuple[str, ...]] = ()
    site_parts: ClassVar[Mapping[str, tuple[str | None, str]]] = {}

    def __init__(self, options: Any = None) -> None:
        """Takes the values of its options.

        Raises:
            D2EvalError: they don't go together.
        """
        self.options = self.Options() if options is None else options

    @abstractmethod
    def load(self, root: Path, *, sample: bool = False) -> Any:
        """The dataset in the folder ``root``, checked as far as a run needs it.

        Raises:
            D2EvalError: something is missing or broken.
        """

    @abstractmethod
    def check(self, root: Path) -> Checked:
        """What the folder ``root`` holds, for ``d2eval check-data``.

        Raises:
            D2EvalError: there is no such folder.
        """

    @abstractmethod
    def sample(self, cache: Path) -> Path:
        """The folder of a small dataset that is at hand without download, made on first use."""

    @abstractmethod
    def words(self, request: Request) -> list[str | None]:
        """What a run is called by when the user doesn't say; see `d2eval.evaluation.naming`.

        Words for the sample and the seed follow by themselves.

        Raises:
            D2EvalError: the request and the benchmark's options don't go together.
        """

    @abstractmethod
    def run(self, dataset: Any, request: Request, name: RunName) -> Evaluated:
        """Measures on ``dataset``, and writes rows, summary and manifest.

        Finished work is kept: a run that was ended goes on where it stopped.

        Raises:
            D2EvalError: a broken file, a full disk, a method or matcher that breaks its contract.
        """

    def parts(self, dataset: Any, request: Request) -> Parts:
        """The stages of `run` whose units workers can make; none, unless it says so.

        A run that takes its executor from `planned` says how far all of it is.
        """
        raise NotImplementedError(f"{self.name} has none")

    def plan(self, dataset: Any, request: Request) -> Sequence[Planned]:
        """What of a run's stages is stored, and what the rest would take; writes nothing.

        Raises:
            D2EvalError: as `load`, or it can't be known before the run.
        """
        if type(self).parts is Benchmark.parts:
            raise D2EvalError(f"{self.name}: its stages aren't known before; leave --dry-run out")
        return self.parts(dataset, request).plan(dataset)

    def planned(self, dataset: Any, request: Request, parts: Parts) -> Request:
        """The request of a run of these ``parts``, whose progress says how far all of it is."""
        from d2eval.pipeline.planning import expected

        plan = partial(expected, self.name, parts, dataset)
        return replace(request, executor=request.executor.planned(plan))

    @abstractmethod
    def report(self, folder: Path | None) -> list[Path]:
        """Writes the table and the figure of the run in ``folder`` beside its rows.

        Args:
            folder: of the run; None only sees to it that all is there that a report is made from.

        Returns:
            The files of the figure.
        """

    @abstractmethod
    def table(self, runs: RunRoots) -> Table:
        """The benchmark's table of all ``runs``.

        Raises:
            D2EvalError: a file that it is made from is missing or broken.
        """

    @abstractmethod
    def results(self, runs: RunRoots) -> pd.DataFrame:
        """The numbers of all ``runs``, and published ones, as `d2eval.load_runs` returns them.

        Raises:
            D2EvalError: a file that they are in is missing or broken.
        """

    @abstractmethod
    def figures(self, runs: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
        """Draws all ``runs``: the files written, and notes for the user.

        Raises:
            D2EvalError: there is nothing to draw, or a file is missing or broken.
        """

    def items_of(self, folder: Path, label: str) -> RunItems:
        """What the run in ``folder`` measured of each pair or query, for comparisons.

        Raises:
            D2EvalError: the benchmark's runs don't compare, or a file is missing or broken.
        """
        raise D2EvalError(f"{self.name}: it doesn't say how its runs compare")

    def paper_rows(self) -> Mapping[str, Sequence[str]]:
        """The rows of a paper's table, and the options of the command that measures each."""
        return {}

    def item_name(self, key: Key) -> str:
        """How the pair or query of a key of `items_of` is called, and chosen by a user."""
        return "/".join(key)

    def item_names(self, folder: Path, label: str) -> list[str]:
        """The pairs or queries of the run in ``folder``.

        Raises:
            D2EvalError: a file is missing or broken.
        """
        return [self.item_name(key) for key in self.items_of(folder, label).clusters]

    def view(self, runs: Sequence[RunPlace], item: str, sources: Sources) -> Figure:
        """A picture of what each of ``runs`` found of a pair or query, from what is stored.

        Raises:
            D2EvalError: there are no such pictures, or something isn't there that they need.
        """
        raise D2EvalError(f"{self.name}: it has no pictures of what its runs are of")

    def subset_titles(self) -> Mapping[str, str]:
        """What subsets are called whose names don't say it, such as "v": "Viewpoint"."""
        return {}

    def architecture(self) -> Architecture | None:
        """The network that it trains or measures, for ``d2eval describe``; None without one."""
        return None

    def site(self) -> Any:
        """How the site's answers are written: a `d2eval.localization.site.SiteFormat`."""
        raise NotImplementedError(f"{self.name} has no site")


def benchmark_class(name: str) -> type[Benchmark]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such benchmark (the nearest names are suggested), or it can't be imported.
    """
    return find_class(name, BENCHMARKS, Benchmark, "benchmark")  # type: ignore[type-abstract]
