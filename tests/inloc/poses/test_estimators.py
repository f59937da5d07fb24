"""Estimators: what decides a query's candidates, and that memory's limits don't."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inloc_folder import CUTOUTS, Q1, InlocFolder
from inloc_hololens import HOLOLENS, needs_data

from d2eval.contracts.maps import Maps, MapsMethod
from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.data.dataset import Database3D, Dataset, load_dataset
from d2eval.inloc.data.records import to_records
from d2eval.inloc.poses.estimators import Estimator, Task
from d2eval.inloc.poses.maps_estimator import DenseEstimator
from d2eval.inloc.protocol import load_benchmark
from d2eval.inloc.strategies import STRATEGIES, Dense
from d2eval.pipeline import maps
from d2eval.pipeline.extraction import MethodChoice
from d2eval.pipeline.maps import DenseChoice
from d2eval.pipeline.store import Store

NETWORK = DenseChoice("vgg16_dense", {})
FEATURES = "d2eval.pipeline.recent_features.CACHE_BYTES"
DEPTH = "d2eval.inloc.data.dataset.CACHE_BYTES"


def task_of(dataset: Dataset, cache: Path, protocol: str = "inloc", seed: int = 0) -> Task:
    runtime = Runtime(cache=cache, seed=seed)
    return Task(dataset, Database3D(dataset), load_benchmark(protocol), Store(cache), runtime)


def sparse(strategy: str, dataset: Dataset, cache: Path, **choices: Any) -> Estimator:
    """Of RootSIFT."""
    protocol = "inloc_hloc" if strategy == "pooled" else "inloc"
    (part,) = STRATEGIES[strategy].parts
    task = task_of(dataset, cache, protocol, **choices)
    return part.open(Request(MethodChoice("rootsift")), NETWORK, task)


# What decides candidates


@pytest.fixture
def folder(tmp_path) -> InlocFolder:
    folder = InlocFolder(tmp_path / "data")
    folder.write()
    return folder


def content(folder: InlocFolder, cache: Path, strategy: str = "sparse", **choices: Any) -> Any:
    dataset = load_dataset(folder.root, load_benchmark())
    change = choices.pop("change", dataset)
    estimator = sparse(strategy, change(dataset) if callable(change) else change, cache, **choices)
    estimator.prepare(0)
    return estimator.content(Q1, estimator.keys)


def test_the_same_work_has_the_same_content(folder, tmp_path):
    first = content(folder, tmp_path / "a")
    assert first == content(folder, tmp_path / "b")


def test_strategy_seed_depth_and_retrieval_are_of_the_content(folder, tmp_path):
    cache = tmp_path / "cache"

    def swapped(dataset: Dataset) -> Dataset:
        first, second, *rest = dataset.retrieval[Q1]
        return replace(dataset, retrieval={Q1: (second, first, *rest)})

    found = [
        content(folder, cache),
        content(folder, cache, "direct"),
        content(folder, cache, "pooled"),
        content(folder, cache, seed=1),
        content(folder, cache, change=swapped),
    ]
    os.utime(folder.depth(0), ns=(1, 1))
    found.append(content(folder, cache))
    path = folder.alignment("DUC1", "001")
    path.write_text(path.read_text().replace("0.5", "0.75"))
    found.append(content(folder, cache))
    assert len({repr(each) for each in found}) == len(found)


def test_depth_that_is_missing_is_named(folder, tmp_path):
    folder.depth(2).unlink()
    with pytest.raises(D2EvalError) as error:
        content(folder, tmp_path / "cache")
    assert str(folder.depth(2)) in str(error.value)
    assert CUTOUTS[2] in str(error.value)


# Memory


def few_cutouts(queries: list[str], count: int) -> Dataset:
    """The small real set with so many cutouts of these queries alone."""
    dataset = load_dataset(
        HOLOLENS, load_benchmark(), retrieval=HOLOLENS / "pairs-query-oracle10.txt"
    )
    return replace(
        dataset,
        queries={name: dataset.queries[name] for name in queries},
        retrieval={name: dataset.retrieval[name][:count] for name in queries},
    )


def all_candidates(estimator: Estimator) -> list[list[dict[str, Any]]]:
    estimator.prepare(0)
    return [to_records(estimator.candidates(query)) for query in estimator.task.dataset.queries]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> tuple[Dataset, Path]:
    """Few cutouts, and a cache with their features alone."""
    dataset = few_cutouts(["IMG_0011.JPG", "IMG_0063.JPG"], 3)
    cache = tmp_path_factory.mktemp("extracted")
    sparse("sparse", dataset, cache).prepare(0)
    assert {path.name for path in cache.iterdir()} <= {"features", "hashes"}
    return dataset, cache


@needs_data
@pytest.mark.parametrize(
    "strategy",
    ["sparse", *(pytest.param(name, marks=pytest.mark.slow) for name in ("direct", "pooled"))],
)
def test_with_next_to_no_memory_sparse_candidates_are_the_same(
    strategy, extracted, tmp_path, monkeypatch
):
    dataset, cache = extracted
    for name in ("roomy", "tight"):
        shutil.copytree(cache, tmp_path / name)
    expected = all_candidates(sparse(strategy, dataset, tmp_path / "roomy"))
    assert all(record["pose"] for records in expected for record in records)
    for limit in (FEATURES, DEPTH):
        monkeypatch.setattr(limit, 1)
    assert all_candidates(sparse(strategy, dataset, tmp_path / "tight")) == expected


class Counted:
    """A network that counts how often its maps were asked for, and makes an image's maps once."""

    def __init__(self, network: MapsMethod) -> None:
        self.network, self.calls = network, 0
        self._made: dict[bytes, Maps] = {}

    def maps(self, image: Any) -> Maps:
        self.calls += 1
        content = image.tobytes()
        if content not in self._made:
            self._made[content] = self.network.maps(image)
        return self._made[content]


@pytest.mark.slow
@needs_data
def test_with_next_to_no_memory_dense_candidates_are_the_same(tmp_path, monkeypatch):
    dataset = few_cutouts(["IMG_0011.JPG", "IMG_0031.JPG"], 2)
    queries = dict(dataset.retrieval)
    queries["IMG_0031.JPG"] = queries["IMG_0011.JPG"][:1]  # the same cutout, once kept, once not
    dataset = replace(dataset, retrieval=queries)
    network, identity = NETWORK.open(Runtime(cache=tmp_path))
    counted: Any = Counted(network)
    found, calls = [], []
    for limit in (2**30, 1):
        monkeypatch.setattr(maps, "CACHE_BYTES", limit)
        monkeypatch.setattr(DEPTH, limit)
        counted.calls = 0
        task = task_of(dataset, tmp_path / str(limit))
        estimator = DenseEstimator(Dense(), task, counted, identity)
        found.append(all_candidates(estimator))
        calls.append(counted.calls)
    assert found[0] == found[1]
    assert calls == [4, 5]
