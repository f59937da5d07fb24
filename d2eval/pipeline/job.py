"""What is sent to workers: a packed job, what each computes with, features of image files."""

import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from d2eval.contracts.options import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_limit_of, own_device
from d2eval.foundation.machine.threads import told_libraries, use_threads
from d2eval.pipeline.extraction import FeatureSource, MethodChoice
from d2eval.pipeline.planning import is_sent
from d2eval.pipeline.sending import PairsParts, send_features
from d2eval.pipeline.store import Store
from d2eval.scheduling.executor import Executor, Workers
from d2eval.scheduling.work import Job, Parts


def runtime_of_worker(runtime: Runtime, worker: int, memory_share: float) -> Runtime:
    """The runtime that a command was given as one of its workers has it.

    Its threads are used from now on. For ``worker`` and ``memory_share`` see `Job.open`.
    """
    limit, device = runtime.memory_limit, own_device(runtime.device, worker)
    if runtime.devices:
        device = runtime.devices[worker % len(runtime.devices)]
    if memory_share < 1:
        limit = memory_limit_of(limit, device, memory_share)
    if runtime.threads is not None:
        use_threads(runtime.threads)
    threads = runtime.threads or told_libraries(os.environ)
    return replace(runtime, memory_limit=limit, device=device, threads=threads)


def sent_runtime(runtime: Runtime) -> Runtime:
    """The runtime with a cache that is found from any folder."""
    return replace(runtime, cache=runtime.cache.absolute())


def packed(job: Job, name: str) -> bytes:
    """A job, to be sent; ``name`` is what it is of.

    Raises:
        D2EvalError: something of it can't be sent.
    """
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise D2EvalError(
            f"{name}: can't be sent to workers ({error}); name the method, or leave the "
            "scheduler out"
        ) from error


@dataclass(frozen=True)
class FeaturesJob:
    """Features of image files, whose units are their absolute paths.

    Attributes:
        method: that extracts.
        runtime: of the command.
        workers: threads that read and write meanwhile.
    """

    method: MethodChoice
    runtime: Runtime
    workers: int

    def open(self, worker: int, memory_share: float) -> Parts:
        """See `d2eval.scheduling.work.Job`."""
        runtime = runtime_of_worker(self.runtime, worker, memory_share)
        store = Store(runtime.cache, runtime.fresh)
        return PairsParts(self.method.open(runtime), None, Path, store, None, self.workers)


def extract_on_workers(
    workers: Workers, job: FeaturesJob, source: FeatureSource, paths: Iterable[Path]
) -> None:
    """Lets workers extract features of image files, which ``source`` then finds in the store.

    Raises:
        D2EvalError: no worker can extract them; as `Executor.ahead`.
    """
    if not is_sent(source):
        raise D2EvalError(f"{job.method.name}: has no work for workers; leave --scheduler out")
    sent = replace(job, runtime=sent_runtime(job.runtime))
    executor = Executor(workers, packed(sent, source.label))
    send_features(source, [str(path.absolute()) for path in paths], executor)
