"""InLoc as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.contracts.options import option
from d2eval.contracts.registry import DENSE_NETWORK
from d2eval.evaluation.benchmark import Checked, Evaluated, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.strategies import STRATEGIES
from d2eval.localization.benchmark import LocalizationBenchmark
from d2eval.localization.reasons import summary_lines, without_pose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from d2eval.contracts.identity import Identity
    from d2eval.inloc.data.dataset import Dataset
    from d2eval.inloc.poses.estimators import Estimator, Task
    from d2eval.localization.description import Report
    from d2eval.localization.groups import Kind
    from d2eval.pipeline.maps import DenseChoice
    from d2eval.report.figures import Sources
    from d2eval.runs.folder import RunName
    from d2eval.runs.measured import RunPlace
    from d2eval.scheduling.plan import Planned
    from d2eval.scheduling.work import Parts

PROTOCOLS = ("inloc", "inloc_demo", "inloc_hloc")  # benchmarks/<name>.toml


@dataclass(frozen=True)
class InlocOptions:
    """What is chosen beside the method."""

    protocol: str = option(
        "inloc",
        "the paper's; as its code has it, faults included (inloc_demo); or hloc's, which pools all "
        "matches of a query",
        choices=PROTOCOLS,
    )
    strategy: str | None = option(
        None,
        "how candidate poses are found (default: sparse; pooled for inloc_hloc)",
        choices=tuple(STRATEGIES),
    )
    dense_pv: bool = option(
        False, "choose among the poses by views rendered from the scans; merge always does"
    )
    dense_network: str = option(
        DENSE_NETWORK, "whose maps the strategies dense and merge match", metavar="NAME"
    )
    dense_weights: str = option(
        "bundled",
        "its weights: bundled (a stand-in for NetVLAD's), or a path, e.g. Pitts30K_struct.mat",
        metavar="FILE",
    )
    global_retrieval: bool = option(
        False, "retrieve cutouts by the dense network's global descriptors"
    )
    retrieval: Path | None = option(
        None,
        "retrieved cutouts: a pair list as hloc writes it, or scores.mat (default: the dataset's)",
        metavar="FILE",
    )
    reference_poses: Path | None = option(
        None, "DUC_refposes_all.mat (default: the dataset's, if it is there)", metavar="FILE"
    )


class Inloc(LocalizationBenchmark):
    """Evaluates a method on InLoc: a pose of each query from the depth of retrieved cutouts.

    The strategies are rows of the paper's table: sparse features matched directly (direct) or
    verified by homographies (sparse), dense maps (dense), and the union of sparse and dense
    (merge); with --dense-pv, views rendered from the scans choose among the poses. With reference
    poses the queries are scored here; without, the submission file for visuallocalization.net is
    written. Without --data it runs on a small embedded building, whose numbers compare with nothing
    published. Writes queries.csv, candidates.csv, summary.csv, stages.csv, manifest.json and the
    submission under OUTPUT/inloc/ROW/.
    """

    name = "inloc"
    papers = ("dusmanu2019d2net", "taira2018inloc", "wijmans2017rgbd")
    Options = InlocOptions
    needs_method = False
    matcher_default = "the protocol's, mnn; dense maps take none"
    site_parts: ClassVar[Mapping[str, tuple[str | None, str]]] = {"floor": (None, "DUC1 or DUC2")}
    examples = """examples:
  python -m d2eval inloc --method d2_ss
  python -m d2eval inloc --method d2_ms --data INLOC --dense-pv
  python -m d2eval inloc --method rootsift --data INLOC --strategy direct
  python -m d2eval inloc --data INLOC --strategy dense --dense-pv
  python -m d2eval inloc --method d2_ms --data INLOC --strategy merge
  python -m d2eval inloc --data INLOC --strategy dense --dense-pv --protocol inloc_demo
  python -m d2eval inloc --method d2_ss --data INLOC --protocol inloc_hloc \\
      --retrieval pairs-query-netvlad20.txt
"""

    def __init__(self, options: InlocOptions | None = None) -> None:
        from d2eval.inloc.protocol import load_benchmark

        super().__init__(options)
        chosen = self.options
        self.numbers = load_benchmark(chosen.protocol)
        tables = self.numbers.tables
        usual = [own.name for own in STRATEGIES.values() if tables.keys() >= set(own.tables)]
        self.strategy = STRATEGIES[chosen.strategy or usual[0]]
        self.verified = chosen.dense_pv or self.strategy.always_verified

    def load(self, root: Path, *, sample: bool = False) -> Dataset:
        """Queries, cutouts, scans, retrieval and reference poses."""
        from d2eval.foundation.terminal.progress import Progress
        from d2eval.inloc.data.dataset import load_dataset

        chosen = self.options
        with Progress("reading the dataset"):
            return load_dataset(
                root, self.numbers, sample, chosen.reference_poses, chosen.retrieval
            )

    def check(self, root: Path) -> Checked:
        """Reads every list; of images, depth and scans the headers."""
        from d2eval.inloc.data.check import check

        return check(root, self.numbers)

    def sample(self, cache: Path) -> Path:
        """A rendered building of two floors."""
        from d2eval.sample.inloc import make_inloc_sample

        return make_inloc_sample(cache)

    def words(self, request: Request) -> list[str | None]:
        """The row, its method, matcher, network, protocol and files.

        Raises:
            D2EvalError: a strategy without the method that it takes, or with a matcher that it
                doesn't take.
        """
        from d2eval.evaluation import naming

        chosen, strategy, method = self.options, self.strategy, request.method
        if method is None and strategy.takes_features:
            raise D2EvalError(f"--strategy {strategy.name} takes local features: name a --method")
        if (method or request.matcher) and not strategy.takes_features:
            raise D2EvalError(
                f"{'--method' if method else '--matcher'}: strategy {strategy.name} matches maps, "
                "not features; leave it out"
            )
        own = naming.method_parts(method) if method else [""]
        label = strategy.label.format(own[0])
        takes_maps = strategy.takes_maps or chosen.global_retrieval
        return [
            strategy.named(label, "_pv", self.verified),
            *own[1:],
            *naming.matcher_parts(request.matcher, self.numbers.matcher),
            *(naming.maps_parts(self._dense()) if takes_maps else []),
            naming.protocol_part(chosen.protocol, "inloc"),
            "global" if chosen.global_retrieval else None,
            naming.file_part(chosen.retrieval),
            naming.file_part(chosen.reference_poses),
        ]

    def _dense(self) -> DenseChoice:
        from d2eval.pipeline.maps import DenseChoice

        return DenseChoice(self.options.dense_network, {"weights": self.options.dense_weights})

    def run(self, dataset: Dataset, request: Request, name: RunName) -> Evaluated:
        """Features or maps, candidates of every query, verified poses, scores."""
        from d2eval.foundation.terminal.console import note
        from d2eval.inloc.parts import InlocParts
        from d2eval.inloc.run import InlocRow, run

        strategy = self.strategy
        for table in (*strategy.tables, *(["dense_pv"] if self.verified else [])):
            self.numbers.strategy(table)  # lacking, it fails before anything is extracted
        loaded = len(dataset.notes)
        task, retrieval = self._task(dataset, request)
        dataset = task.dataset
        for line in dataset.notes[loaded:]:
            note(line)
        estimators = self._estimators(task, request)
        parts = InlocParts(task, estimators, self.verified, request.workers)
        request = self.planned(dataset, request, parts)
        request.tell(
            *(line for own in estimators.values() for line in own.headlines()),
            f"{self.numbers.name} {dataset.completeness}: {len(dataset.queries)} queries, "
            f"{len(dataset.cutouts)} cutouts, {len(dataset.references)} reference poses",
        )
        row = InlocRow(name, strategy, self.verified, estimators, retrieval)
        result = run(row, task, request)
        lines = [
            *summary_lines(
                result.summary,
                lambda row: f"{row['floor']:>6}  {row['posed']}/{row['queries']} with a pose",
                scored=bool(dataset.references),
            ),
            *without_pose(result.rows, "posed"),
        ]
        if not dataset.references:
            file = result.folder / f"InLoc_{result.folder.name}.txt"
            lines.append(f"no reference poses: submit {file} to visuallocalization.net")
        return replace(result, lines=lines)

    def _task(self, dataset: Dataset, request: Request) -> tuple[Task, Identity | None]:
        """What estimators work on, and the network that retrieved the cutouts, if one did."""
        from d2eval.inloc.data.dataset import Database3D
        from d2eval.inloc.poses.estimators import Task
        from d2eval.inloc.poses.retrieval_maps import with_global_retrieval
        from d2eval.pipeline.store import Store

        runtime, retrieval = request.runtime, None
        store = Store(runtime.cache, runtime.fresh)
        if self.options.global_retrieval:
            top = self.numbers.retrieval.candidates
            network, retrieval = self._dense().open(runtime)
            dataset = with_global_retrieval(dataset, network, retrieval, store, top)
        return Task(dataset, Database3D(dataset), self.numbers, store, runtime), retrieval

    def _estimators(self, task: Task, request: Request) -> dict[str, Estimator]:
        """What finds the candidates of each part of the strategy."""
        dense = self._dense()
        return {part.name: part.open(request, dense, task) for part in self.strategy.parts}

    def parts(self, dataset: Dataset, request: Request) -> Parts:
        """Features of images, candidates of queries and their verification."""
        from d2eval.inloc.parts import InlocParts
        from d2eval.pipeline.store import Store

        # What was retrieved by global descriptors is in the store before anything is sent
        runtime = request.runtime
        task, _ = self._task(dataset, replace(request, runtime=replace(runtime, fresh=False)))
        task = replace(task, store=Store(runtime.cache, runtime.fresh), runtime=runtime)
        return InlocParts(task, self._estimators(task, request), self.verified, request.workers)

    def plan(self, dataset: Dataset, request: Request) -> Sequence[Planned]:
        """As of others, if it is known which cutouts are retrieved."""
        if self.options.global_retrieval:
            raise D2EvalError(
                "--dry-run: which cutouts --global-retrieval finds isn't known before it has run; "
                "leave one of the two out"
            )
        return super().plan(dataset, request)

    def row_options(self, kind: Kind) -> Sequence[str]:
        """Strategy, verification, and the method where one is taken."""
        strategy = STRATEGIES[kind.strategy]
        verified = kind.verification == "dense_pv" and not strategy.always_verified
        return [
            "--strategy", kind.strategy,
            *(["--method", kind.method] if strategy.takes_features else []),
            *(["--dense-pv"] if verified else []),
        ]  # fmt: skip

    def view(self, runs: Sequence[RunPlace], item: str, sources: Sources) -> Figure:
        """The views from its poses, of runs that left them; else its matches with its cutouts."""
        from d2eval.inloc.report import matches, views

        if all((run.path / views.FILE).is_file() for run in runs):
            return super().view(runs, item, sources)
        return matches.draw(runs, item, sources)

    def description(self) -> Report[Any]:
        """The D2-Net paper's table, and what stands beside it."""
        from d2eval.inloc.report.description import INLOC

        return INLOC
