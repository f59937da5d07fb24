"""A benchmark's run as workers open it."""

from dataclasses import dataclass, replace
from pathlib import Path

from d2eval.evaluation.benchmark import Benchmark, Request
from d2eval.pipeline.job import packed, runtime_of_worker, sent_runtime
from d2eval.scheduling.executor import HERE
from d2eval.scheduling.work import Parts


@dataclass(frozen=True)
class BenchmarkJob:
    """What a run is of; a worker opens the method and reads the data by itself.

    Attributes:
        benchmark: with its options.
        root: of the data.
        request: as the run has it, without what can't be sent.
    """

    benchmark: Benchmark
    root: Path
    request: Request

    def open(self, worker: int, memory_share: float) -> Parts:
        """See `d2eval.scheduling.work.Job`."""
        runtime = runtime_of_worker(self.request.runtime, worker, memory_share)
        dataset = self.benchmark.load(self.root, sample=self.request.sample)
        return self.benchmark.parts(dataset, replace(self.request, runtime=runtime))


def packed_job(benchmark: Benchmark, root: Path, request: Request) -> bytes:
    """The job, to be sent; paths hold from any folder.

    Raises:
        D2EvalError: something of it can't be sent.
    """
    runtime = sent_runtime(request.runtime)
    plain = replace(request, runtime=runtime, executor=HERE, tell=_silent)
    return packed(BenchmarkJob(benchmark, root.absolute(), plain), benchmark.name)


def _silent(*lines: str) -> None:
    pass
