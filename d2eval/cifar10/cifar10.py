"""CIFAR-10 with a small network, as a benchmark that takes no local features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.contracts.options import option
from d2eval.evaluation.benchmark import Benchmark, Checked, Evaluated, Request
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    import pandas as pd

    from d2eval.cifar10.batches import Cifar10Data
    from d2eval.contracts.architecture import Architecture
    from d2eval.report.figures import Choice
    from d2eval.report.tables import Table
    from d2eval.runs.folder import RunName
    from d2eval.runs.measured import RunRoots

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Cifar10Options:
    """What is chosen.

    Raises:
        D2EvalError: a number is out of range.
    """

    config: str = option(
        "paper", "what is trained how: the document's models, or a file of settings, where a list "
        "means each of its values", metavar="paper|FILE.toml",
    )  # fmt: skip
    seeds: int = option(
        1, "train each configuration so often, with the seeds from --seed on", metavar="N"
    )
    cuda: bool = option(True, "--no-cuda: on the CPU, whatever --device says")

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise D2EvalError(f"--seeds must be 1 to {MOST_SEEDS}")


class Cifar10(Benchmark):
    """Trains a small network on CIFAR-10 and tests it, one configuration or a sweep of them.

    Without --data it runs on small rendered pictures of ten shapes, whose numbers compare with
    nothing published. The same command goes on where it was cut off, and a longer training where
    a shorter one ended. Writes trainings.csv, epochs.csv, summary.csv, manifest.json, a table and a
    plot under OUTPUT/cifar10/RUN/.
    """

    name = "cifar10"
    Options = Cifar10Options
    needs_method = False
    takes_method = False
    examples = """examples:
  python -m d2eval cifar10
  python -m d2eval cifar10 --config sweep.toml --seeds 5
  python -m d2eval cifar10 --data cifar-10-batches-bin --device cuda
"""

    def __init__(self, options: Cifar10Options | None = None) -> None:
        from d2eval.cifar10.protocol import chosen_configurations, load_benchmark

        super().__init__(options)
        self.protocol = load_benchmark()
        self.configurations = chosen_configurations(self.options.config, self.protocol)

    def load(self, root: Path, *, sample: bool = False) -> Cifar10Data:
        """The batches of the binary version."""
        from d2eval.cifar10.batches import load

        return load(root, self.protocol.data, sample)

    def check(self, root: Path) -> Checked:
        """Reads every record."""
        from d2eval.cifar10.batches import inspect

        found = inspect(root, self.protocol.data)
        records = sum(len(batch) for batch in found.batches.values())
        lines = [
            f"CIFAR-10 in {root}: {len(found.batches)} sound batches, {records:,} images",
            f"classes: {', '.join(found.classes)}",
        ]
        sound = "sizes, labels and the images of each class are those of the binary version"
        return Checked(lines, found.problems, sound)

    def sample(self, cache: Path) -> Path:
        """Rendered pictures of ten shapes."""
        from d2eval.sample.cifar10 import make_cifar10_sample

        return make_cifar10_sample(cache)

    def words(self, request: Request) -> list[str | None]:
        """Configurations, seeds, device and data."""
        from d2eval.evaluation import naming

        return [
            naming.file_part(self.options.config),
            naming.number_part("seeds", self.options.seeds, 1),
            None if self._device(request) == "cpu" else request.runtime.device.partition(":")[0],
        ]

    def run(self, dataset: Cifar10Data, request: Request, name: RunName) -> Evaluated:
        """Trains and tests."""
        from d2eval.cifar10.run import run

        runtime = replace(request.runtime, device=self._device(request))
        seeds = range(runtime.seed, runtime.seed + self.options.seeds)
        request.tell(
            f"CIFAR-10 {dataset.completeness}: {len(dataset.training):,} training and "
            f"{len(dataset.test):,} test images; {len(self.configurations)} configurations, "
            f"{len(seeds)} seeds, on {runtime.device}"
        )
        own = replace(request, runtime=runtime)
        return run(dataset, self.protocol, self.configurations, seeds, own, name)

    def report(self, folder: Path | None) -> list[Path]:
        """The document's table, and losses and accuracies."""
        from d2eval.cifar10.curves import plot
        from d2eval.cifar10.runs import load_run
        from d2eval.cifar10.table import table_of_runs
        from d2eval.report.figures import Choice
        from d2eval.report.tables import write_table

        if folder is None:
            table_of_runs([])
            return []
        runs = [load_run(folder)]
        write_table(table_of_runs(runs), folder)
        return plot(runs, folder, Choice())

    def table(self, runs: RunRoots) -> Table:
        """The document's table."""
        from d2eval.cifar10.runs import load_runs
        from d2eval.cifar10.table import table_of_runs

        return table_of_runs(*load_runs(runs))

    def results(self, runs: RunRoots) -> pd.DataFrame:
        """Accuracies and times."""
        from d2eval.cifar10.runs import load_published, load_runs
        from d2eval.runs.results import results_frame

        found, _ = load_runs(runs)
        measured = [record for run in found for record in run.records()]
        published = [*load_published("rows"), *load_published("times")]
        known = [record for row in published for record in row.records()]
        return results_frame(self.name, [*known, *measured])

    def figures(self, runs: RunRoots, output: Path, choice: Choice) -> tuple[list[Path], list[str]]:
        """Losses and accuracies of all runs."""
        from d2eval.cifar10.curves import plot
        from d2eval.cifar10.runs import load_runs

        found, notes = load_runs(runs)
        return plot(found, output, choice), notes

    def architecture(self) -> Architecture:
        """The network."""
        from d2eval.cifar10.network import architecture

        return architecture(self.protocol)

    def _device(self, request: Request) -> str:
        return request.runtime.device if self.options.cuda else "cpu"
