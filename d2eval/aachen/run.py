"""A whole run: features, matches, verification, triangulation, registration, scores, outputs."""

import contextlib
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pycolmap

from d2eval.aachen.columns import QUERIES, STAGES, SUMMARY
from d2eval.aachen.costs import costs_path, keep_cost
from d2eval.aachen.data.dataset import Dataset, fingerprint
from d2eval.aachen.matching import ImageKeypoints, Matching
from d2eval.aachen.parts import send_matches, send_pairs
from d2eval.aachen.pictures import write_pictures
from d2eval.aachen.pnp import register_by_pnp, with_nearest_poses
from d2eval.aachen.protocol import AachenBenchmark, ImageRegistration
from d2eval.aachen.registration import Registered, register_images
from d2eval.aachen.scores import mean_count, query_rows, summarize
from d2eval.aachen.stages import MATCHING, REGISTRATION, TRIANGULATION, VERIFICATION, Stages
from d2eval.aachen.triangulation import model_unit, triangulate
from d2eval.aachen.verification import Verified, verify_pairs
from d2eval.aachen.workspace import create_database, require_space, write_matches
from d2eval.contracts.leaks import leaks
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.files.leftovers import local_folder, scratch_folder
from d2eval.localization.submission import submission
from d2eval.pipeline.sending import FEATURES
from d2eval.pipeline.store import Store
from d2eval.runs.folder import Row, RunName, run_folder, write_csv
from d2eval.runs.manifest import circumstances, image_costs, write_manifest
from d2eval.runs.measured import SAMPLE
from d2eval.scheduling.executor import HERE, Executor

NAME = "aachen"


@dataclass(frozen=True)
class Settings:
    """The choices of a run that belong neither to the method nor to the protocol."""

    seed: int = 0  # of verification, triangulation and registration
    device: str = "cpu"  # for the manifest
    workers: int = 1  # threads that read and write while features are extracted
    holdout: int | None = None  # how many database images stand in for the queries, or None
    # whether a query without a pose gets the one of the first database image retrieved for it
    nearest_pose: bool = False
    executor: Executor = HERE  # has the units of stages made by workers first
    threads: int | None = None  # of COLMAP; None: as many as there are cores


@dataclass(frozen=True)
class RunResult:
    """Where a run lies and what it found."""

    folder: Path  # holds queries.csv, summary.csv, stages.csv, manifest.json, the model and more
    summary: list[Row]  # the rows of summary.csv
    queries: list[Row]  # the rows of queries.csv
    stages: list[Row]  # the rows of stages.csv
    extracted: int  # images whose features were not in the store
    notes: tuple[str, ...]  # for the user, on runs of other work that are there


@dataclass(frozen=True)
class _Found:
    """What the stages leave for the outputs."""

    keypoints: dict[str, ImageKeypoints]
    model: pycolmap.Reconstruction
    results: dict[str, Registered]


def _run_stages(
    matching: Matching,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    store: Store,
    settings: Settings,
    database: Path,
    stages: Stages,
) -> _Found:
    def extract() -> dict[str, ImageKeypoints]:
        matching.send_features(dataset, settings.executor)
        return matching.keypoints(dataset, settings.workers)

    keypoints = stages.run(FEATURES, extract)
    peaks = [image.cost.peak_memory_mib for image in keypoints.values()]
    known = [peak for peak in (*peaks, stages.rows[-1]["peak_memory_mib"]) if not math.isnan(peak)]
    stages.note(
        images=len(keypoints),
        features=sum(len(image.keypoints) for image in keypoints.values()),
        peak_memory_mib=max(known),
    )
    seen = {
        name: image.seen_by_colmap(benchmark.keypoint_origin) for name, image in keypoints.items()
    }

    def match() -> dict[tuple[str, str], int]:
        send_matches(matching, dataset, settings.executor, store)
        # Into the store first, pair by pair, and then into the database, whose size is known.
        arguments = (dataset, keypoints, store)
        matches = sum(len(found) for _, found in matching.matches(*arguments))
        points = sum(map(len, seen.values()))
        require_space(database.parent, points, len(dataset.pairs), matches)
        create_database(database, dataset, seen)
        return write_matches(database, dataset, matching.matches(*arguments))

    matched = stages.run(MATCHING, match)
    stages.note(pairs=len(matched), matches=sum(matched.values()))
    if not any(matched.values()):
        raise D2EvalError(f"no pair has a match [{stages.counts()}]")

    def verify() -> Verified:
        send_pairs(matching, dataset, benchmark, settings.executor, store)
        return verify_pairs(
            database, dataset, keypoints, benchmark, matching.content(), store, settings.seed,
            settings.threads,
        )  # fmt: skip

    verified = stages.run(VERIFICATION, verify)
    stages.note(
        pairs=len(verified.keys),
        verified_pairs=len(verified.inliers),
        inlier_matches=sum(verified.inliers.values()),
    )
    costs = partial(
        costs_path, features=next(iter(keypoints.values())).key, matcher=matching.content(),
        benchmark=benchmark, store=store,
        model=model_unit(dataset, benchmark, verified.keys, store, settings.seed),
    )  # fmt: skip
    model = stages.run(
        TRIANGULATION,
        lambda: triangulate(
            database, dataset, benchmark, verified.keys, store, settings.seed, settings.threads,
            costs(TRIANGULATION),
        ),
    )  # fmt: skip
    stages.note(
        images=model.num_images(),
        points=model.num_points3D(),
        mean_track_length=model.compute_mean_track_length(),
        mean_reprojection_px=model.compute_mean_reprojection_error(),
    )
    results = stages.run(
        REGISTRATION, lambda: _register(database, model, dataset, benchmark, seen, settings)
    )
    keep_cost(store, costs(REGISTRATION), len(results), stages.rows[-1]["seconds"])
    stages.note(
        images=len(results), registered=sum(result.pose is not None for result in results.values())
    )
    return _Found(keypoints, model, results)


def _register(
    database: Path,
    model: pycolmap.Reconstruction,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    keypoints: Mapping[str, Any],
    settings: Settings,
) -> dict[str, Registered]:
    seed = settings.seed
    kind = benchmark.registration
    if isinstance(kind, ImageRegistration):
        return register_images(database, model, dataset, benchmark, kind, seed, settings.threads)
    results = register_by_pnp(database, model, dataset, keypoints, kind, seed)
    return with_nearest_poses(results, dataset) if settings.nearest_pose else results


def _write_model(model: pycolmap.Reconstruction, folder: Path, scratch: Path) -> None:
    fresh = scratch / "model"
    try:
        fresh.mkdir()
        model.write(fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    except (OSError, RuntimeError) as error:
        raise D2EvalError(f"{folder}: can't be written ({error}); free space") from error


def _work(
    matching: Matching,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    settings: Settings,
    hashes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What two runs of the same work share; the images' content once their ``hashes`` are known."""
    sizes = {n: str((dataset.images_folder / n).stat().st_size) for n in dataset.images}
    data = {
        "completeness": dataset.completeness,
        "images": len(dataset.images),
        "queries": len(dataset.queries),
        "pairs": len(dataset.pairs),
        "merged_pairs": dataset.merged_pairs,
        "scored": bool(dataset.references),
        "outline": fingerprint(dataset, sizes),
    }
    if hashes is not None:
        data["fingerprint"] = fingerprint(dataset, hashes)
    return {
        "benchmark": NAME,
        "protocol": benchmark.protocol,
        "protocol_sha256": benchmark.sha256,
        **matching.describe(),
        "seed": settings.seed,
        "holdout": settings.holdout,
        "nearest_pose": settings.nearest_pose,
        "dataset": data,
    }


def run(
    matching: Matching,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    store: Store,
    output: Path,
    settings: Settings,
    name: RunName | None = None,
) -> RunResult:
    """Evaluates ``matching`` on ``dataset`` and writes ``output/aachen/<label>/``.

    Features, matches, two-view geometries and the triangulated model go through the store as they
    are made, so a run that was killed goes on where it stopped. The run's own files are written at
    the end, each complete or not at all, and the manifest last.

    Raises:
        D2EvalError: a broken image, features that break the contract, a stage that leaves nothing
            (with what the stages before have left), a full disk, another run that writes the same
            folder, or a name that was given to other work before.
    """
    stages = Stages(settings.executor)
    with contextlib.ExitStack() as held:
        place = held.enter_context(run_folder(output / NAME, name or RunName(matching.label)))
        folder = place.claim(_work(matching, dataset, benchmark, settings))
        scratch = held.enter_context(scratch_folder(folder))
        pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
        database = held.enter_context(local_folder()) / "database.db"
        found = _run_stages(matching, dataset, benchmark, store, settings, database, stages)
        queries = query_rows(dataset, found.results, found.keypoints)
        scored = bool(dataset.references)
        summary = summarize(queries, benchmark, scored, mean_count(found.keypoints))
        hashes = {name: image.sha256 for name, image in found.keypoints.items()}
        work = _work(matching, dataset, benchmark, settings, hashes)
        folder = place.claim(work)
        described = work["features"]
        labels = {"dataset": dataset.completeness, "weights": described["weights"]["name"]}
        summary = [{"method": folder.name, **line, **labels} for line in summary]
        manifest = {
            **work,
            "label": folder.name,
            "method": matching.method,
            "keypoint_origin": {
                "protocol": benchmark.keypoint_origin,
                "method": sorted({image.origin for image in found.keypoints.values()}),
            },
            "weights": described["weights"],
            "leaks": leaks(work, () if dataset.completeness == SAMPLE else benchmark.overlaps),
            "root": str(dataset.root),
            "extracted_now": matching.extracted,
            "image_costs": image_costs(
                [image.cost for image in found.keypoints.values()],
                [image.descriptor_bytes for image in found.keypoints.values()],
            ),
            **circumstances(
                settings.device,
                sum(row["seconds"] for row in stages.rows),
                [row["peak_memory_mib"] for row in stages.rows],
            ),
        }
        extra = {"protocol": benchmark.protocol, **labels}
        write_csv(folder / "queries.csv", [{**row, **extra} for row in queries], QUERIES)
        write_csv(folder / "summary.csv", summary, SUMMARY)
        write_csv(folder / "stages.csv", stages.rows, STAGES)
        if settings.holdout is None:
            poses = [(Path(name).name, result.pose) for name, result in found.results.items()]
            write_text(folder / f"Aachen_eval_{folder.name}.txt", submission(poses))
        write_pictures(
            folder / "matches.h5", database, found.model, dataset, found.keypoints, found.results
        )
        _write_model(found.model, folder / "model", scratch)
        write_manifest(folder, manifest)
    return RunResult(folder, summary, queries, stages.rows, matching.extracted, tuple(place.notes))
