"""Rows of the table as the command line names them: a strategy, a method, pose verification."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from d2eval.contracts.maps import MapsMethod, maps_class
from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.method import Identity, Runtime
from d2eval.inloc.benchmark import InlocBenchmark
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.poses.estimators import Estimator, SparseEstimator
from d2eval.inloc.poses.maps_estimator import DenseEstimator
from d2eval.inloc.poses.retrieval_maps import with_global_retrieval
from d2eval.inloc.run import InlocRow
from d2eval.pipeline.extraction import MethodChoice
from d2eval.pipeline.pairs import PairMatcher, open_matcher
from d2eval.pipeline.store import Store
from d2eval.runs.folder import RunName


@dataclass(frozen=True)
class DenseChoice:
    """A network for dense maps and global descriptors: its name and options."""

    name: str
    options: dict[str, Any]

    def open(self, runtime: Runtime) -> tuple[MapsMethod, Identity]:
        """Builds the network.

        Raises:
            D2EvalError: an unknown network or option; weights that are missing or don't fit.
        """
        cls = maps_class(self.name)
        config = cls.Config(**self.options)
        network = cls(config, runtime)
        return network, network.identity(self.name, config)


def retrieve_globally(
    dataset: Dataset, benchmark: InlocBenchmark, dense: DenseChoice, runtime: Runtime
) -> Dataset:
    """The dataset with the cutouts that global descriptors find for each query.

    Raises:
        D2EvalError: as `DenseChoice.open`; a broken image.
    """
    store, top = Store(runtime.cache, runtime.fresh), benchmark.retrieval.candidates
    return with_global_retrieval(dataset, *dense.open(runtime), store, top)


def open_row(
    name: RunName,
    strategy: str,
    sparse: MethodChoice | None,
    dense: DenseChoice,
    dense_pv: bool,
    dataset: Dataset,
    benchmark: InlocBenchmark,
    runtime: Runtime,
    matcher: MatcherChoice | None = None,
) -> InlocRow:
    """What a run measures.

    Args:
        name: of the run.
        strategy: "sparse", "direct", "pooled", "dense" or "merge".
        sparse: the local feature, which "dense" doesn't need.
        dense: for "dense" and "merge".
        dense_pv: whether views from the scans choose among the poses; "merge" always does.
        dataset: of the run.
        benchmark: the protocol.
        runtime: device, seed, cache.
        matcher: of the local feature; None: the protocol's.

    Raises:
        D2EvalError: an unknown method, matcher, network or option; weights that are missing or
            don't fit; a strategy that the protocol doesn't have.
    """
    verified = dense_pv or strategy == "merge"
    needed = ("sparse", "dense") if strategy == "merge" else (strategy,)
    for table in (*needed, "dense_pv") if verified else needed:
        benchmark.strategy(table)  # lacking, it fails before anything is extracted
    estimators: dict[str, Estimator] = {}
    describe: dict[str, Callable[[], Mapping[str, Any]]] = {}
    headlines = []
    opened: PairMatcher | None = None
    spatial, store = Database3D(dataset), Store(runtime.cache, runtime.fresh)
    if strategy in ("dense", "merge"):
        network, identity = dense.open(runtime)
        estimators["dense"] = DenseEstimator(
            network, identity, dataset, spatial, benchmark, store, runtime.device, runtime.seed
        )
        own = {**asdict(identity), "key": identity.key}
        describe["dense"] = lambda: own
        headlines.append(f"dense maps of {dense.name}: weights {identity.weights.name}")
    if strategy != "dense" and sparse is not None:
        kind = "sparse" if strategy == "merge" else strategy
        opened = open_matcher(matcher, benchmark.matcher, runtime, sparse.name)
        source = sparse.open(runtime)
        estimators[kind] = SparseEstimator(
            kind, source, opened, dataset, spatial, benchmark, store, runtime.seed
        )
        describe[kind] = source.describe
        headlines += [source.headline(), *opened.headlines()]
    return InlocRow(name, strategy, estimators, verified, describe, opened, tuple(headlines))
