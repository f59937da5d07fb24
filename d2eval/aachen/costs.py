"""What triangulation and registration took, kept for the plans of later runs.

Their work grows with the pairs and with the queries, whatever dataset these are of, so what is kept
is the cost of one.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from d2eval.aachen.protocol import AachenBenchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline.store import Store


def costs_path(
    stage: str,
    features: str,
    matcher: Mapping[str, Any],
    benchmark: AachenBenchmark,
    model: Path,
    store: Store,
) -> Path:
    """Where the cost of a stage lies, or would, beside those of other models made like this one.

    Args:
        stage: its name.
        features: the key of an image's, which begins with the method's.
        matcher: what decides the matches of two images.
        benchmark: with the settings of the stage.
        model: where the model lies, or would.
        store: that keeps it.
    """
    settings = [asdict(benchmark.triangulation), asdict(benchmark.registration)]
    group = [stage, features.partition("-")[0], dict(matcher), *settings]
    return store.unit_path("costs", [*group, model.name], group)


def keep_cost(store: Store, path: Path, count: int, seconds: float, size: int = 0) -> None:
    """Keeps what ``count`` pairs or queries took, with the bytes that are stored of them.

    Where the cache can't be written it is not kept: that is no reason for a run to end.
    """
    if count and not store.has(path):
        with contextlib.suppress(D2EvalError):
            store.write_arrays(path, {"size": np.array(size / count)}, seconds / count)
