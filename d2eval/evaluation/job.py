"""A benchmark's run as workers open it."""

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

from d2eval.evaluation.benchmark import Benchmark, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_limit_of, own_device
from d2eval.foundation.machine.threads import told_libraries, use_threads
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
        runtime = self.request.runtime
        limit, device = runtime.memory_limit, own_device(runtime.device, worker)
        if runtime.devices:
            device = runtime.devices[worker % len(runtime.devices)]
        if memory_share < 1:
            limit = memory_limit_of(limit, device, memory_share)
        if runtime.threads is not None:
            use_threads(runtime.threads)
        threads = runtime.threads or told_libraries(os.environ)
        runtime = replace(runtime, memory_limit=limit, device=device, threads=threads)
        dataset = self.benchmark.load(self.root, sample=self.request.sample)
        return self.benchmark.parts(dataset, replace(self.request, runtime=runtime))


def packed_job(benchmark: Benchmark, root: Path, request: Request) -> bytes:
    """The job, to be sent; paths hold from any folder.

    Raises:
        D2EvalError: something of it can't be sent.
    """
    runtime = replace(request.runtime, cache=request.runtime.cache.absolute())
    plain = replace(request, runtime=runtime, executor=HERE, tell=_silent)
    try:
        return pickle.dumps(BenchmarkJob(benchmark, root.absolute(), plain))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise D2EvalError(
            f"{benchmark.name}: can't be sent to workers ({error}); name the method, or leave "
            "the scheduler out"
        ) from error


def _silent(*lines: str) -> None:
    pass
