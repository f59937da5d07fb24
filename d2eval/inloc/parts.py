"""Candidates of a query and their verification, through the store; what workers do of a run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from d2eval.foundation.images.decoding import load_image_file
from d2eval.inloc.choice import rerank
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Dataset
from d2eval.inloc.data.files import scan_of
from d2eval.inloc.data.records import from_records, to_records
from d2eval.inloc.poses.estimators import Estimator, Task
from d2eval.inloc.verification.dense_pv import DensePVSettings, verify_pose
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import scaled_intrinsics
from d2eval.pipeline.planning import plan_units
from d2eval.pipeline.store import Store
from d2eval.scheduling.plan import Planned

VERSION = 3  # raise it when a change of the code changes verified poses
FEATURES, POSES, VERIFICATION = "features", "poses", "verification"  # the stages of an estimator


def _kept(task: Task, path: Path, make: Callable[[], list[Candidate]]) -> list[Candidate]:
    """Stored candidates, or else those that are made now."""
    record = task.store.read_record(path)
    if record is not None:
        return from_records(record)
    begin = time.perf_counter()
    found = make()
    task.store.write_record(path, to_records(found), time.perf_counter() - begin)
    return found


def found_candidates(task: Task, estimator: Estimator, query: str) -> list[Candidate]:
    """Candidates of a query whose images are prepared; stored, or found now.

    Raises:
        D2EvalError: depth is missing or broken; the disk is full or the cache can't be written.
    """
    make = partial(estimator.candidates, query)
    content = estimator.content(query, estimator.keys)
    return _kept(task, _poses_path(task, estimator, content), make)


def _poses_path(task: Task, estimator: Estimator, content: list[Any]) -> Path:
    return task.store.unit_path("poses", content, estimator.settings())


def verified_candidates(
    task: Task, estimator: Estimator, query: str, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """With scores of Dense PV, best first; stored, or rendered now.

    Raises:
        D2EvalError: a broken scan or image; the disk is full or the cache can't be written.
    """
    dataset, settings = task.dataset, _dense_pv(task)

    def verify() -> list[Candidate]:
        image = load_image_file(dataset.queries[query]).decode()
        camera = dataset.query_camera(query, (image.shape[1], image.shape[0]))
        small, K = shrink(image, settings.scale), scaled_intrinsics(camera, settings.scale)
        verified = []
        for own in candidates:
            scan = task.spatial.scan(*scan_of(own.cutout))
            score = verify_pose(small, scan, K, own.pose, settings, task.runtime.device).score
            verified.append(replace(own, pv_score=score))
        return rerank(verified)

    content = estimator.content(query, estimator.keys)
    return _kept(task, _verified_path(task, estimator, content, candidates), verify)


def _dense_pv(task: Task) -> DensePVSettings:
    return DensePVSettings(**task.benchmark.strategy("dense_pv"))


def _verified_path(
    task: Task, estimator: Estimator, found: list[Any], candidates: Sequence[Candidate]
) -> Path:
    """Of candidates that were ``found`` by this content."""
    scans = [task.dataset.scans.get(scan_of(own.cutout)) for own in candidates]
    states = [path.stat() for path in scans if path is not None]
    content = [
        VERSION, asdict(_dense_pv(task)), found, to_records(candidates),
        [[state.st_size, state.st_mtime_ns] for state in states],
    ]  # fmt: skip
    return task.store.unit_path("poses", content, [*content[:2], estimator.settings()])


class InlocParts:
    """The stages of a run, of any of its images and queries."""

    def __init__(
        self, task: Task, estimators: Mapping[str, Estimator], verified: bool, workers: int
    ) -> None:
        """Takes what a run takes."""
        self._task, self._estimators, self._workers = task, estimators, workers
        self._verified = verified

    @property
    def extracted(self) -> int:
        """By all methods and networks."""
        return sum(own.extracted for own in self._estimators.values())

    def plan(self, dataset: Dataset) -> list[Planned]:
        """Features, candidates and their verification, of each part of the strategy."""
        task, store = self._task, self._task.store
        planned: list[Planned] = []
        for name, estimator in self._estimators.items():
            images, keys = estimator.plan_images(f"{name} {FEATURES}")
            planned += images
            contents = [estimator.content(query, keys) for query in dataset.queries]
            paths = [_poses_path(task, estimator, content) for content in contents]
            steps = [plan_units(f"{name} {POSES}", store, paths, paths[0])]
            if self._verified:
                records = [store.read_record(path) for path in paths]
                verified = [
                    None if record is None
                    else _verified_path(task, estimator, content, from_records(record))
                    for content, record in zip(contents, records, strict=True)
                ]  # fmt: skip
                group = _verified_path(task, estimator, contents[0], [])
                steps.append(plan_units(f"{name} {VERIFICATION}", store, verified, group))
            planned += [replace(own, is_shared=estimator.is_known) for own in steps]
        return planned

    def work(self, stage: str, units: Sequence[Any]) -> Iterator[object]:
        """Features of images by name; candidates of queries, or their verification."""
        name, _, step = stage.rpartition(" ")
        estimator, task = self._estimators[name], self._task
        if step == FEATURES:
            yield from estimator.prepared(units, self._workers)
            return
        estimator.made_before()
        # Candidates that are verified are those that were found before
        found = replace(task, store=Store(task.store.root)) if step == VERIFICATION else task
        try:
            yield from self._of_queries(estimator, found, units, step)
        finally:
            task.store.flush()

    def _of_queries(
        self, estimator: Estimator, found: Task, queries: Sequence[str], step: str
    ) -> Iterator[str]:
        for query in queries:
            unknown = [own for own in estimator.images_of(query) if own not in estimator.keys]
            for _ in estimator.prepared(unknown, workers=0):
                pass
            candidates = found_candidates(found, estimator, query)
            if step == VERIFICATION:
                verified_candidates(self._task, estimator, query, candidates)
            yield query
