"""The one way in which every benchmark is run, from the command line and from Python."""

from dataclasses import replace
from pathlib import Path

from d2eval.contracts.image_matcher import no_features_of_one
from d2eval.contracts.leaks import leak_text
from d2eval.evaluation.benchmark import Benchmark, Evaluated, Request
from d2eval.evaluation.job import packed_job
from d2eval.evaluation.naming import run_name, shared_parts
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note
from d2eval.runs.manifest import read_manifest
from d2eval.scheduling.executor import Executor, Workers


def run_benchmark(
    benchmark: Benchmark, data: Path | None, request: Request, workers: Workers | None = None
) -> Evaluated:
    """Measures, and writes rows, summary, manifest, table and figure.

    Without ``data``, on the benchmark's own sample. What ``workers`` can make they make first.

    Raises:
        D2EvalError: a user's mistake or a broken file; what was finished is kept.
    """
    if request.method is not None and request.method.matches_images:
        if not benchmark.takes_images:
            raise no_features_of_one(request.method.name)
        if request.matcher is not None:
            raise D2EvalError(f"--matcher: {request.method.name} matches images; leave it out")
    benchmark.report(None)  # what can't be reported is told now, not after the work
    request = replace(request, sample=data is None)
    shared = shared_parts(request.sample, request.runtime.seed)
    name = run_name(request.name, [*benchmark.words(request), *shared])
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
