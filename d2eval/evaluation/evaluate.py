"""The one way in which every benchmark is run, from the command line and from Python."""

import tempfile
from dataclasses import replace
from pathlib import Path

from d2eval.contracts.image_matcher import no_features_of_one
from d2eval.contracts.leaks import leak_text
from d2eval.evaluation.benchmark import Benchmark, Evaluated, Request
from d2eval.evaluation.job import packed_job
from d2eval.evaluation.naming import run_name, shared_parts
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note
from d2eval.runs.folder import RunName
from d2eval.runs.manifest import read_manifest
from d2eval.scheduling.executor import Executor, Workers
from d2eval.scheduling.plan import plan_lines


def run_benchmark(
    benchmark: Benchmark, data: Path | None, request: Request, workers: Workers | None = None
) -> Evaluated:
    """Measures, and writes rows, summary, manifest, table and figure.

    Without ``data``, on the benchmark's own sample. What ``workers`` can make they make first.

    Raises:
        D2EvalError: a user's mistake or a broken file; what was finished is kept.
    """
    request = replace(request, sample=data is None)
    name = _checked_name(benchmark, request)
    root = benchmark.sample(request.runtime.cache) if data is None else data
    dataset = benchmark.load(root, sample=data is None)
    if workers is not None:
        if type(benchmark).parts is Benchmark.parts:
            raise D2EvalError(f"{benchmark.name}: has no work for workers; leave --scheduler out")
        executor = Executor(workers, packed_job(benchmark, root, request))
        request = replace(request, executor=executor)
    for line in dataset.notes:
        note(line)
    result = benchmark.run(dataset, request, name)
    request.tell(*result.lines)
    for line in result.notes:
        note(line)
    if leaking := leak_text((read_manifest(result.folder) or {}).get("leaks", ())):
        note(f"{result.folder.name}: what it ran with was trained on the benchmark's {leaking}")
    benchmark.report(result.folder)
    request.tell(f"rows, summary, manifest, table and plots: {result.folder}")
    return result


def plan_benchmark(benchmark: Benchmark, data: Path | None, request: Request) -> None:
    """Tells what `run_benchmark` would still have to make, and writes nothing.

    Raises:
        D2EvalError: as `run_benchmark`, before it makes anything.
    """
    request = replace(request, sample=data is None)
    name, cache = _checked_name(benchmark, request), request.runtime.cache
    with tempfile.TemporaryDirectory(prefix="d2eval-") as folder:
        root = data or _sample_of(benchmark, cache, Path(folder))
        dataset = benchmark.load(root, sample=data is None)
        for line in dataset.notes:
            note(line)
        stages = benchmark.plan(dataset, request)
    request.tell(
        f"{benchmark.name}, {name.label}: what is to be made, beside what is stored in {cache}",
        *plan_lines(stages),
        "time of one process, and disk, by the costs of such units that are stored",
    )


def _sample_of(benchmark: Benchmark, cache: Path, scratch: Path) -> Path:
    """The sample in a cache; one that isn't there yet is made in ``scratch``."""
    (scratch / "sample").mkdir()
    for path in (cache / "sample").glob("*"):
        (scratch / "sample" / path.name).symlink_to(path.absolute())
    return benchmark.sample(scratch).resolve()


def _checked_name(benchmark: Benchmark, request: Request) -> RunName:
    """How a run is called that can be made and reported."""
    if request.method is not None and request.method.matches_images:
        if not benchmark.takes_images:
            raise no_features_of_one(request.method.name)
        if request.matcher is not None:
            raise D2EvalError(f"--matcher: {request.method.name} matches images; leave it out")
    benchmark.report(None)  # what can't be reported is told now, not after the work
    shared = shared_parts(request.sample, request.runtime.seed)
    return run_name(request.name, [*benchmark.words(request), *shared])
