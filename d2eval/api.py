"""Benchmarks from Python, in a script or a notebook."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import checked_options
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import Benchmark, Request, benchmark_class
from d2eval.evaluation.evaluate import run_benchmark
from d2eval.evaluation.given import choice_of
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import default_cache, expanded
from d2eval.foundation.machine.resources import require_device
from d2eval.foundation.text.labels import check_label
from d2eval.runs.measured import has_runs
from d2eval.scheduling.choice import open_workers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        folder: of the run: rows, summary, manifest, table and figures.
        rows: one for each pair (HPatches) or query (Aachen, InLoc).
        summary: the rows of ``summary.csv``.
    """

    folder: Path
    rows: "pd.DataFrame"
    summary: "pd.DataFrame"


def evaluate(
    benchmark: str | type[Benchmark],
    method: "str | Method | type[Method] | Callable[..., Any] | None" = None,
    *,
    data: str | Path | None = None,
    method_options: Mapping[str, Any] | None = None,
    matcher: str | None = None,
    matcher_options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    seed: int = 0,
    cache: str | Path | None = None,
    output: str | Path = "results/runs",
    name: str | None = None,
    fresh: bool = False,
    workers: int = 1,
    memory_limit: int | None = None,
    scheduler: str | Path | None = None,
    **options: Any,
) -> Evaluation:
    """Evaluates a method, as ``d2eval BENCHMARK`` does; finished work is kept and used again.

    Args:
        benchmark: its name, such as "hpatches", "aachen" or "inloc", or a class of it.
        method: a name as ``--method`` takes it, a `Method` or a class of it, or a function that
            takes an image, (H, W, 3) uint8 RGB, and gives keypoints (N, 2) in pixels and
            descriptors (N, D), and scores (N,) if it has some.
        data: the dataset's folder; None: the benchmark's own sample.
        method_options: of the method that is named.
        matcher: by name; None: the protocol's.
        matcher_options: of the matcher that is named.
        device: a torch device.
        seed: of whatever draws random numbers.
        cache: where features, matches and weights are kept; None: ``D2EVAL_CACHE``, else the
            user's cache folder.
        output: the folder of runs.
        name: of the run; None: one that says what it is of.
        fresh: whether to compute everything again.
        workers: threads that read images and write features meanwhile.
        memory_limit: bytes that the process may come to hold; None: 80 % of what is free.
        scheduler: where features, matches and poses are made, as ``--scheduler`` takes it:
            "local:N", or the address or the file of a Dask scheduler; None: in this process. A
            script that takes "local:N" does so below ``if __name__ == "__main__":``.
        options: of the benchmark, as on the command line: ``top_k=2000``, ``sequences="v_*"``.

    Returns:
        Rows and summary as DataFrames, and where everything lies.

    Raises:
        D2EvalError: a mistake in what is given, such as a function that can't be sent to workers,
            or a broken file.
    """
    cls = benchmark_class(benchmark) if isinstance(benchmark, str) else benchmark
    if method is None and cls.needs_method:
        raise D2EvalError(f"{cls.name}: name a method")
    if not cls.takes_method and (method is not None or matcher is not None):
        raise D2EvalError(f"{cls.name}: takes neither a method nor a matcher; leave them out")
    if matcher is None and matcher_options:
        raise D2EvalError("matcher_options: name the matcher")
    if not isinstance(seed, int) or seed < 0 or not isinstance(workers, int) or workers < 0:
        raise D2EvalError(f"seed = {seed!r}, workers = {workers!r}: must be numbers from 0 on")
    require_device(device)
    runtime = Runtime(
        device,
        seed,
        memory_limit,
        default_cache() if cache is None else expanded(str(cache)),
        fresh,
    )
    request = Request(
        method=None if method is None else choice_of(method, method_options or {}),
        matcher=None if matcher is None else MatcherChoice(matcher, matcher_options or {}),
        runtime=runtime,
        output=expanded(output),
        workers=workers,
        name=None if name is None else check_label(name),
    )
    chosen = cls(_options(cls, options))
    with open_workers(None if scheduler is None else str(scheduler)) as own:
        found = run_benchmark(chosen, None if data is None else expanded(data), request, own)
    import pandas as pd

    return Evaluation(found.folder, pd.DataFrame(found.rows), pd.DataFrame(found.summary))


def load_runs(
    runs: str | Path | Sequence[str | Path] | None = None, benchmark: str | None = None
) -> "pd.DataFrame":
    """The numbers of all runs, and beside them published ones and what benchmarks' sites returned.

    Args:
        runs: a folder of runs, or several; None: ``results/runs`` and the runs that ship.
        benchmark: whose; None: of all that have runs there.

    Returns:
        A row for each number: ``benchmark``, ``source`` ("published", "measured", "site"), ``run``
        (or ``row``, of what was published), ``method``, ``matcher`` ("" is the protocol's),
        ``protocol``, ``subset``, ``dataset``, ``weights``, ``leak`` (what of the benchmark's data
        weights were trained on), ``metric``, ``threshold`` (pixels, or metres with an ``angle`` in
        degrees), ``value``, ``unit``, and of shares ``count``, ``of`` and the ends of the 95 %
        interval, ``low`` and ``high``. Counts of a run on part of HPatches are there once more
        beside the published ones of the same sequences: both have its ``run``, a ``subset``
        "shared_..." and a ``dataset`` that names the sequences.

    Raises:
        D2EvalError: a file of a run is broken, or no folder of the benchmark is there.
    """
    import pandas as pd

    roots = _roots(runs)
    chosen = [name for name in registered(BENCHMARKS) if has_runs(roots, name)]
    classes = [benchmark_class(name) for name in ([benchmark] if benchmark else chosen)]
    if not classes:
        raise D2EvalError(f"{', '.join(map(str, roots or ()))}: no benchmark has runs there")
    return pd.concat([cls().results(roots) for cls in classes], ignore_index=True)


def compare(
    *names: str,
    benchmark: str,
    runs: str | Path | Sequence[str | Path] | None = None,
    seeds: bool = False,
    seed: int = 0,
) -> "pd.DataFrame":
    """How runs differ from the first of them, on the pairs or queries that they share.

    Args:
        names: of runs' folders, or methods.
        benchmark: whose runs.
        runs: a folder of runs, or several; None: ``results/runs`` and the runs that ship.
        seeds: whether to take each run's other seeds, too, and pair by seed.
        seed: of the bootstrap's draws.

    Returns:
        A row for each subset and measure, as `d2eval compare` writes it.

    Raises:
        D2EvalError: no such run, or runs that don't compare.
    """
    import io

    import pandas as pd

    from d2eval.comparison.choice import compare_runs
    from d2eval.comparison.table import comparison_table

    found, _ = compare_runs(names, benchmark, _roots(runs), seeds=seeds, seed=seed)
    return pd.read_csv(io.StringIO(comparison_table(benchmark, found[benchmark]).csv))


def _roots(runs: str | Path | Sequence[str | Path] | None) -> list[Path] | None:
    if runs is None:
        return None
    return [expanded(root) for root in ([runs] if isinstance(runs, str | Path) else runs)]


def _options(cls: type[Benchmark], given: Mapping[str, Any]) -> Any:
    """The benchmark's options."""
    try:
        return checked_options(cls.Options, given)
    except D2EvalError as error:
        raise D2EvalError(f"{cls.name}: {error}") from error
